/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine: from an OCI bundle to a running container, with no runtime binary.
 *
 * The process that uses it (the shim) never parses JSON, compiles seccomp or mounts. Each job is
 * done by a stage: a fork of this process with a heap of its own, which talks back over a SEQPACKET
 * socket in small messages and is then gone. The stage clones the container's processes with
 * CLONE_PARENT, so they are children of this process. A hook that hangs holds up a stage, never the
 * loop.
 *
 *   create   stage: read config.json once, plan, make cgroup, clone init, run hooks; init waits at
 * a gate start    the gate opens; EOF on init's CLOEXEC socket says that execve succeeded exec
 * stage: join namespaces and cgroup, clone, execve delete   stage: unmount, remove cgroup, poststop
 * hooks
 *
 * Every completion runs from the loop, never from inside the call that asked for it. A process's
 * exit is delivered after the completion that announced the process.
 *
 * Errors name the step and the object: "mount 'proc' on '/proc': Operation not permitted".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"

struct arena;
struct cgroup;
struct engine;
struct engine_container;
struct engine_process;
struct engine_job; /* one call under way */

/* belay/state/v1/engine.proto */
struct Belay__State__V1__EngineContainer;
struct Belay__State__V1__EngineProcess;

int engine_new(struct engine **ret, struct loop *loop, struct reaper *reaper, struct error *err);

/* Containers must be freed before. */
struct engine *engine_free(struct engine *engine);

/*
 * From now on the container's processes are made as orphans: not this process is their parent, but
 * the nearest subreaper above it, which is where an OCI command line's caller expects them
 * (containerd-shim-runc-v2, conmon). Their exits are learned from the pidfd; the status comes from
 * /proc while they are zombies, or from the pidfd when they have been reaped (PIDFD_GET_INFO, Linux
 * 6.15). One that cannot be learned any more is told as exited with REAPER_STATUS_UNKNOWN.
 */
void engine_set_orphans(struct engine *engine);

/* Where belay-systemd is, which containers with systemd_cgroup need; path lives as long as the
 * engine. */
void engine_set_systemd_helper(struct engine *engine, char *path);

/*
 * Descriptors that a process gets beyond its standard streams, from another process and under the
 * same numbers: map[i] is '1' when 3 + i is one of them, and '0' for a gap; at most
 * LIMIT_PASSED_FDS. No other process gets them, not even a hook. The stage copies them
 * (pidfd_getfd(2)), so they need to be open only until the call's completion. All of it is borrowed
 * until the call returns. With n_listen > 0 the process finds LISTEN_FDS and its pid as LISTEN_PID
 * in its environment (sd_listen_fds(3)).
 */
struct engine_passed {
        int pidfd;
        unsigned n_listen;
        const char *map; /* NULL: none */
};

/* ---- Create ---- */

/* A mount of the rootfs, as the Create request lists it (containerd's mount options, not OCI's). */
struct engine_mount {
        const char *type;
        const char *source;
        const char *target; /* sub-directory of the rootfs, or "" */
        const char *const *options;
        size_t n_options;
};

struct engine_create {
        const char *id;
        const char *bundle;            /* absolute */
        const char *state_dir;         /* where the engine's own file lies; NULL: in the bundle */
        const char *runtime_namespace; /* containerd's namespace; goes into messages only */
        const struct engine_mount
                *mounts; /* onto <bundle>/rootfs, in order, before anything else */
        size_t n_mounts;
        bool terminal;    /* must agree with config.json's process.terminal: this one wins */
        const int *stdio; /* three descriptors, borrowed; ignored with a terminal */
        struct engine_passed passed;
        bool no_pivot_root;
        bool no_new_keyring;
        bool systemd_cgroup; /* linux.cgroupsPath is "slice:prefix:name"; systemd makes the scope */

        /*
         * Called from the loop when init's pid is known and nothing is left but what init does by
         * itself, for the receiver to do in the meantime what needs the pid. The Create may still
         * fail; and one that has more for its stage to do completes without. NULL: nobody's care.
         */
        void (*on_init)(pid_t pid, void *userdata);
};

/*
 * On success: the container, and its init, which waits at the gate; both are the receiver's.
 * terminal_fd is the pty's master (-1 without a terminal), the receiver's too. On failure: err, and
 * nothing is left behind: no process, mount, cgroup or file.
 */
typedef void (*engine_create_fn)(const struct error *err, struct engine_container *container,
                                 struct engine_process *init, int terminal_fd, void *userdata);

