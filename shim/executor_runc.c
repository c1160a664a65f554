/* SPDX-License-Identifier: Apache-2.0
 *
 * A runtime binary behind the shim's executor interface: it makes, starts, execs, kills all and
 * deletes; the engine mounts the rootfs, which a runtime never does. What the shim has to know at
 * once is read from the kernel: the pids and the OOM kills from init's cgroup, and signals to a
 * single process go by its pidfd.
 *
 * A Create that fails is undone, but a container that was there before it, under the same id, is
 * somebody else's and is left alone.
 */
#include "shim/executor_runc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/runc/runc.h"

#include "shim/log.h"
#include "shim/runc_facts.h"

/* An executor_container. */
struct made {
        struct executor_runc *impl;
        struct runc *runc;
        char *bundle;
        bool has_mounts;
        struct runc_process *init; /* borrowed from the shim, which keeps it as long as this */
        struct runc_facts facts;
};

/* An executor_job, at the head of what is under way. */
struct job {
        struct runc_job *runc; /* while the runtime is at it */
        bool is_aborted;
};

/* A Create. */
struct making {
        struct job job;
        struct made *made;
        bool terminal;
        int stdio[3]; /* copies: the mounts come first */
        bool had_state;
        bool has_mounted;
        struct error err; /* what undoing it is for */
        executor_create_fn fn;
        void *userdata;
};

struct starting {
        struct job job;
        executor_done_fn fn;
        void *userdata;
};

struct exec_node {
        struct job job;
        executor_exec_fn fn;
        void *userdata;
};

struct killing {
        struct made *made;
        executor_done_fn fn;
        void *userdata;
};

/* A remove under way. */
struct removal {
        struct made *made;
        executor_done_fn fn;
        void *userdata;
        struct error err; /* of the runtime's part */
};

static struct made *made_of(const struct executor_container *c)
{
        return (struct made *)c;
}

static struct runc_process *process_of(const struct executor_process *p)
{
        return (struct runc_process *)p;
}

static struct made *made_free(struct made *made)
{
        if (!made)
                return NULL;
        runc_free(made->runc);
        free(made->bundle);
        runc_facts_deinit(&made->facts);
        free(made);
        return NULL;
}

static struct making *making_free(struct making *making)
{
        if (!making)
                return NULL;
        for (int i = 0; i < 3; i++)
                fd_close(making->stdio[i]);
        made_free(making->made);
        free(making);
        return NULL;
}
CLEANUP_DEFINE(struct making, making_free)

/* ---- Create ---- */

static void finish_failure(struct making *making)
{
        executor_create_fn fn = making->fn;
        void *userdata = making->userdata;
        struct error err = making->err;

        runc_remove_files(making->made->runc);
        making_free(making);
        fn(&err, NULL, NULL, -1, userdata);
}

static void on_unmounted(const struct error *err, void *userdata)
{
        if (err)
                log_warning("undo create: %s", err->msg);
        finish_failure(userdata);
}

static void on_half_deleted(const struct error *err, void *userdata)
{
        struct making *making = userdata;
        struct made *made = making->made;
        struct error next = ERROR_INIT;

        if (err)
                log_warning("undo create: %s", err->msg);
        if (!making->has_mounted) {
                finish_failure(making);
                return;
        }
        if (engine_rootfs_unmount(made->impl->engine, made->bundle, on_unmounted, making, &next) <
            0)
                on_unmounted(&next, making);
}

/* From the loop. */
static void fail(struct making *making, const struct error *why)
{
        struct runc *runc = making->made->runc;
        struct error next = ERROR_INIT;

        making->err = *why;
        if (making->had_state || !runc_has_state(runc))
                on_half_deleted(NULL, making);
        else if (runc_delete(runc, true, on_half_deleted, making, &next) < 0)
                on_half_deleted(&next, making);
}

static void on_created(const struct error *err, struct runc_process *init, int terminal_fd,
                       void *userdata)
{
        struct making *making = userdata;
        struct made *made = making->made;
        executor_create_fn fn = making->fn;
        void *fn_userdata = making->userdata;

        making->job.runc = NULL;
        if (err) {
                fail(making, err);
                return;
        }
        made->init = init;
        runc_facts_read(&made->facts, runc_process_pid(init));
        making->made = NULL;
        making_free(making);
        fn(NULL, (struct executor_container *)made, (struct executor_process *)init, terminal_fd,
           fn_userdata);
}

static int launch(struct making *making, struct error *err)
{
        const struct runc_stdio stdio = {
                .terminal = making->terminal,
                .fds = making->stdio,
        };

        if (runc_create(making->made->runc, &stdio, on_created, making, &making->job.runc, err) < 0)
                return -1;
        /* From here on only the container's processes hold them. */
        for (int i = 0; i < 3; i++)
                making->stdio[i] = fd_close(making->stdio[i]);
        return 0;
}

