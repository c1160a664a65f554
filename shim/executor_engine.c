/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine behind the shim's executor interface. The two were drawn alike, so this only turns
 * types; a completion that carries the engine's objects passes through a small node that knows
 * whom to call.
 */
#include "shim/executor_engine.h"

#include <stdlib.h>

#include "belay/state/v1/shim.pb-c.h"
#include "shim/log.h"

struct create_node {
        executor_create_fn fn;
        void (*on_init)(pid_t pid, void *userdata);
        void *userdata;
};

struct exec_node {
        executor_exec_fn fn;
        void *userdata;
};

/* An executor's handles are the engine's, under another name. */
static struct engine_container *container_of_executor(const struct executor_container *c)
{
        return (struct engine_container *)c;
}

static struct engine_process *process_of_executor(const struct executor_process *p)
{
        return (struct engine_process *)p;
}

static void on_created(const struct error *err, struct engine_container *container,
                       struct engine_process *init, int terminal_fd, void *userdata)
{
        struct create_node node = *(struct create_node *)userdata;

        free(userdata);
        node.fn(err, (struct executor_container *)container, (struct executor_process *)init,
                terminal_fd, node.userdata);
}

static void on_init(pid_t pid, void *userdata)
{
        const struct create_node *node = userdata;

        node->on_init(pid, node->userdata);
}

static int do_create(void *impl, const struct executor_create *args, executor_create_fn fn,
                     void *userdata, struct executor_job **ret, struct error *err)
{
        struct create_node *node = malloc(sizeof(*node));
        struct engine_mount *mounts = calloc(args->n_mounts + 1, sizeof(*mounts));
        const struct engine_create create = {
                .id = args->id,
                .bundle = args->bundle,
                .state_dir = args->state_dir,
                .runtime_namespace = args->runtime_namespace,
                .mounts = mounts,
                .n_mounts = args->n_mounts,
                .terminal = args->terminal,
                .stdio = args->stdio,
                .passed = {args->passed.pidfd, args->passed.n_listen, args->passed.map},
                .no_pivot_root = args->no_pivot_root,
                .no_new_keyring = args->no_new_keyring,
                .systemd_cgroup = args->systemd_cgroup,
                .on_init = args->on_init ? on_init : NULL,
        };
        struct engine_job *job = NULL;
        int r;

        if (!node || !mounts) {
                free(node);
                free(mounts);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        }
        *node = (struct create_node){.fn = fn, .on_init = args->on_init, .userdata = userdata};
        for (size_t i = 0; i < args->n_mounts; i++)
                mounts[i] = (struct engine_mount){
                        .type = args->mounts[i].type,
                        .source = args->mounts[i].source,
                        .target = args->mounts[i].target,
                        .options = args->mounts[i].options,
                        .n_options = args->mounts[i].n_options,
                };
        r = engine_create(impl, &create, on_created, node, &job, err);
        free(mounts);
        if (r < 0)
                free(node);
        else
                *ret = (struct executor_job *)job;
        return r;
}

static void do_abort(struct executor_job *job)
{
        engine_job_abort((struct engine_job *)job);
}

static int do_start(struct executor_container *c, executor_done_fn fn, void *userdata,
                    struct executor_job **ret, struct error *err)
{
        struct engine_job *job = NULL;

        if (engine_start(container_of_executor(c), fn, userdata, &job, err) < 0)
                return -1;
        *ret = (struct executor_job *)job;
        return 0;
}

static void on_exec_done(const struct error *err, struct engine_process *process, int terminal_fd,
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
        struct engine_job *job = NULL;
        const struct engine_exec exec = {
                .exec_id = args->exec_id,
                .own_child = args->own_child,
                .process_json = args->process_json,
                .process_json_len = args->process_json_len,
                .terminal = args->terminal,
                .stdio = args->stdio,
                .passed = {args->passed.pidfd, args->passed.n_listen, args->passed.map},
                .cgroup = args->cgroup,
        };

        if (!node)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        *node = (struct exec_node){.fn = fn, .userdata = userdata};
        if (engine_exec(container_of_executor(c), &exec, on_exec_done, node, &job, err) < 0) {
                free(node);
                return -1;
        }
        *ret = (struct executor_job *)job;
        return 0;
}