/* 0 and a job, or -1 when not even a stage could be started (then fn does not run). */
int engine_create(struct engine *engine, const struct engine_create *args, engine_create_fn fn,
                  void *userdata, struct engine_job **ret, struct error *err);

/*
 * Ends a job early: its stage is killed, what it made is undone, and fn runs with
 * STATUS_CANCELED. The job is valid until its fn runs. An aborted exec's process is killed; so is
 * the init of an aborted start, whether its program runs by then or not.
 */
void engine_job_abort(struct engine_job *job);

/* ---- A process ---- */

pid_t engine_process_pid(const struct engine_process *p);

/* exit is delivered once; a process that has ended already delivers at the end of the present
 * round. */
void engine_process_on_exit(struct engine_process *p, reaper_fn fn, void *userdata);

/* By pidfd, so a reused pid is never hit. STATUS_NOT_FOUND "process already finished" when it is
 * gone. */
int engine_process_signal(struct engine_process *p, int signo, struct error *err);

/* Forgets it. A process that is still alive goes on, and is reaped without notice. */
struct engine_process *engine_process_free(struct engine_process *p);

/* ---- The container ---- */

typedef void (*engine_done_fn)(const struct error *err, void *userdata);

/*
 * Opens the gate. Success means that the container's program runs (execve has succeeded and
 * poststart hooks have run). A failure text is what stopped it: "exec '/bin/x': no such file or
 * directory"; init then ends by itself and its exit is delivered as usual. While poststart hooks
 * run init's exit may be delivered before fn runs. ret may be NULL.
 */
int engine_start(struct engine_container *c, engine_done_fn fn, void *userdata,
                 struct engine_job **ret, struct error *err);

struct engine_exec {
        const char *exec_id;
        bool own_child;           /* not an orphan, whatever engine_set_orphans() says */
        const char *process_json; /* an OCI process; borrowed until engine_exec() returns */
        size_t process_json_len;
        bool terminal;
        const int *stdio;
        struct engine_passed passed;
        const char *cgroup; /* below the container's, as cgroup_below() takes it; NULL: its own */
};

/* process is NULL on failure. Success: execve has succeeded. */
typedef void (*engine_exec_fn)(const struct error *err, struct engine_process *process,
                               int terminal_fd, void *userdata);
int engine_exec(struct engine_container *c, const struct engine_exec *args, engine_exec_fn fn,
                void *userdata, struct engine_job **ret, struct error *err);

/* Signals all processes of the container's cgroup. With SIGKILL it works without cgroup.kill, too.
 */
int engine_kill_all(struct engine_container *c, int signo, engine_done_fn fn, void *userdata,
                    struct error *err);

/*
 * Stops every process of the container, or lets them go on; in a stage. A pause that fails, or is
 * aborted, leaves the container thawed, and its error says what could not be stopped. A resume of
 * what is not paused is a success. ret may be NULL.
 */
int engine_pause(struct engine_container *c, engine_done_fn fn, void *userdata,
                 struct engine_job **ret, struct error *err);
int engine_resume(struct engine_container *c, engine_done_fn fn, void *userdata,
                  struct engine_job **ret, struct error *err);

/*
 * Changes limits; json is an OCI linux.resources, borrowed until this returns. Not while a pause or
 * a resume is under way, nor the other way round: it may have to stop the container for a moment.
 * Fields that are not there are left alone. When one fails, those that were changed are set back;
 * not so when the job is aborted. ret may be NULL.
 */
int engine_update(struct engine_container *c, const char *json, size_t len, engine_done_fn fn,
                  void *userdata, struct engine_job **ret, struct error *err);

/* True if init has a pid namespace of its own: its end is then the end of all others. */
bool engine_has_private_pid_namespace(const struct engine_container *c);

/* The container's cgroup, for what asks the kernel about it: borrowed, lives as long as the
 * container. NULL: not known. */
const struct cgroup *engine_cgroup(const struct engine_container *c);

/*
 * Kills what is left, unmounts the rootfs, removes the cgroup and runs the poststop hooks; a hook's
 * failure is only a warning (in the log function). The container is to be freed by the caller
 * afterwards.
 */
int engine_delete(struct engine_container *c, engine_done_fn fn, void *userdata, struct error *err);

/* Forgets it; jobs of it must have ended. */
struct engine_container *engine_container_free(struct engine_container *c);

/* Warnings that have no call to travel with (a hook's failure after delete); may be NULL. */
void engine_on_warning(struct engine *engine, void (*fn)(const char *text, void *userdata),
                       void *userdata);

/*
 * All processes of a cgroup, in a stage: for one with which cgroup_pids_quick() cannot cope. It is
 * borrowed until this returns, and whose it is need not live longer. pids is fn's until it returns.
 */
