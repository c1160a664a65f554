/* SPDX-License-Identifier: Apache-2.0
 *
 * Create: from a bundle to an init that waits at its gate. Nobody sees the container before that,
 * and a Create that fails leaves nothing: no container, no event, no open stdio, no file. A Create
 * goes on when its caller has gone, since containerd then asks Delete and Shutdown, and Shutdown
 * aborts it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/exits.h"
#include "shim/log.h"
#include "shim/oom.h"
#include "shim/options.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

CLEANUP_DEFINE(struct container, container_free)

static const char pid_file[] = "init.pid";

/* How often Create looks whether clients have opened their FIFOs. */
#define READERS_LOOK_NS (2 * NSEC_PER_MSEC)

/* ---- The end of a Create ---- */

static void remove_files(const struct shim_server *server)
{
        shim_record_unlink_init(server->bundle_fd);
        (void)unlinkat(server->bundle_fd, pid_file, 0);
}

void shim_server_forget_create(struct shim_server *server)
{
        if (!server->container && !server->had_container)
                remove_files(server);
}

static void create_failed(struct container *c, const struct error *why)
{
        struct shim_server *server = c->server;

        service_fail_job(TAKE_PTR(c->create), NULL, "OCI runtime create failed", why);
        remove_files(server);
        server->creating = NULL;
        server_bury_container(server, c);
        lifetime_touch(server);
        server_advance_stop(server);
}

static void on_undone(const struct error *err, void *userdata)
{
        struct container *c = userdata;

        if (err)
                log_error("undo create: %s", err->msg);
        c->n_jobs--;
        create_failed(c, &c->create_error);
}

/* The executor has made it, but it cannot be used: it is removed again. */
static void undo_create(struct container *c, const struct error *why)
{
        struct error err = ERROR_INIT;

        c->create_error = *why;
        c->n_jobs++;
        if (c->executor->ops->remove(c->impl, on_undone, c, &err) < 0)
                on_undone(&err, c);
}

static void write_pid_file(const struct container *c)
{
        char text[16];
        int r;

        (void)snprintf(text, sizeof(text), "%d", (int)c->init->pid);
        r = file_write_atomic(c->server->bundle_fd, pid_file, text, strlen(text), 0644);
        if (r < 0)
                log_error("write '%s': %s", pid_file, strerror(-r));
}

/* What tells of the init on disk. */
static void write_files(struct container *c)
{
        write_pid_file(c);
        process_write_record(c->init);
        c->has_files = true;
}

/* While init mounts and pivots, there is the time for it. */
static void on_init(pid_t pid, void *userdata)
{
        struct container *c = userdata;

        process_set_pid(c->init, pid);
        write_files(c);
}

static void create_succeeded(struct container *c)
{
        Containerd__Task__V2__CreateTaskResponse response =
                CONTAINERD__TASK__V2__CREATE_TASK_RESPONSE__INIT;
        struct shim_server *server = c->server;
        struct task_event *event = task_event_create(c->create_request, c->init->pid);

        if (!c->has_files)
                write_files(c);
        server->creating = NULL;
        server->container = c;
        server->had_container = true;
        response.pid = (uint32_t)c->init->pid;
        c->create_request = NULL;
        publisher_publish_take(server->publisher, event);
        CHAOS_POINT("create-published");
        oom_start(c);
        exits_watch(c->init);
        state_commit(server);
        ttrpc_call_reply(TAKE_PTR(c->create), &response.base);
        CHAOS_POINT("create-answered");
        log_info("container created, pid %d", (int)c->init->pid);
        lifetime_touch(server);
        server_advance_stop(server);
}

/*
 * A client opens its FIFOs while Create is under way, and gives that up when it hears of the end of
 * a process that was quick: then the output would be lost. So Create does not answer before they
 * are open, within a bound. (The stock shim waits without one.)
 */
static void await_readers(struct container *c);

static void on_readers_timer(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        await_readers(userdata);
}

static void await_readers(struct container *c)
{
        uint64_t now = clock_monotonic_ns();

        if (c->readers_until_ns == 0)
                c->readers_until_ns = now + c->server->times.readers_ns;
        if (io_stdio_readers_have_come(c->init->stdio) || now >= c->readers_until_ns ||
            c->server->stopping) {
                c->readers = loop_timer_free(c->readers);
                c->n_jobs--;
                create_succeeded(c);
                return;
        }
        if (!c->readers)
                c->readers = loop_timer_new(c->server->loop, on_readers_timer, c);
        if (!c->readers || loop_timer_set(c->readers, READERS_LOOK_NS) < 0) {
                c->n_jobs--;
                create_succeeded(c);
        }
}

static void on_created(const struct error *err, struct executor_container *impl,
                       struct executor_process *init, int terminal_fd, void *userdata)
{
        struct container *c = userdata;
        struct error attach = ERROR_INIT;

        c->n_jobs--;
        c->create_job = NULL;
        if (err) {
                create_failed(c, err);
                return;
        }
        c->impl = impl;
        if (process_attach_take(c->init, init, terminal_fd, &attach) < 0) {
                undo_create(c, &attach);
                return;
        }
        c->n_jobs++;
        await_readers(c);
}

/* ---- Its beginning ---- */