static int do_pause(struct executor_container *c, executor_done_fn fn, void *userdata,
                    struct executor_job **ret, struct error *err)
{
        return engine_pause(container_of_executor(c), fn, userdata, (struct engine_job **)ret, err);
}

static int do_resume(struct executor_container *c, executor_done_fn fn, void *userdata,
                     struct executor_job **ret, struct error *err)
{
        return engine_resume(container_of_executor(c), fn, userdata, (struct engine_job **)ret,
                             err);
}

static int do_update(struct executor_container *c, const char *json, size_t len,
                     executor_done_fn fn, void *userdata, struct executor_job **ret,
                     struct error *err)
{
        return engine_update(container_of_executor(c), json, len, fn, userdata,
                             (struct engine_job **)ret, err);
}

static int do_kill_all(struct executor_container *c, int signo, executor_done_fn fn, void *userdata,
                       struct error *err)
{
        return engine_kill_all(container_of_executor(c), signo, fn, userdata, err);
}

static bool do_has_private_pid_namespace(const struct executor_container *c)
{
        return engine_has_private_pid_namespace(container_of_executor(c));
}

static const struct cgroup *do_cgroup(const struct executor_container *c)
{
        return engine_cgroup(container_of_executor(c));
}

static int do_list_pids(void *impl, const struct cgroup *cg, executor_pids_fn fn, void *userdata,
                        struct error *err)
{
        return engine_list_pids(impl, cg, fn, userdata, err);
}

static int do_remove(struct executor_container *c, executor_done_fn fn, void *userdata,
                     struct error *err)
{
        return engine_delete(container_of_executor(c), fn, userdata, err);
}

static void do_container_free(struct executor_container *c)
{
        engine_container_free(container_of_executor(c));
}

static pid_t do_process_pid(const struct executor_process *p)
{
        return engine_process_pid(process_of_executor(p));
}

static void do_process_on_exit(struct executor_process *p, reaper_fn fn, void *userdata)
{
        engine_process_on_exit(process_of_executor(p), fn, userdata);
}

static int do_process_signal(struct executor_process *p, int signo, struct error *err)
{
        return engine_process_signal(process_of_executor(p), signo, err);
}

static void do_process_free(struct executor_process *p)
{
        engine_process_free(process_of_executor(p));
}

static int do_container_save(const struct executor_container *c, struct arena *arena,
                             Belay__State__V1__Container *message, struct error *err)
{
        message->engine = arena_alloc(arena, sizeof(*message->engine));
        if (!message->engine)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "save container: no memory");
        return engine_container_save(container_of_executor(c), arena, message->engine, err);
}

static int do_container_restore(void *impl, const Belay__State__V1__Container *message,
                                struct executor_container **ret, struct error *err)
{
        struct engine_container *c;

        if (!message->engine)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "restore container: the engine has not saved any");
        if (engine_container_restore(&c, impl, message->engine, err) < 0)
                return -1;
        *ret = (struct executor_container *)c;
        return 0;
}

static int do_process_save(const struct executor_process *p, struct arena *arena,
                           Belay__State__V1__Process *message, struct error *err)
{
        message->engine = arena_alloc(arena, sizeof(*message->engine));
        if (!message->engine)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "save process: no memory");
        engine_process_save(process_of_executor(p), message->engine);
        return 0;
}

static int do_process_restore(struct executor_container *c,
                              const Belay__State__V1__Process *message,
                              struct executor_process **ret, struct error *err)
{
        struct engine_process *p = NULL;

        if (message->engine &&
            engine_process_restore(&p, container_of_executor(c), message->engine, err) < 0)
                return -1;
        *ret = (struct executor_process *)p;
        return 0;
}

static bool do_is_created(const struct executor_container *c)
{
        return !engine_container_has_started(container_of_executor(c));
}

static void on_warning(const char *text, void *userdata)
{
        (void)userdata;
        log_warning("%s", text);
}

void executor_engine_init(struct executor *executor, struct engine *engine)
{
        static const struct executor_ops ops = {
                .create = do_create,
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
        };

        executor->ops = &ops;
        executor->impl = engine;
        engine_on_warning(engine, on_warning, NULL);
}