typedef void (*engine_pids_fn)(const struct error *err, const pid_t *pids, size_t n,
                               void *userdata);
int engine_list_pids(struct engine *engine, const struct cgroup *cg, engine_pids_fn fn,
                     void *userdata, struct error *err);

/* ---- State that outlives this process image ---- */

/*
 * As messages, whose strings and lists are borrowed from the object and the arena. No job is in
 * them: what a stage is at when another image is executed goes on for itself, unheard, and is to be
 * killed and undone by whoever restores (reaper_children(), engine_cleanup()).
 */
int engine_container_save(const struct engine_container *c, struct arena *arena,
                          struct Belay__State__V1__EngineContainer *ret, struct error *err);
void engine_process_save(const struct engine_process *p,
                         struct Belay__State__V1__EngineProcess *ret);

/*
 * Back to life, in the image that was executed, with an engine that was made like the one before.
 * The descriptors are claimed (pkg/base/kept.h) on success; a failure names what is missing or
 * wrong (INVALID_ARGUMENT), and leaves every descriptor as it was. Init's process is restored
 * before others. An exit that was not told is told to engine_process_on_exit(), as always from the
 * loop.
 */
int engine_container_restore(struct engine_container **ret, struct engine *engine,
                             const struct Belay__State__V1__EngineContainer *msg,
                             struct error *err);
int engine_process_restore(struct engine_process **ret, struct engine_container *c,
                           const struct Belay__State__V1__EngineProcess *msg, struct error *err);

/* The gate has been passed: init runs its program, or has ended. After a restore this is what the
 * kernel says, also of a Start that was under way. */
bool engine_container_has_started(const struct engine_container *c);

/* ---- For a container that another runtime makes ---- */

/* Mounts as for a Create, in a stage. After a failure none of them is left. */
int engine_rootfs_mount(struct engine *engine, const char *bundle,
                        const struct engine_mount *mounts, size_t n, engine_done_fn fn,
                        void *userdata, struct error *err);

/* Takes away every mount at or below <bundle>/rootfs, in a stage. */
int engine_rootfs_unmount(struct engine *engine, const char *bundle, engine_done_fn fn,
                          void *userdata, struct error *err);

/*
 * Before the other runtime is launched, in a stage: a note in the state directory of the cgroups
 * that it is going to make, which are those that <bundle>/config.json names by an absolute path and
 * that are not there yet. Afterwards the runtime knows of them itself, and the note is forgotten;
 * or they are undone, which is engine_foreign_cleanup() in a stage.
 */
int engine_foreign_note(struct engine *engine, const char *bundle, const char *state_dir,
                        engine_done_fn fn, void *userdata, struct error *err);
void engine_foreign_forget(const char *state_dir);
int engine_foreign_undo(struct engine *engine, const char *state_dir, engine_done_fn fn,
                        void *userdata, struct error *err);

/* ---- Without a loop ---- */

/* For somebody who is waited for; all 0: two seconds, as long as systemd takes, and the hooks' own
 * timeouts. */
struct engine_cleanup_limits {
        uint64_t deadline_ns;       /* CLOCK_MONOTONIC: of all but poststop hooks */
        uint64_t hooks_deadline_ns; /* of these: one that still runs is killed, none is begun */
        void (*on_warning)(const struct error *warning, void *userdata); /* of what failed, too */
        void *userdata;
};

/* False if what a state directory knows of is away: whatever the engine has made, or its state. */
bool engine_has_state(int state_fd);

/*
 * For `delete`, when the shim is gone: kills what the engine state there names, unmounts
 * everything at or below <bundle>/rootfs, removes the cgroup, runs poststop hooks, removes the
 * state. Blocks, within the limits (NULL: none are given). Idempotent; a bundle without state is
 * fine. *ret_pid: the init's pid, or 0; *ret_killed: it was still alive and is now killed.
 */
int engine_cleanup(const char *state_dir, const char *id,
                   const struct engine_cleanup_limits *limits, pid_t *ret_pid, bool *ret_killed,
                   struct error *err);

/*
 * What a runtime that was killed has made and taken no note of, so that its own delete leaves it:
 * the cgroups of engine_foreign_note() are removed, if they are empty within timeout_ms, and the
 * note with them. Without a note there is nothing to be done.
 */
int engine_foreign_cleanup(const char *state_dir, int timeout_ms, struct error *err);

/* The OCI features document of the runtime-spec (features.md), as JSON on the heap. */
int engine_features(char **ret_json, struct error *err);
