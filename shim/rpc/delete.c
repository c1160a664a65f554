/* SPDX-License-Identifier: Apache-2.0
 *
 * Delete: forgets a process that has ended, with what its stdio still has to say. Of the init it is
 * the end of the container. A Delete goes on to its end whoever waits for it; a second one waits
 * for the first, so that its NOT_FOUND means that the container is gone.
 *
 * A created container may be deleted: its init is killed, and its exit is told like any other. The
 * stock shim leaves those who wait for it hanging.
 */
#include <signal.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/cgroup/stats.h"

#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/exits.h"
#include "shim/log.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

static void reply(struct process *p)
{
        Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
        Google__Protobuf__Timestamp exited_at = service_exited_at(&p->exit);

        if (!p->delete_)
                return;
        response.pid = (uint32_t)p->pid;
        response.exit_status = p->exit.status;
        response.exited_at = &exited_at;
        ttrpc_call_reply(TAKE_PTR(p->delete_), &response.base);
}

/* ---- Stdio ---- */

static void advance(struct process *p);

void rpc_delete_drained(struct process *p)
{
        if (p->state == PROCESS_DELETING && !p->is_gone)
                advance(p);
}

/* A part of the caller's patience; the rest is for what comes after it. */
static uint64_t time_within(const struct process *p, uint64_t limit, unsigned quarters)
{
        uint64_t deadline = p->delete_ ? ttrpc_call_deadline_ns(p->delete_) : 0;
        uint64_t now = clock_monotonic_ns();
        uint64_t left;

        if (deadline == 0)
                return limit;
        left = deadline > now ? (deadline - now) / 4 * quarters : 0;
        return left < limit ? left : limit;
}

/* Output that is still to come is waited for; then a logging program is told to end, and what it
 * does by then is waited for, too. */
static void on_drain_timer(struct loop_timer *timer, void *userdata)
{
        struct process *p = userdata;
        const struct shim_times *times = &p->container->server->times;

        if (!p->drain_stopping && io_stdio_stop(p->stdio)) {
                p->drain_stopping = true;
                if (loop_timer_set(timer, time_within(p, times->stop_logger_ns, 3)) == 0)
                        return;
        }
        log_write(LOG_WARNING, p->exec_id, "stdio is not drained: what is left is lost");
        p->drain_over = true;
        advance(p);
}

/* True when there is nothing to wait for; else advance() runs again. */
static bool is_drained(struct process *p)
{
        uint64_t time = p->container->server->times.drain_ns;

        if (!p->stdio || p->drain_over || io_stdio_is_drained(p->stdio))
                return true;
        if (p->drain)
                return false;
        p->drain = loop_timer_new(p->container->server->loop, on_drain_timer, p);
        if (!p->drain || loop_timer_set(p->drain, time_within(p, time, 2)) < 0)
                return true;
        return false;
}

static void end_drain(struct process *p)
{
        p->drain = loop_timer_free(p->drain);
}

/* ---- An exec ---- */

static void exec_gone(struct process *p)
{
        struct container *c = p->container;

        end_drain(p);
        shim_record_remove(c->server->bundle_fd, p->exec_id);
        p->is_gone = true;
        list_remove(&p->node);
        c->n_execs--;
        state_forget(p);
        CHAOS_POINT("exec-gone");
        state_commit(c->server);
        reply(p);
        CHAOS_POINT("exec-delete-answered");
        pending_fail(&p->waiters, STATUS_NOT_FOUND, "process was deleted before it was started");
        server_bury_process(c->server, p);
        pending_run(&p->parked);
}

/* ---- The init, and with it the container ---- */