static void on_mounted(const struct error *err, void *userdata)
{
        struct making *making = userdata;
        struct error why = ERROR_INIT;

        if (err) {
                fail(making, err);
                return;
        }
        making->has_mounted = true;
        if (making->job.is_aborted)
                (void)error_set(&why, STATUS_CANCELED, "create was cancelled");
        else if (launch(making, &why) == 0)
                return;
        fail(making, &why);
}

static int start_mounting(struct making *making, const struct executor_create *args,
                          struct error *err)
{
        _cleanup_free_ struct engine_mount *mounts = calloc(args->n_mounts, sizeof(*mounts));

        if (!mounts)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
        for (size_t i = 0; i < args->n_mounts; i++)
                mounts[i] = (struct engine_mount){
                        .type = args->mounts[i].type,
                        .source = args->mounts[i].source,
                        .target = args->mounts[i].target,
                        .options = args->mounts[i].options,
                        .n_options = args->mounts[i].n_options,
                };
        return engine_rootfs_mount(making->made->impl->engine, args->bundle, mounts, args->n_mounts,
                                   on_mounted, making, err);
}

static struct made *make(struct executor_runc *impl, const struct executor_create *args,
                         struct error *err)
{
        const struct runc_options options = {
                .loop = impl->loop,
                .reaper = impl->reaper,
                .binary = args->binary,
                .root = args->root,
                .runtime_namespace = args->runtime_namespace,
                .bundle = args->bundle,
                .state_dir = args->state_dir,
                .id = args->id,
                .systemd_cgroup = args->systemd_cgroup,
                .no_pivot_root = args->no_pivot_root,
                .no_new_keyring = args->no_new_keyring,
        };
        struct made *made = calloc(1, sizeof(*made));

        if (!made) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return NULL;
        }
        made->impl = impl;
        made->has_mounts = args->n_mounts > 0;
        made->bundle = strdup(args->bundle);
        if (!made->bundle) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return made_free(made);
        }
        if (runc_new(&made->runc, &options, err) < 0)
                return made_free(made);
        return made;
}

static struct making *making_new(struct executor_runc *impl, const struct executor_create *args,
                                 struct error *err)
{
        _cleanup_(making_free_p) struct making *making = calloc(1, sizeof(*making));

        if (!making) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return NULL;
        }
        for (int i = 0; i < 3; i++)
                making->stdio[i] = -1;
        making->made = make(impl, args, err);
        if (!making->made)
                return NULL;
        making->terminal = args->terminal;
        for (int i = 0; i < 3 && !args->terminal; i++) {
                making->stdio[i] = fcntl(args->stdio[i], F_DUPFD_CLOEXEC, 3);
                if (making->stdio[i] < 0) {
                        (void)error_errno(err, errno, "create: copy stdio");
                        return NULL;
                }
        }
        making->had_state = runc_has_state(making->made->runc);
        return TAKE_PTR(making);
}

static int do_create(void *impl, const struct executor_create *args, executor_create_fn fn,
                     void *userdata, struct executor_job **ret, struct error *err)
{
        _cleanup_(making_free_p) struct making *making = making_new(impl, args, err);
        int r;

        if (!making)
                return -1;
        making->fn = fn;
        making->userdata = userdata;
        if (runc_write_files(making->made->runc, err) < 0)
                return -1;
        r = args->n_mounts > 0 ? start_mounting(making, args, err) : launch(making, err);
        if (r < 0) {
                runc_remove_files(making->made->runc);
                return -1;
        }
        *ret = (struct executor_job *)TAKE_PTR(making);
        return 0;
}

static void do_abort(struct executor_job *executor_job)
{
        struct job *job = (struct job *)executor_job;

        job->is_aborted = true;
        if (job->runc)
                runc_job_abort(job->runc);
}

/* ---- The other verbs ---- */

static void on_started(const struct error *err, void *userdata)
{
        struct starting starting = *(struct starting *)userdata;

        free(userdata);
        starting.fn(err, starting.userdata);
}

static int do_start(struct executor_container *c, executor_done_fn fn, void *userdata,
                    struct executor_job **ret, struct error *err)
{
        struct starting *starting = malloc(sizeof(*starting));

        if (!starting)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "start: no memory");
        *starting = (struct starting){.fn = fn, .userdata = userdata};
        if (runc_start(made_of(c)->runc, on_started, starting, &starting->job.runc, err) < 0) {
                free(starting);
                return -1;
        }
        *ret = (struct executor_job *)starting;
        return 0;
}

static void on_exec_done(const struct error *err, struct runc_process *process, int terminal_fd,
                         void *userdata)
{
        struct exec_node node = *(struct exec_node *)userdata;

        free(userdata);
        node.fn(err, (struct executor_process *)process, terminal_fd, node.userdata);
}

static int do_exec(struct executor_container *c, const struct executor_exec *args,
                   executor_exec_fn fn, void *userdata, struct executor_job **ret,
                   struct error *err)
{
        struct exec_node *node = malloc(sizeof(*node));
        const struct runc_exec exec = {
                .exec_id = args->exec_id,
                .process_json = args->process_json,
                .process_json_len = args->process_json_len,
                .stdio = {.terminal = args->terminal, .fds = args->stdio},
        };

