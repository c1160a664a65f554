/* SPDX-License-Identifier: Apache-2.0
 *
 * The objects of the shim's side of the engine, and the jobs. All of it is small and on the heap; a
 * stage sees it as it was at the fork.
 *
 * A job is one call under way. It has at most one stage at a time, and its messages arrive on
 * job->sock. A job ends its work (job_complete, from the loop) and is freed when its stage has been
 * reaped, which may be a little later.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/engine.h"
#include "pkg/engine/message.h"
#include "pkg/engine/stage.h"
#include "pkg/loop/loop.h"
#include "pkg/oci/spec.h"
#include "pkg/reaper/reaper.h"

struct engine {
        struct loop *loop;
        struct reaper *reaper;
        struct list jobs;
        bool orphans;
        char *systemd_helper; /* a path, borrowed; NULL: not known */
        void (*warn)(const char *text, void *userdata);
        void *warn_userdata;
};

/* ---- process.c ---- */

struct engine_process {
        struct engine *engine;
        struct engine_container *container; /* set for an init only, and cleared with it */
        struct reaper_watch *watch;         /* of a child of ours */
        struct loop_io *orphan;             /* of one that is not: its pidfd */
        bool is_orphan;
        struct loop_deferred deferred;
        pid_t pid;
        int pidfd;
        unsigned n_holds; /* completions that must come before the exit */
        bool has_exited;
        bool is_delivered;
        struct reaper_exit exit;
        reaper_fn fn;
        void *userdata;
        struct engine_job *waiter; /* is deferred when the process ends or is freed; then NULL */
};

/* Takes pidfd in any case. Held once: the completion that announces it releases it. NULL without
 * memory (then the process is killed). */
struct engine_process *process_new_consume(struct engine *engine, pid_t pid, int pidfd,
                                           bool orphan);

/* The same for one that was known before, which nothing holds. pidfd is taken on success. exit: how
 * it has ended; NULL: not known to have. */
struct engine_process *process_restore(struct engine *engine, pid_t pid, int pidfd, bool orphan,
                                       const struct reaper_exit *exit);
void process_hold(struct engine_process *p);
void process_release(struct engine_process *p);
void process_kill(const struct engine_process *p);

/* Adds to an error about a process that ended too early (errnum ECHILD) how it has ended, if that
 * is known; p may be NULL. */
void process_explain_end(const struct engine_process *p, struct error *err);

/* ---- container.c ---- */

/* What the create stage tells about the container; travels as a message's payload. */
struct container_facts {
        uint64_t namespaces; /* CLONE_NEW* that init has of its own or has joined */
        uint32_t seccomp_flags;
        bool has_seccomp;   /* a descriptor with the filter comes along (first) */
        bool has_config;    /* one with config.json, too: hooks for later, labels or a listener
                               (second) */
        bool has_labels;    /* of AppArmor or SELinux: for an exec that brings none of its own */
        bool has_poststart; /* hooks */
        bool has_poststop;
        bool private_pid;
        bool has_capabilities;
        struct oci_capabilities capabilities; /* for an exec that brings none */
        struct oci_personality personality;   /* execs have these, too */
        struct oci_memory_policy memory_policy;
};

struct engine_container {
        struct engine *engine;
        char *id;
        char *bundle;
        char *state_dir;            /* of engine.state; most often the bundle */
        char *cgroup;               /* text of cgroup_format(); NULL: not known yet */
        struct arena *cgroup_arena; /* once Create has succeeded, holds what that says: */
        struct cgroup cgroup_parsed;
        struct container_facts facts;
        struct engine_process *init; /* NULL once it has been freed */
        pid_t init_pid;
        int gate;         /* the shim's end; -1 once init has passed it */
        bool is_restored; /* made by another process image, which may have opened the gate */
        int seccomp_fd;   /* sealed memfds; -1: none */
        int config_fd;
        bool unmount;      /* the Create request brought mounts */
        bool made_rootfs;  /* the directory that they are mounted on was not there before */
        bool nested;       /* some of them below the rootfs */
        bool poststop_due; /* a hook of Create has run, or Create has succeeded */
        unsigned n_jobs;
};

struct engine_container *engine_container_new(struct engine *engine, const char *id,
                                              const char *bundle, const char *state_dir);

/* Parses config.json as it was at Create. For stages. */
int container_parse_config(const struct engine_container *c, struct arena *arena,
                           struct oci_spec **ret, struct error *err);

/* The container's cgroup from its text, which is all that is kept of it. It lives as long as the
 * arena, which is the caller's. */
int container_cgroup(const struct engine_container *c, struct arena **ret_arena, struct cgroup *ret,
                     struct error *err);

/* ---- job.c ---- */

struct job_kind {
        const char *name; /* of the stage's process: "belay:create" */

        /* In the stage; 0 or more, which becomes job->result, or -1 with err, which job.c tells the
         * shim. */
        int (*run)(struct engine_job *job, struct stage *stage, struct error *err);

