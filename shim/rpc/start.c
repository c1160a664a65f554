/* SPDX-License-Identifier: Apache-2.0
 *
 * Start: opens the init's gate, or makes an exec's process. The event of the start precedes that of
 * the exit, however early the exit comes: exits.c keeps it back while the state is `starting`.
 */
#include <signal.h>
#include <stdlib.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"

#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/exec_stream.h"
#include "shim/exits.h"
#include "shim/log_stream.h"
#include "shim/oom.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

static void reply(struct process *p)
{
        Containerd__Task__V2__StartResponse response = CONTAINERD__TASK__V2__START_RESPONSE__INIT;

        if (p->stream) {
                exec_stream_started(p);
                return;
        }
        response.pid = (uint32_t)p->pid;
        ttrpc_call_reply(TAKE_PTR(p->start), &response.base);
}

/* What a Start fails with: an abort has the shim's own reason. */
static struct error failure_of(const struct process *p, const struct error *err)
{
        struct error ended = ERROR_INIT;

        if (!p->start_aborted)
                return *err;
        (void)error_set(
                &ended, STATUS_FAILED_PRECONDITION, "%s",
                p->kind == PROCESS_INIT     ? "the container was ended while it was being started"
                : p->container->init_reaped ? "the container's init has ended"
                                            : "the process was killed while it was being started");
        return ended;
}

void rpc_start_abort(struct process *p)
{
        if (p->start_aborted || (!p->start_job && !p->stdio_fn))
                return;
        p->start_aborted = true;
        if (p->start_job)
                p->container->executor->ops->abort(p->start_job);
        else
                process_abort_stdio(p);
}

/* ---- The init ---- */

static void on_init_started(const struct error *err, void *userdata)
{
        struct process *p = userdata;
        struct container *c = p->container;

        p->start_job = NULL;
        if (err) {
                struct error why = failure_of(p, err);

                p->start_failed = !p->start_aborted;
                process_must(p, VERB_START_FAILED);
                state_commit(c->server);
                service_fail_job(TAKE_PTR(p->start), p->exec_id, "OCI runtime start failed", &why);
        } else {
                process_must(p, VERB_STARTED);
                publisher_publish_take(c->server->publisher, task_event_start(c->id, p->pid));
                state_commit(c->server);
                reply(p);
                CHAOS_POINT("start-answered");
        }
        exits_after_start(p);
        pending_run(&p->parked);
        container_job_end(c);
}

static void start_init(struct process *p)
{
        struct container *c = p->container;
        struct error err = ERROR_INIT;

        /* On v1 nothing tells afterwards whose limit it was that killed it in its first moments. */
        oom_start_now(c);
        container_job_begin(c);
        if (c->executor->ops->start(c->impl, on_init_started, p, &p->start_job, &err) < 0)
                on_init_started(&err, p);
}

/* ---- An exec ---- */

static void exec_failed(struct process *p, const struct error *err)
{
        struct error why = failure_of(p, err);

        log_streams_end(p);
        io_stdio_free(TAKE_PTR(p->stdio));
        if (p->stream)
                exec_stream_not_started(p, &why);
        if (p->start)
                service_fail_job(TAKE_PTR(p->start), p->exec_id, "OCI runtime exec failed", &why);
        exits_exec_not_started(p);
}

static void exec_started(struct process *p)
{
        struct container *c = p->container;
        struct error ignored = ERROR_INIT;

        process_write_record(p);
        process_must(p, VERB_STARTED);
        publisher_publish_take(c->server->publisher,
                               task_event_exec_started(c->id, p->exec_id, p->pid));
        state_commit(c->server);
        reply(p);
        CHAOS_POINT("exec-start-answered");
        exits_watch(p);
        /* The abort came too late: what the init left was killed without it. */
        if (c->init_reaped || p->start_aborted)
                (void)c->executor->ops->process_signal(p->impl, SIGKILL, &ignored);
}

static void on_exec_started(const struct error *err, struct executor_process *impl, int terminal_fd,
                            void *userdata)
{
        struct process *p = userdata;
        struct container *c = p->container;
        const struct executor_ops *ops = c->executor->ops;
        struct error attach = ERROR_INIT;
        struct error ignored = ERROR_INIT;

        p->start_job = NULL;
        if (err) {
                exec_failed(p, err);
        } else if (process_attach_take(p, impl, terminal_fd, &attach) < 0) {
                (void)ops->process_signal(p->impl, SIGKILL, &ignored);
                ops->process_free(TAKE_PTR(p->impl));
                p->pid = 0;
                exec_failed(p, &attach);
        } else {
                exec_started(p);
        }
        pending_run(&p->parked);
        container_job_end(c);
}

static void start_exec_job(struct process *p)
{
        struct container *c = p->container;
        const struct executor_exec args = {
                .exec_id = p->exec_id,
                .process_json = p->spec,
                .process_json_len = p->spec_len,
                .terminal = p->terminal,
                .stdio = p->terminal ? NULL : io_stdio_child_fds(p->stdio),
                .own_child = p->options.own_child,
                .passed = passed_for_executor(&p->passed),
                .cgroup = p->options.cgroup,
                .ignore_paused = p->options.ignore_paused,
        };
        struct error err = ERROR_INIT;
        int r = c->executor->ops->exec(c->impl, &args, on_exec_started, p, &p->start_job, &err);

        free(TAKE_PTR(p->spec));
        passed_deinit(&p->passed);
        if (r < 0)
                on_exec_started(&err, NULL, -1, p);
}

static void on_exec_stdio(const struct error *err, struct process *p)
{
        if (err)
                on_exec_started(err, NULL, -1, p);
        else
                start_exec_job(p);
}

static void start_exec(struct process *p)
{
        struct container *c = p->container;
        struct error err = ERROR_INIT;

        c->n_live_execs++;
        oom_start_now(c);
        container_job_begin(c);
        if (process_open_stdio(p, &err) < 0)
                on_exec_started(&err, NULL, -1, p);
        else if (!process_await_stdio(p, on_exec_stdio))
                start_exec_job(p);
}

static int may_start_exec(const struct process *p, struct error *err)
{
        const struct container *c = p->container;

        if (c->init_reaped)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "container %s init process is not running", c->id);
        return process_may(c->init, exec_options_verb(&p->options), err);
}

int rpc_start_exec(struct process *p, struct error *err)
{
        if (may_start_exec(p, err) < 0 || process_do(p, VERB_START, err) < 0)
                return -1;
        state_commit(p->container->server);
        start_exec(p);
        return 0;
}

void rpc_start(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__StartRequest *request = (const void *)message;
        struct process *p = service_find_process(userdata, call, request->id, request->exec_id);
        struct error err = ERROR_INIT;
        int r = 0;

        if (!p)
                return;
        if (p->kind == PROCESS_EXEC)
                r = may_start_exec(p, &err);
        if (r == 0)
                r = process_do(p, VERB_START, &err);
        if (r < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        state_commit(p->container->server);
        p->start = call;
        if (p->kind == PROCESS_INIT)
                start_init(p);
        else
                start_exec(p);
}
