/* SPDX-License-Identifier: Apache-2.0
 *
 * Exits: see exits.h. An init that shares its pid namespace with others leaves processes behind;
 * they are killed, as the kernel does it in a pid namespace of its own. Nothing that is told is a
 * guess: `oom_killed` needs both SIGKILL and a kill that the kernel has counted (oom.h).
 */
#include "shim/exits.h"

#include <assert.h>
#include <signal.h>
#include <sys/wait.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"

#include "shim/attachments.h"
#include "shim/container.h"
#include "shim/exec_stream.h"
#include "shim/log.h"
#include "shim/oom.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

enum {
        SIGNAL_STATUS_BASE = 128,
        NOT_STARTED_STATUS =
                255, /* containerd's own figure for a process that it knows nothing of */
};

void exits_before_sigkill(struct container *c)
{
        oom_disclaim(c);
}

static void fill_exit(struct process *p, const struct reaper_exit *exit)
{
        struct process_exit *e = &p->exit;

        e->known = true;
        e->at = exit->at;
        if (exit->code == CLD_EXITED) {
                e->status = (uint32_t)exit->status;
                e->reason = RECORD_EXITED;
        } else {
                e->signal = exit->status;
                e->status = (uint32_t)(SIGNAL_STATUS_BASE + exit->status);
                e->core_dumped = exit->code == CLD_DUMPED;
                if (exit->status == SIGKILL)
                        oom_claim(p->container, e);
                e->reason = e->oom_killed ? RECORD_OOM_KILLED : RECORD_SIGNAL;
        }
        if (p->start_failed)
                e->reason = RECORD_RUNTIME_ERROR;
}

static void publish_exit(struct process *p)
{
        struct container *c = p->container;
        const char *id = p->kind == PROCESS_INIT ? c->id : p->exec_id;

        task_event_exit_fill(p->exit_event, c->id, id, p->pid, p->exit.status, &p->exit.at);
        publisher_publish_take(c->server->publisher, TAKE_PTR(p->exit_event));
}

static void exec_is_over(struct container *c)
{
        assert(c->n_live_execs > 0);
        c->n_live_execs--;
        exits_advance(c);
}

/* State, event, waiters. */
static void tell(struct process *p)
{
        CHAOS_POINT("exit-tell");
        process_must(p, VERB_EXIT);
        p->exit.told = true;
        state_touch(p);
        if (p->kind == PROCESS_INIT)
                oom_stop(p->container);
        /* A health check is an exec every few seconds. */
        log_write(p->kind == PROCESS_INIT ? LOG_INFO : LOG_DEBUG, p->exec_id,
                  "process %d ended: %s, status %u", (int)p->pid,
                  record_reason_name(p->exit.reason), (unsigned)p->exit.status);
        publish_exit(p);
        CHAOS_POINT("exit-published");
        state_commit(p->container->server);
        CHAOS_POINT("exit-committed");
        pending_run(&p->waiters);
        CHAOS_POINT("exit-told");
        attachments_advance(p);
        exec_stream_advance(p);
}

/* Tells init's exit, unless something must come first; whoever is in the way calls again. */
void exits_advance(struct container *c)
{
        struct process *p = c->init;
        struct error err = ERROR_INIT;

        if (!p->exit.known || p->exit.told)
                return;
        if (process_may(p, VERB_EXIT, &err) != 0)
                return;
        if (c->n_live_execs > 0 && !c->execs_wait_over) {
                if (!loop_timer_is_set(c->execs_wait) &&
                    loop_timer_set(c->execs_wait, c->server->times.execs_ns) < 0)
                        log_warning("no memory for a timer: the exit waits for those of execs");
                return;
        }
        loop_timer_clear(c->execs_wait);
        tell(p);
        lifetime_touch(c->server);
        pending_run(&p->parked);
        rpc_delete_advance(c);
}

void exits_on_wait_over(struct loop_timer *timer, void *userdata)
{
        struct container *c = userdata;

        (void)timer;
        log_warning("%zu execs have not ended after the init: its exit is told before theirs",
                    c->n_live_execs);
        c->execs_wait_over = true;
        exits_advance(c);
}

static void on_killed(const struct error *err, void *userdata)
{
        struct container *c = userdata;

        if (err)
                log_warning("kill what the init has left: %s", err->msg);
        c->rest_is_due = false;
        state_commit_late(c->server);
        container_job_end(c);
}

void exits_kill_rest(struct container *c)
{
        const struct executor_ops *ops = c->executor->ops;
        struct error err = ERROR_INIT;

        if (!c->rest_is_due)
                return;
        container_job_begin(c);
        if (ops->kill_all(c->impl, SIGKILL, on_killed, c, &err) < 0)
                on_killed(&err, c);
}

static void init_reaped(struct container *c)
{
        c->init_reaped = true;
        c->rest_is_due = !c->executor->ops->has_private_pid_namespace(c->impl);
        list_for_each(p, &c->execs, struct process, node)
                rpc_start_abort(p);
        if (c->is_unwanted)
                rpc_start_abort(c->init);
        rpc_pause_end(c);
        rpc_update_abort(c);
        exits_kill_rest(c);
}

void exits_want_end(struct container *c)
{
        c->is_unwanted = true;
        state_commit_late(c->server);
        if (c->init_reaped)
                rpc_start_abort(c->init);
}

static void on_exit_seen(const struct reaper_exit *exit, void *userdata)
{
        struct process *p = userdata;
        struct container *c = p->container;

        CHAOS_POINT("exit-seen");
        fill_exit(p, exit);
        state_touch(p);
        process_write_record(p);
        CHAOS_POINT("exit-recorded");
        io_stdio_process_exited(p->stdio);
        if (p->kind == PROCESS_EXEC) {
                tell(p);
                exec_is_over(c);
                return;
        }
        init_reaped(c);
        exits_advance(c);
        if (!p->exit.told)
                state_commit(c->server);
}

void exits_watch(struct process *p)
{
        struct container *c = p->container;

        c->executor->ops->process_on_exit(p->impl, on_exit_seen, p);
}

void exits_after_start(struct process *p)
{
        if (p->exit.known && p->start_failed) {
                p->exit.reason = RECORD_RUNTIME_ERROR;
                process_write_record(p);
        }
        exits_advance(p->container);
}

void exits_exec_not_started(struct process *p)
{
        p->start_failed = true;
        p->exit = (struct process_exit){
                .known = true,
                .told = true,
                .status = NOT_STARTED_STATUS,
                .reason = RECORD_RUNTIME_ERROR,
                .at = clock_realtime(),
        };
        process_write_record(p);
        process_must(p, VERB_START_FAILED);
        state_touch(p);
        state_commit(p->container->server);
        pending_run(&p->waiters);
        exec_stream_advance(p);
        exec_is_over(p->container);
}