        /* In the shim, for what job.c does not handle itself. The descriptors are the callee's.
         * NULL: there are no other messages. */
        void (*on_message)(struct engine_job *job, const struct message *msg, int *fds,
                           size_t n_fds);

        /*
         * Once for each stage: as soon as it has said MESSAGE_DONE (job->is_done), or when it is
         * reaped without it; then job->err says why. Starts another stage, or waits for something,
         * or completes the job.
         */
        void (*on_end)(struct engine_job *job);

        void (*on_deferred)(struct engine_job *job); /* see engine_job.deferred */

        /* Makes the job fail soon; not called twice. NULL: it cannot be ended early. */
        void (*abort)(struct engine_job *job);

        void (*free)(struct engine_job *job); /* of what embeds the job, itself included */
};

struct engine_job {
        struct list node;
        struct engine *engine;
        struct engine_container *container; /* NULL: none (any more) */
        const struct job_kind *kind;
        struct reaper_watch *watch; /* of the stage; NULL when it is reaped */
        pid_t stage_pid;
        struct reaper_exit stage_exit; /* is_reaped: how it has ended */
        int sock;                      /* to it; -1: nothing more of the stage is to come */
        struct loop_io *io;
        struct loop_deferred deferred;      /* for the kind's use */
        struct loop_deferred free_deferred; /* job.c's */
        pid_t hook_group;                   /* of the hook that runs now, 0: none */
        bool is_reaped;                     /* the stage; its last words may not have been read */
        struct reaper_expectation expected; /* while the stage may clone */
        bool is_aborted;                    /* what the stage says of success or failure is void */
        bool is_done;                       /* MESSAGE_DONE has arrived */
        int result;                         /* with it */
        bool has_reported;                  /* MESSAGE_ERROR has: the stage has undone its work */
        bool is_complete;                   /* the completion has run, or runs */
        struct error err;                   /* STATUS_OK: no failure so far */
};

void job_init(struct engine_job *job, struct engine *engine, struct engine_container *container,
              const struct job_kind *kind);

/* Undoes job_init(); for a job whose stage could not be started. */
void job_deinit(struct engine_job *job);

/*
 * Forks a stage that keeps `keep` and runs job->kind->run. expect: it will clone children of ours.
 * On failure the job is as before.
 */
int job_fork(struct engine_job *job, const int *keep, size_t n_keep, bool expect,
             struct error *err);

/* Kills the stage, if there is one; on_end comes when it is reaped. */
void job_kill_stage(struct engine_job *job);

/* The job has failed: the stage is killed, and what it still says of success or failure is void. */
void job_give_up(struct engine_job *job, const struct error *err);

/* Makes a job fail with STATUS_CANCELED, whatever its stage says from here on. */
void job_cancel(struct engine_job *job);

/* To be called once, before the completion runs: from here on the job does nothing but wait for its
 * stage's end and free itself. */
void job_complete(struct engine_job *job);

/* Sets job->err; if it is set already, the new one is a warning. */
void job_fail(struct engine_job *job, const struct error *err);

/* For a call that is over at once: fn runs at the end of the round, with result if it is a failure.
 * c may be NULL. */
int job_report(struct engine *engine, struct engine_container *c, const struct error *result,
               engine_done_fn fn, void *userdata, struct error *err);

/* A job that is one stage and an engine_done_fn; ret may be NULL. */
int job_run_stage(struct engine_container *c, const struct job_kind *kind, int signo,
                  const int *keep, size_t n_keep, engine_done_fn fn, void *userdata,
                  struct engine_job **ret, struct error *err);

/* The job of job_report() and job_run_stage(). */
struct done_job {
        struct engine_job job;
        engine_done_fn fn;
        void *userdata;
        int signo;
};

/* on_end and free of such a job's kind. */
void done_job_on_end(struct engine_job *job);
void done_job_free(struct engine_job *job);

void engine_warn(const struct engine *engine, const char *text);

/* ---- stages ---- */

struct create_job;

/* Init is ready, or why not. */
typedef void (*create_heard_fn)(struct create_job *create, const struct error *err);

struct create_job {
        struct engine_job job;
        struct engine_create args; /* borrowed; for the stage only */
        engine_create_fn fn;
        void (*on_init)(pid_t pid, void *userdata);
        void *userdata;
        int init_gate;           /* init's end of the gate; in the stage only */
        pid_t dead_stage;        /* whose work is to be undone */
        struct loop_io *gate_io; /* while it is heard */
        create_heard_fn on_heard;
        int terminal_fd;
        char *text; /* of the cgroup, while its parts arrive */
        size_t text_len;
        size_t text_room;
};

/* 1: init is to be heard at the gate. */
int create_stage_run(struct engine_job *job, struct stage *stage, struct error *err);

struct exec_job {
        struct engine_job job;
        struct engine_exec args; /* borrowed; for the stage only */
        bool is_orphan;
        engine_exec_fn fn;
        void *userdata;
        struct engine_process *process;
        int terminal_fd;
};

int exec_stage_run(struct engine_job *job, struct stage *stage, struct error *err);