static void container_gone(struct container *c)
{
        struct shim_server *server = c->server;
        struct process *p = c->init;

        server->container = NULL;
        if (c->n_live_execs > 0)
                log_warning("%zu execs were deleted with the container before they had ended",
                            c->n_live_execs);
        while (!list_is_empty(&c->execs)) {
                struct process *exec = list_first(&c->execs, struct process, node);

                if (exec->delete_) {
                        exec_gone(exec);
                        continue;
                }
                shim_record_remove(c->server->bundle_fd, exec->exec_id);
                list_remove(&exec->node);
                c->n_execs--;
                pending_fail(&exec->waiters, STATUS_NOT_FOUND, "container was deleted");
                pending_fail(&exec->parked, STATUS_NOT_FOUND, "container was deleted");
                server_bury_process(server, exec);
        }
        publisher_publish_take(server->publisher,
                               task_event_delete(c->id, p->pid, p->exit.status, &p->exit.at));
        CHAOS_POINT("container-gone");
        state_commit(server);
        reply(p);
        CHAOS_POINT("delete-answered");
        server_bury_container(server, c);
        lifetime_touch(server);
        pending_run(&p->parked);
}

static void on_removed(const struct error *err, void *userdata)
{
        struct container *c = userdata;
        struct process *p = c->init;

        c->n_jobs--;
        if (!err) {
                log_info("container deleted");
                container_gone(c);
                server_advance_stop(c->server);
                return;
        }
        process_must(p, VERB_DELETE_FAILED);
        state_commit_late(c->server);
        p->drain_over = false;
        service_fail_job(TAKE_PTR(p->delete_), NULL, "failed to delete task", err);
        pending_run(&p->parked);
        server_advance_stop(c->server);
}

static void advance_init(struct process *p)
{
        struct container *c = p->container;
        struct error err = ERROR_INIT;

        if (!p->exit.told || c->n_jobs > 0 || !is_drained(p))
                return;
        end_drain(p);
        p->drain_waited = true;
        state_commit_late(c->server);
        process_write_record(p);
        c->n_jobs++;
        c->stats = cgroup_stats_reader_free(c->stats);
        if (c->executor->ops->remove(c->impl, on_removed, c, &err) < 0)
                on_removed(&err, c);
}

void rpc_delete_advance(struct container *c)
{
        if (c->init && c->init->delete_)
                advance_init(c->init);
}

static void advance(struct process *p)
{
        if (p->kind == PROCESS_INIT)
                advance_init(p);
        else if (is_drained(p))
                exec_gone(p);
}

void rpc_delete_exec(struct process *p)
{
        struct error ignored = ERROR_INIT;

        if (process_do(p, VERB_DELETE, &ignored) == 0)
                advance(p);
}

/* A container that was killed and still runs: an operator wants to know who does not die. */
static void explain_survivor(const struct process *p, struct error *err)
{
        const struct container *c = p->container;
        const struct cgroup *cg;
        struct error first = *err;
        char who[80];

        if (p->kind != PROCESS_INIT || !c->is_unwanted || p->exit.known || !c->impl)
                return;
        cg = c->executor->ops->cgroup(c->impl);
        if (cg && cgroup_survivor(cg, who, sizeof(who)))
                (void)error_set(err, first.code, "%s: it was killed, but %s", first.msg, who);
}

void rpc_delete(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__DeleteRequest *request = (const void *)message;
        struct process *p = service_find_process(userdata, call, request->id, request->exec_id);
        struct error err = ERROR_INIT;
        int r;

        if (!p)
                return;
        r = process_do(p, VERB_DELETE, &err);
        if (r == PROCESS_WAIT) {
                if (p->kind == PROCESS_INIT)
                        exits_want_end(p->container);
                pending_add(&p->parked, call, message, rpc_delete, userdata);
                return;
        }
        if (r < 0) {
                explain_survivor(p, &err);
                ttrpc_call_fail_error(call, &err);
                return;
        }
        p->delete_ = call;
        state_commit_late(p->container->server);
        /* A created init is killed first; that it has just died by itself is fine. */
        if (p->kind == PROCESS_INIT && !p->exit.known) {
                (void)p->container->executor->ops->process_signal(p->impl, SIGKILL, &err);
                rpc_pause_after_sigkill(p->container);
        }
        advance(p);
}
