/* SPDX-License-Identifier: Apache-2.0
 *
 * A runtime binary behind the shim's executor interface: it makes, starts, execs, kills all and
 * deletes; the engine mounts the rootfs, which a runtime never does. What the shim has to know at
 * once is read from the kernel: the pids and the OOM kills from init's cgroup, and signals to a
 * single process go by its pidfd.
 */
#include "shim/executor_runc.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"

#include "belay/state/v1/shim.pb-c.h"
#include "shim/executor_runc_impl.h"
#include "shim/log.h"

/* A Start, Pause, Resume or Update. */
struct verb {
        struct job job;
        struct made *made;
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

struct made *made_free(struct made *made)
{
        if (!made)
                return NULL;
        runc_free(made->runc);
        free(made->bundle);
        runc_facts_deinit(&made->facts);
        free(made);
        return NULL;
}

static void do_abort(struct executor_job *executor_job)
{
        struct job *job = (struct job *)executor_job;

        job->is_aborted = true;
        if (job->runc)
                runc_job_abort(job->runc);
}

/* ---- The other verbs ---- */

static struct verb *verb_new(struct executor_container *c, executor_done_fn fn, void *userdata,
                             struct error *err)
{
        struct verb *verb = malloc(sizeof(*verb));

        if (!verb) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "run the runtime: no memory");
                return NULL;
        }
        *verb = (struct verb){.made = made_of(c), .fn = fn, .userdata = userdata};
        return verb;
}

/* r: of the call that has started it. */
static int verb_begun(struct verb *verb, int r, struct executor_job **ret)
{
        if (r < 0)
                free(verb);
        else
                *ret = (struct executor_job *)verb;
        return r;
}

static void on_verb_done(const struct error *err, void *userdata)
{
        struct verb verb = *(struct verb *)userdata;

        free(userdata);
        verb.fn(err, verb.userdata);
}

static int do_start(struct executor_container *c, executor_done_fn fn, void *userdata,
                    struct executor_job **ret, struct error *err)
{
        struct verb *verb = verb_new(c, fn, userdata, err);

        if (!verb)
                return -1;
        return verb_begun(
                verb, runc_start(made_of(c)->runc, on_verb_done, verb, &verb->job.runc, err), ret);
}

/* The runtime may have been killed in the middle of it. */
static void on_paused(const struct error *err, void *userdata)
{
        const struct verb *verb = userdata;

        if (err)
                runc_facts_thaw(&verb->made->facts);
        on_verb_done(err, userdata);
}

static int do_pause(struct executor_container *c, executor_done_fn fn, void *userdata,
                    struct executor_job **ret, struct error *err)
{
        struct verb *verb = verb_new(c, fn, userdata, err);

        if (!verb)
                return -1;
        return verb_begun(verb, runc_pause(made_of(c)->runc, on_paused, verb, &verb->job.runc, err),
                          ret);
}

static int do_resume(struct executor_container *c, executor_done_fn fn, void *userdata,
                     struct executor_job **ret, struct error *err)
{
        struct verb *verb = verb_new(c, fn, userdata, err);

        if (!verb)
                return -1;
        return verb_begun(
                verb, runc_resume(made_of(c)->runc, on_verb_done, verb, &verb->job.runc, err), ret);
}

static int do_update(struct executor_container *c, const char *json, size_t len,
                     executor_done_fn fn, void *userdata, struct executor_job **ret,
                     struct error *err)
{
        struct verb *verb = verb_new(c, fn, userdata, err);

        if (!verb)
                return -1;
        return verb_begun(
                verb,
                runc_update(made_of(c)->runc, json, len, on_verb_done, verb, &verb->job.runc, err),
                ret);
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
                .cgroup = args->cgroup,
                .ignore_paused = args->ignore_paused,
        };

        if (args->passed.map) {
                free(node);
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "exec: descriptors cannot be passed on to a runtime binary");
        }
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

static bool do_has_private_pid_namespace(const struct executor_container *c)
{
        return made_of(c)->facts.has_private_pid;
}

