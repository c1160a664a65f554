/* SPDX-License-Identifier: Apache-2.0
 *
 * Pause and Resume: the container's freezer. State says PAUSING as long as a Pause is under way and
 * never waits for it. A Pause waits for Starts that are under way: frozen, they could not end, and
 * neither could who waits for them. Pause and Resume wait for an Update, which may stop the
 * container for a moment, too.
 *
 * A container that ends, or shall end, is let go: SIGKILL does not reach what cgroup v1's freezer
 * holds, and the end of an init is not that of its execs there. That is no Resume, and no event.
 */
#include "pkg/base/cleanup.h"
#include "pkg/cgroup/cgroup.h"

#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/exits.h"
#include "shim/log.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

/* The state has changed for good. */
static void publish(struct container *c, struct task_event *event)
{
        process_write_record(c->init);
        publisher_publish_take(c->server->publisher, event);
        state_commit(c->server);
        service_reply_empty(TAKE_PTR(c->freeze));
}

static void fail(struct container *c, const char *what, const struct error *err)
{
        struct error why = *err;

        state_commit(c->server);
        if (c->freeze_aborted)
                (void)error_set(&why, STATUS_FAILED_PRECONDITION, "%s",
                                c->server->stopping ? "the shim is ending"
                                                    : "the container is ending");
        service_fail_job(TAKE_PTR(c->freeze), NULL, what, &why);
}

void rpc_pause_thaw(const struct container *c)
{
        const struct cgroup *cg = c->executor->ops->cgroup(c->impl);
        struct error err = ERROR_INIT;

        if (!cg)
                log_warning("thaw: the cgroup is not known");
        else if (cgroup_thaw(cg, 0, &err) < 0)
                log_warning("%s", err.msg);
}

static void let_go(struct container *c)
{
        if (process_do(c->init, VERB_RESUME, NULL) != 0)
                return;
        rpc_pause_thaw(c);
        process_must(c->init, VERB_RESUMED);
        process_write_record(c->init);
        state_commit(c->server);
}

/* Of a Pause or a Resume that has come to its end. */
static void go_on(struct container *c)
{
        if (c->freeze_aborted || c->init_reaped)
                let_go(c);
        exits_advance(c);
        pending_run(&c->init->parked);
        container_job_end(c);
}

void rpc_pause_end(struct container *c)
{
        if (!c->freeze_job) {
                let_go(c);
                return;
        }
        if (!c->freeze_aborted)
                c->executor->ops->abort(c->freeze_job);
        c->freeze_aborted = true;
}

void rpc_pause_after_sigkill(struct container *c)
{
        const struct cgroup *cg = c->executor->ops->cgroup(c->impl);

        rpc_pause_end(c);
        if (cg)
                cgroup_let_go(cg);
}

static void begin(struct container *c, struct ttrpc_call *call)
{
        c->freeze = call;
        c->freeze_aborted = false;
        container_job_begin(c);
}

/* ---- Pause ---- */

static void on_paused(const struct error *err, void *userdata)
{
        struct container *c = userdata;
        const struct cgroup *cg = c->executor->ops->cgroup(c->impl);

        c->freeze_job = NULL;
        process_must(c->init, err ? VERB_PAUSE_FAILED : VERB_PAUSED);
        /* Whoever has failed to stop it may have failed to let it go, too. */
        if (err && cg)
                cgroup_let_go(cg);
        if (err)
                fail(c, "OCI runtime pause failed", err);
        else
                publish(c, task_event_paused(c->id));
        go_on(c);
}

static struct process *find_starting_exec(const struct container *c)
{
        list_for_each(p, &c->execs, struct process, node) {
                if (p->start)
                        return p;
        }
        return NULL;
}

void rpc_pause(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__PauseRequest *request = (const void *)message;
        struct container *c = service_find_container(userdata, call, request->id);
        struct process *starting;
        struct error err = ERROR_INIT;
        int r;

        if (!c)
                return;
        r = process_may(c->init, VERB_PAUSE, &err);
        starting = r == 0 ? find_starting_exec(c) : NULL;
        if (r == PROCESS_WAIT || starting || (r == 0 && c->update)) {
                pending_add(starting ? &starting->parked : &c->init->parked, call, message,
                            rpc_pause, userdata);
                return;
        }
        if (r < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        process_must(c->init, VERB_PAUSE);
        state_commit(c->server);
        begin(c, call);
        if (c->executor->ops->pause(c->impl, on_paused, c, &c->freeze_job, &err) < 0)
                on_paused(&err, c);
}

/* ---- Resume ---- */

static void on_resumed(const struct error *err, void *userdata)
{
        struct container *c = userdata;

        c->freeze_job = NULL;
        process_must(c->init, err ? VERB_RESUME_FAILED : VERB_RESUMED);
        if (err)
                fail(c, "OCI runtime resume failed", err);
        else
                publish(c, task_event_resumed(c->id));
        go_on(c);
}

void rpc_resume(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__ResumeRequest *request = (const void *)message;
        struct container *c = service_find_container(userdata, call, request->id);
        struct error err = ERROR_INIT;
        int r;

        if (!c)
                return;
        r = process_may(c->init, VERB_RESUME, &err);
        if (r == PROCESS_WAIT || (r == 0 && c->update)) {
                pending_add(&c->init->parked, call, message, rpc_resume, userdata);
                return;
        }
        if (r < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        process_must(c->init, VERB_RESUME);
        state_commit(c->server);
        begin(c, call);
        if (c->executor->ops->resume(c->impl, on_resumed, c, &c->freeze_job, &err) < 0)
                on_resumed(&err, c);
}
