/* SPDX-License-Identifier: Apache-2.0
 *
 * What the shim needs of whatever runs containers. The shim owns this interface; pkg/engine stands
 * behind it through executor_engine.c, and tests put a fake behind it.
 *
 * All completions run from the loop, never from inside the call. A process's exit is delivered
 * after the completion that announced the process. A call that returns -1 runs no completion.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/reaper/reaper.h"

/* belay/state/v1/shim.proto */
struct Belay__State__V1__Container;
struct Belay__State__V1__Process;

struct executor_mount {
        const char *type;
        const char *source;
        const char *target;
        const char *const *options;
        size_t n_options;
};

/* Descriptors of another process, from 3 on, that a new one gets under the same numbers: map[i] is
 * '1' for 3 + i, and '0' for a gap. Borrowed until the call returns. */
struct executor_passed {
        int pidfd;
        unsigned n_listen; /* the first of them are LISTEN_FDS; see sd_listen_fds(3) */
        const char *map;   /* NULL: none */
};

struct executor_create {
        const char *id;
        const char *bundle;
        const char *state_dir; /* where files of the executor's own go; often the bundle */
        const char *runtime_namespace;
        const struct executor_mount *mounts;
        size_t n_mounts;
        bool terminal;
        const int *stdio; /* three descriptors, borrowed; NULL with a terminal */
        struct executor_passed passed;
        bool no_pivot_root;
        bool no_new_keyring;
        bool systemd_cgroup;
        const char *binary; /* an OCI runtime's absolute path; NULL: the engine */
        const char *root;   /* where that keeps its state; "": its default */

        /* Called at most once, before the completion, with the pid of an init that is not ready
         * yet: for what can be done meanwhile. The create may still fail. */
        void (*on_init)(pid_t pid, void *userdata);
};

struct executor_exec {
        const char *exec_id;
        bool own_child; /* its end is awaited through this shim, also when others are orphans */
        const char *process_json;
        size_t process_json_len;
        bool terminal;
        const int *stdio;
        struct executor_passed passed;
        const char *cgroup; /* as in exec_options.h; NULL: the container's own */
        bool ignore_paused; /* the container may be paused: the exec gets stuck until it is not */
};

struct cgroup;

/* Opaque to the shim; each executor casts its own objects. */
struct executor_container;
struct executor_process;
struct executor_job;

typedef void (*executor_create_fn)(const struct error *err, struct executor_container *container,
                                   struct executor_process *init, int terminal_fd, void *userdata);
typedef void (*executor_exec_fn)(const struct error *err, struct executor_process *process,
                                 int terminal_fd, void *userdata);
typedef void (*executor_done_fn)(const struct error *err, void *userdata);
typedef void (*executor_pids_fn)(const struct error *err, const pid_t *pids, size_t n,
                                 void *userdata);

struct executor_ops {
        int (*create)(void *impl, const struct executor_create *args, executor_create_fn fn,
                      void *userdata, struct executor_job **ret, struct error *err);
        int (*start)(struct executor_container *c, executor_done_fn fn, void *userdata,
                     struct executor_job **ret, struct error *err);
        int (*exec)(struct executor_container *c, const struct executor_exec *args,
                    executor_exec_fn fn, void *userdata, struct executor_job **ret,
                    struct error *err);

        /*
         * Stops all processes of the container, or lets them go on. A pause that fails or is
         * aborted leaves them thawed. update: json is an OCI linux.resources, borrowed.
         */
        int (*pause)(struct executor_container *c, executor_done_fn fn, void *userdata,
                     struct executor_job **ret, struct error *err);
        int (*resume)(struct executor_container *c, executor_done_fn fn, void *userdata,
                      struct executor_job **ret, struct error *err);
        int (*update)(struct executor_container *c, const char *json, size_t len,
                      executor_done_fn fn, void *userdata, struct executor_job **ret,
                      struct error *err);

        /*
         * Ends one of the jobs above early: what it made is killed, its completion runs soon and
         * with a failure. A job that is ending already may still succeed. Valid until the
         * completion runs; twice is once.
         */
        void (*abort)(struct executor_job *job);
        int (*kill_all)(struct executor_container *c, int signo, executor_done_fn fn,
                        void *userdata, struct error *err);
        bool (*has_private_pid_namespace)(const struct executor_container *c);
        /* Borrowed; lives as long as the container. NULL: it has none that is known. */
        const struct cgroup *(*cgroup)(const struct executor_container *c);

        /* The processes of a cgroup that is too large for cgroup_pids_quick(); it is borrowed until
         * the call returns. pids is fn's until that returns. */
        int (*list_pids)(void *impl, const struct cgroup *cg, executor_pids_fn fn, void *userdata,
                         struct error *err);
        int (*remove)(struct executor_container *c, executor_done_fn fn, void *userdata,
                      struct error *err);
        void (*container_free)(struct executor_container *c);

        pid_t (*process_pid)(const struct executor_process *p);
        void (*process_on_exit)(struct executor_process *p, reaper_fn fn, void *userdata);
        int (*process_signal)(struct executor_process *p, int signo, struct error *err);
        void (*process_free)(struct executor_process *p);

        /*
         * State that outlives this image of the process. save fills the executor's own field of the
         * message, from the arena and with strings that it borrows; no job is in it. restore
         * reads that field: INVALID_ARGUMENT when a container's is not there or anything is wrong.
         * A process without it is none: *ret is NULL. The init comes before the execs. Exits that
         * were not told are told.
         */
        int (*container_save)(const struct executor_container *c, struct arena *arena,
                              struct Belay__State__V1__Container *message, struct error *err);
        int (*container_restore)(void *impl, const struct Belay__State__V1__Container *message,
                                 struct executor_container **ret, struct error *err);
        int (*process_save)(const struct executor_process *p, struct arena *arena,
                            struct Belay__State__V1__Process *message, struct error *err);
        int (*process_restore)(struct executor_container *c,
                               const struct Belay__State__V1__Process *message,
                               struct executor_process **ret, struct error *err);

        /* The init still waits to be started, as far as the kernel knows: also of a start that was
         * under way when another image was executed. */
        bool (*is_created)(const struct executor_container *c);

        /* After a crash, when what ran for a job has been killed: the rest of execs that it was
         * making. NULL: there is none. */
        void (*undo_execs)(struct executor_container *c);
};

struct executor {
        const struct executor_ops *ops;
        void *impl;
};