static int check(const struct shim_server *server,
                 const Containerd__Task__V2__CreateTaskRequest *request, struct error *err)
{
        if (!id_is_valid(request->id))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "id '%.80s' is not a valid identifier", request->id);
        if (request->bundle[0] != '/')
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "bundle '%.160s' is not an absolute path", request->bundle);
        if (*request->checkpoint || *request->parent_checkpoint)
                return error_set(err, STATUS_UNIMPLEMENTED, "checkpoint is not supported yet");
        if (server->stopping)
                return error_set(err, STATUS_UNAVAILABLE, "the shim is ending");
        if (server->creating || server->container)
                return error_set(err, STATUS_ALREADY_EXISTS,
                                 "the shim has the container '%s': already exists",
                                 (server->creating ? server->creating : server->container)->id);
        if (access(request->bundle, X_OK) < 0)
                return error_errno(err, errno, "open bundle '%s'", request->bundle);
        return 0;
}

/* Mounts as the executor wants them, in the call's arena; NULL without room there. */
static const struct executor_mount *
make_mounts(struct arena *arena, const Containerd__Task__V2__CreateTaskRequest *request)
{
        struct executor_mount *mounts = arena_calloc(arena, request->n_rootfs, sizeof(*mounts));

        for (size_t i = 0; mounts && i < request->n_rootfs; i++) {
                const Containerd__Types__Mount *m = request->rootfs[i];

                mounts[i] = (struct executor_mount){
                        .type = m->type,
                        .source = m->source,
                        .target = m->target,
                        .options = (const char *const *)m->options,
                        .n_options = m->n_options,
                };
        }
        return mounts;
}

/* Starts the executor's job; the container is complete but for what that gives. */
static int begin_job(struct container *c, struct error *err)
{
        const Containerd__Task__V2__CreateTaskRequest *request = c->create_request;
        const struct create_options *options = c->create_options;
        const struct executor *executor = c->executor;
        struct executor_create args = {
                .id = c->id,
                .bundle = c->bundle,
                .state_dir = c->server->bundle,
                .runtime_namespace = c->server->runtime_namespace,
                .mounts = make_mounts(ttrpc_call_arena(c->create), request),
                .n_mounts = request->n_rootfs,
                .terminal = c->init->terminal,
                .stdio = c->init->terminal ? NULL : io_stdio_child_fds(c->init->stdio),
                .no_pivot_root = options->no_pivot_root,
                .no_new_keyring = options->no_new_keyring,
                .systemd_cgroup = options->systemd_cgroup,
                .binary = options->binary,
                .root = options->root,
                .on_init = on_init,
        };
        int r;

        if (!args.mounts)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%zu mounts: no memory",
                                 request->n_rootfs);
        args.passed = passed_for_executor(&c->init->passed);
        c->n_jobs++;
        r = executor->ops->create(executor->impl, &args, on_created, c, &c->create_job, err);
        passed_deinit(&c->init->passed);
        if (r < 0)
                c->n_jobs--;
        return r;
}

static void on_stdio(const struct error *err, struct process *p)
{
        struct error why = ERROR_INIT;

        if (err || begin_job(p->container, &why) < 0)
                create_failed(p->container, err ? err : &why);
}

static int begin(struct container *c, struct error *err)
{
        if (!c->executor)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "options.binary_name '%s' is not supported here",
                                 c->create_options->binary);
        c->io_uid = c->create_options->io_uid;
        c->io_gid = c->create_options->io_gid;
        if (passed_of_call(&c->init->passed, c->create, err) < 0 ||
            process_open_stdio(c->init, err) < 0)
                return -1;
        return process_await_stdio(c->init, on_stdio) ? 0 : begin_job(c, err);
}

void rpc_create_abort(struct container *c)
{
        if (c->create_job)
                c->executor->ops->abort(c->create_job);
        else
                process_abort_stdio(c->init);
}

static struct container *make_container(struct shim_server *server,
                                        const Containerd__Task__V2__CreateTaskRequest *request,
                                        struct error *err)
{
        const struct process_request what = {
                .exec_id = "",
                .stdin_path = request->stdin,
                .stdout_path = request->stdout,
                .stderr_path = request->stderr,
                .terminal = request->terminal,
        };
        _cleanup_(container_free_p) struct container *c =
                container_new(server, request->id, request->bundle, err);

        if (!c)
                return NULL;
        c->init = process_new(c, PROCESS_INIT, &what);
        if (!c->init) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create container: no memory");
                return NULL;
        }
        return TAKE_PTR(c);
}

void rpc_create(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__CreateTaskRequest *request = (const void *)message;
        struct shim_server *server = userdata;
        struct create_options *options;
        struct container *c;
        struct error err = ERROR_INIT;

        lifetime_touch(server);
        options = arena_alloc(ttrpc_call_arena(call), sizeof(*options));
        if (!options) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "create container: no memory");
                return;
        }
        if (check(server, request, &err) < 0 ||
            create_options_parse(request->options, ttrpc_call_arena(call), options, &err) < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        c = make_container(server, request, &err);
        if (!c) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        if (options->binary)
                c->executor = server->binary_executor;
        c->create = call;
        c->create_request = request;
        c->create_options = options;
        server->creating = c;
        if (begin(c, &err) < 0)
                create_failed(c, &err);
        lifetime_touch(server);
}