static const struct cgroup *do_cgroup(const struct executor_container *c)
{
        return runc_facts_cgroup(&made_of(c)->facts);
}

static int do_list_pids(void *impl, const struct cgroup *cg, executor_pids_fn fn, void *userdata,
                        struct error *err)
{
        const struct executor_runc *runc = impl;

        return engine_list_pids(runc->engine, cg, fn, userdata, err);
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

/* ---- Another image of the process ---- */

static int do_container_save(const struct executor_container *c, struct arena *arena,
                             Belay__State__V1__Container *message, struct error *err)
{
        const struct made *made = made_of(c);
        const struct cgroup *cgroup = runc_facts_cgroup(&made->facts);
        Belay__State__V1__RuncContainer *msg = arena_alloc(arena, sizeof(*msg));

        if (!msg)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "save container: no memory");
        runc_save(made->runc, msg);
        msg->has_mounts = made->has_mounts;
        msg->private_pid = made->facts.has_private_pid;
        message->runc = msg;
        return cgroup ? cgroup_format(cgroup, arena, &msg->cgroup, err) : 0;
}

static int do_container_restore(void *impl, const Belay__State__V1__Container *message,
                                struct executor_container **ret, struct error *err)
{
        const Belay__State__V1__RuncContainer *msg = message->runc;
        struct executor_runc *executor = impl;
        struct made *made;

        if (!msg)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "restore container: no runtime binary has made any");
        made = calloc(1, sizeof(*made));
        if (!made)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "restore container: no memory");
        made->impl = executor;
        made->has_mounts = msg->has_mounts;
        made->bundle = strdup(msg->bundle);
        if (!made->bundle)
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "restore container: no memory");
        if (!made->bundle ||
            runc_restore(&made->runc, executor->loop, executor->reaper, msg, err) < 0 ||
            runc_facts_restore(&made->facts, msg->cgroup, msg->private_pid, err) < 0) {
                made_free(made);
                return -1;
        }
        *ret = (struct executor_container *)made;
        return 0;
}

static int do_process_save(const struct executor_process *p, struct arena *arena,
                           Belay__State__V1__Process *message, struct error *err)
{
        message->runc = arena_alloc(arena, sizeof(*message->runc));
        if (!message->runc)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "save process: no memory");
        runc_process_save(process_of(p), message->runc);
        return 0;
}

static int do_process_restore(struct executor_container *c,
                              const Belay__State__V1__Process *message,
                              struct executor_process **ret, struct error *err)
{
        struct made *made = made_of(c);
        struct runc_process *p = NULL;

        if (message->runc && runc_process_restore(&p, made->runc, message->runc, err) < 0)
                return -1;
        if (!*message->exec_id)
                made->init = p;
        *ret = (struct executor_process *)p;
        return 0;
}

static bool do_is_created(const struct executor_container *c)
{
        return runc_is_created(made_of(c)->runc);
}

static void do_undo_execs(struct executor_container *c)
{
        runc_undo_execs(made_of(c)->runc);
}

void executor_runc_init(struct executor *executor, struct executor_runc *impl)
{
        static const struct executor_ops ops = {
                .create = executor_runc_create,
                .abort = do_abort,
                .start = do_start,
                .exec = do_exec,
                .pause = do_pause,
                .resume = do_resume,
                .update = do_update,
                .kill_all = do_kill_all,
                .has_private_pid_namespace = do_has_private_pid_namespace,
                .cgroup = do_cgroup,
                .list_pids = do_list_pids,
                .remove = do_remove,
                .container_free = do_container_free,
                .process_pid = do_process_pid,
                .process_on_exit = do_process_on_exit,
                .process_signal = do_process_signal,
                .process_free = do_process_free,
                .container_save = do_container_save,
                .container_restore = do_container_restore,
                .process_save = do_process_save,
                .process_restore = do_process_restore,
                .is_created = do_is_created,
                .undo_execs = do_undo_execs,
        };

        executor->ops = &ops;
        executor->impl = impl;
}
