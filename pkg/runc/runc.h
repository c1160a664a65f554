/* SPDX-License-Identifier: Apache-2.0
 *
 * A container by way of an OCI runtime's command line (runc, crun or another one), for those who
 * name a binary in place of the engine. The runtime makes the processes and then ends; they are
 * orphaned onto this process, which is a child subreaper, so their exits arrive at the reaper like
 * those of its own children.
 *
 * Every completion runs from the loop, never from inside the call that asked for it, and a
 * process's exit is delivered after the completion that announced the process. A call that returns
 * -1 runs no completion. What is borrowed is borrowed until the call returns.
 *
 * The runtime logs to <state_dir>/log.json, which is only appended to; the last error of a call is
 * what it has failed with. Calls that run at the same time share it, so the text may be another
 * one's: of an exec, not of a create.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"

struct runc; /* one container and its runtime */
struct runc_process;
/* belay/state/v1/runc.proto */
struct Belay__State__V1__RuncContainer;
struct Belay__State__V1__RuncProcess;
struct runc_job; /* a run of the runtime under way; valid until its completion runs */

/* Where a runtime's state is when the caller does not say. The stock shim has the same one. */
#define RUNC_ROOT_DEFAULT "/run/containerd/runc"

/*
 * The absolute path of a binary by its name, looked for in $PATH, or by its absolute path. Not
 * there: STATUS_UNKNOWN with errnum ENOENT, in the words that Docker looks for: `exec: "x":
 * executable file not found in $PATH`. A relative path is STATUS_INVALID_ARGUMENT.
 */
int runc_find(const char *name, char **ret_path, struct error *err);

struct runc_options {
        struct loop *loop;
        struct reaper *reaper;
        const char *binary; /* absolute; copied, like the other strings */
        const char *root;   /* "" or NULL: RUNC_ROOT_DEFAULT */
        const char *runtime_namespace;
        const char *bundle;    /* absolute */
        const char *state_dir; /* where files of ours and the log go; often the bundle */
        const char *id;
        bool systemd_cgroup;
        bool no_pivot_root;
        bool no_new_keyring;
};

int runc_new(struct runc **ret, const struct runc_options *options, struct error *err);

/* No call may be under way. */
struct runc *runc_free(struct runc *runc);

/* True if the runtime keeps something by this id, whoever made it. */
bool runc_has_state(const struct runc *runc);

/*
 * `runtime` and `options.json` in the state directory, by which the `delete` action of the shim
 * finds the runtime when the shim is gone. They stay until the bundle goes, except after a create
 * that has failed and was undone.
 */
int runc_write_files(const struct runc *runc, struct error *err);
void runc_remove_files(const struct runc *runc);
bool runc_has_files(int state_fd);

/* After a crash, when no binary runs any more: what those that were making an exec have left, files
 * and a process. */
void runc_undo_execs(const struct runc *runc);

/* ---- Processes ---- */

/* terminal_fd: the pty's master, or -1; it and the process are the receiver's. */
typedef void (*runc_process_fn)(const struct error *err, struct runc_process *process,
                                int terminal_fd, void *userdata);

struct runc_stdio {
        bool terminal;
        const int *fds; /* three, borrowed; NULL with a terminal */
};

/* A failure, or an abort, may leave half a container: runc_delete() with force. */
int runc_create(struct runc *runc, const struct runc_stdio *stdio, runc_process_fn fn,
                void *userdata, struct runc_job **ret, struct error *err);

/* The runtime is killed, and fn runs with STATUS_CANCELED, unless it has just succeeded. */
void runc_job_abort(struct runc_job *job);

/* Its `terminal` is made to agree with stdio, which decides. */
struct runc_exec {
        const char *exec_id;
        const char *process_json;
        size_t process_json_len;
        struct runc_stdio stdio;
        const char
                *cgroup; /* [CONTROLLERS:]PATH below the container's, one a line; NULL: its own */
        bool ignore_paused;
};
int runc_exec(struct runc *runc, const struct runc_exec *args, runc_process_fn fn, void *userdata,
              struct runc_job **ret, struct error *err);