        if (!node)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec: no memory");
        *node = (struct exec_node){.fn = fn, .userdata = userdata};
        if (runc_exec(made_of(c)->runc, &exec, on_exec_done, node, &node->job.runc, err) < 0) {
                free(node);
                return -1;
        }
        *ret = (struct executor_job *)node;
        return 0;
}

/* Whatever a runtime says of a container whose init has ended, there is nobody to be signalled. */
static void on_killed_all(const struct error *err, void *userdata)
{
        struct killing killing = *(struct killing *)userdata;
        struct error over = ERROR_INIT;

        free(userdata);
        if (err && err->code != STATUS_NOT_FOUND && runc_process_has_exited(killing.made->init)) {
                log_debug("kill after the end of init: %s", err->msg);
                (void)error_set(&over, STATUS_NOT_FOUND, "process already finished");
                err = &over;
        }
        killing.fn(err, killing.userdata);
}

static int do_kill_all(struct executor_container *c, int signo, executor_done_fn fn, void *userdata,
                       struct error *err)
{
        struct killing *killing = malloc(sizeof(*killing));

        if (!killing)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "kill: no memory");
        *killing = (struct killing){.made = made_of(c), .fn = fn, .userdata = userdata};
        if (runc_kill_all(made_of(c)->runc, signo, on_killed_all, killing, err) < 0) {
                free(killing);
                return -1;
        }
        return 0;
}

static int do_pids(const struct executor_container *c, pid_t **ret_pids, size_t *ret_n,
                   struct error *err)
{
        return runc_facts_pids(&made_of(c)->facts, ret_pids, ret_n, err);
}

static bool do_has_private_pid_namespace(const struct executor_container *c)
{
        return made_of(c)->facts.has_private_pid;
}

static unsigned long do_oom_kills(const struct executor_container *c)
{
        return runc_facts_oom_kills(&made_of(c)->facts);
}

/* ---- Remove ---- */

static void finish_removal(struct removal *removal)
{
        executor_done_fn fn = removal->fn;
        void *userdata = removal->userdata;
        struct error err = removal->err;

        free(removal);
        fn(err.code != STATUS_OK ? &err : NULL, userdata);
}

static void on_removed_rootfs(const struct error *err, void *userdata)
{
        struct removal *removal = userdata;

        if (err && removal->err.code == STATUS_OK) {
                removal->err = *err;
                (void)error_prefix(&removal->err, "failed rootfs umount");
        } else if (err) {
                log_warning("delete: %s", err->msg);
        }
        finish_removal(removal);
}

/* Init has been reaped. */
static void on_init_gone(void *userdata)
{
        struct removal *removal = userdata;
        struct made *made = removal->made;
        struct error err = ERROR_INIT;

        if (!made->has_mounts)
                finish_removal(removal);
        else if (engine_rootfs_unmount(made->impl->engine, made->bundle, on_removed_rootfs, removal,
                                       &err) < 0)
                on_removed_rootfs(&err, removal);
}

static void on_deleted(const struct error *err, void *userdata)
{
        struct removal *removal = userdata;

        if (err)
                removal->err = *err;
        runc_process_on_end(removal->made->init, on_init_gone, removal);
}

static int do_remove(struct executor_container *c, executor_done_fn fn, void *userdata,
                     struct error *err)
{
        struct made *made = made_of(c);
        bool alive = !runc_process_has_exited(made->init);
        struct removal *removal = calloc(1, sizeof(*removal));

        if (!removal)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "delete: no memory");
        *removal = (struct removal){.made = made, .fn = fn, .userdata = userdata};
        if (alive)
                (void)runc_process_signal(made->init, SIGKILL, NULL);
        if (runc_delete(made->runc, alive, on_deleted, removal, err) < 0) {
                free(removal);
                return -1;
        }
        return 0;
}

static void do_container_free(struct executor_container *c)
{
        made_free(made_of(c));
}

/* ---- Processes ---- */

static pid_t do_process_pid(const struct executor_process *p)
{
        return runc_process_pid(process_of(p));
}

static void do_process_on_exit(struct executor_process *p, reaper_fn fn, void *userdata)
{
        runc_process_on_exit(process_of(p), fn, userdata);
}

static int do_process_signal(struct executor_process *p, int signo, struct error *err)
{
        return runc_process_signal(process_of(p), signo, err);
}

static void do_process_free(struct executor_process *p)
{
        runc_process_free(process_of(p));
}

void executor_runc_init(struct executor *executor, struct executor_runc *impl)
{
        static const struct executor_ops ops = {
                .create = do_create,
                .abort = do_abort,
                .start = do_start,
                .exec = do_exec,
                .kill_all = do_kill_all,
                .pids = do_pids,
                .has_private_pid_namespace = do_has_private_pid_namespace,
                .oom_kills = do_oom_kills,
                .remove = do_remove,
                .container_free = do_container_free,
                .process_pid = do_process_pid,
                .process_on_exit = do_process_on_exit,
                .process_signal = do_process_signal,
                .process_free = do_process_free,
        };

        executor->ops = &ops;
        executor->impl = impl;
}