pid_t runc_process_pid(const struct runc_process *p);
bool runc_process_has_exited(const struct runc_process *p);

/* Delivered once, from the loop; what has ended already at the end of the present round. */
void runc_process_on_exit(struct runc_process *p, reaper_fn fn, void *userdata);

/* fn runs at the end of a round once the process has been reaped and its exit delivered. */
void runc_process_on_end(struct runc_process *p, void (*fn)(void *userdata), void *userdata);

/* By pidfd, not through the runtime. STATUS_NOT_FOUND "process already finished". */
int runc_process_signal(struct runc_process *p, int signo, struct error *err);

/* Forgets it. A process that is alive goes on, and is reaped without notice. */
struct runc_process *runc_process_free(struct runc_process *p);

/* ---- The other verbs ---- */

typedef void (*runc_done_fn)(const struct error *err, void *userdata);

int runc_start(struct runc *runc, runc_done_fn fn, void *userdata, struct runc_job **ret,
               struct error *err);

/* A pause that fails may leave the container frozen, or half so. A resume of what is not paused is
 * a success. ret may be NULL. */
int runc_pause(struct runc *runc, runc_done_fn fn, void *userdata, struct runc_job **ret,
               struct error *err);
int runc_resume(struct runc *runc, runc_done_fn fn, void *userdata, struct runc_job **ret,
                struct error *err);

/* json is an OCI linux.resources. ret may be NULL. */
int runc_update(struct runc *runc, const char *json, size_t len, runc_done_fn fn, void *userdata,
                struct runc_job **ret, struct error *err);

/* `kill --all`. STATUS_NOT_FOUND when there is nobody any more, by whatever words the runtime has
 * for that. */
int runc_kill_all(struct runc *runc, int signo, runc_done_fn fn, void *userdata, struct error *err);

/* That the runtime knows no such container (any more) is a success. */
int runc_delete(struct runc *runc, bool force, runc_done_fn fn, void *userdata, struct error *err);

/* ---- State that outlives this process image ---- */

/*
 * As messages that borrow their strings. No run of the runtime is in them: it ends with its image's
 * state, unheard. A restore claims a descriptor (pkg/base/kept.h) only when it succeeds; a failure
 * names what is missing or wrong. An exit that was not told is told to runc_process_on_exit(); of a
 * process that was reaped without anybody's knowing it is status 255.
 */
void runc_save(const struct runc *runc, struct Belay__State__V1__RuncContainer *ret);
int runc_restore(struct runc **ret, struct loop *loop, struct reaper *reaper,
                 const struct Belay__State__V1__RuncContainer *msg, struct error *err);
void runc_process_save(const struct runc_process *p, struct Belay__State__V1__RuncProcess *ret);
int runc_process_restore(struct runc_process **ret, struct runc *runc,
                         const struct Belay__State__V1__RuncProcess *msg, struct error *err);

/* The init has not been started: by the FIFO in the runtime's own state that it waits at, which
 * runc and crun both have. */
bool runc_is_created(const struct runc *runc);

/* ---- Without a loop ---- */

/*
 * For the `delete` action: runs `BINARY delete --force ID` for the runtime that the directory's
 * files name. 0: they name none; 1: done, and that the runtime knows no such container is fine.
 * Blocks until deadline_ns (CLOCK_MONOTONIC) at most; a runtime that has not ended is killed then,
 * and its state stays, since nothing else says what it has left (STATUS_DEADLINE_EXCEEDED).
 */
int runc_cleanup(const char *state_dir, const char *runtime_namespace, const char *id,
                 uint64_t deadline_ns, struct error *err);

/* The output of `BINARY features`, a JSON document, on the heap. Blocks, for at most about three
 * seconds. */
int runc_features(const char *binary, char **ret_json, struct error *err);
