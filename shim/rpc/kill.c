/* SPDX-License-Identifier: Apache-2.0
 *
 * Kill: signals a process, or with `all` every process of the container. NOT_FOUND when the process
 * has ended, which clients rely on; `all` still reaches what an ended init has left behind. Signal
 * 0 only asks. A Kill of an exec whose Start is under way waits for that, but
 * SIGKILL ends the Start.
 */
#include <signal.h>
#include <stdlib.h>

#include "pkg/base/str.h"

#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/exits.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

enum { SIGNAL_MAX = 64 };

/* A kill of all under way. */
struct kill_all {
        struct container *container;
        struct ttrpc_call *call;
        int signo;
};

static void on_kill_all_done(const struct error *err, void *userdata)
{
        struct kill_all *job = userdata;
        struct container *c = job->container;

        if (job->signo == SIGKILL)
                rpc_pause_end(c);

        if (err)
                ttrpc_call_fail_error(job->call, err);
        else
                service_reply_empty(job->call);
        free(job);
        container_job_end(c);
}

static void kill_all(struct container *c, struct ttrpc_call *call, int signo)
{
        struct kill_all *job = malloc(sizeof(*job));
        struct error err = ERROR_INIT;

        if (!job) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "kill: no memory");
                return;
        }
        *job = (struct kill_all){.container = c, .call = call, .signo = signo};
        if (signo == SIGKILL && c->freeze)
                rpc_pause_end(c);
        container_job_begin(c);
        if (c->executor->ops->kill_all(c->impl, signo, on_kill_all_done, job, &err) < 0)
                on_kill_all_done(&err, job);
}

void rpc_kill(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__KillRequest *request = (const void *)message;
        struct process *p = service_find_process(userdata, call, request->id, request->exec_id);
        bool all = request->all && str_is_empty(request->exec_id);
        struct error err = ERROR_INIT;
        int r;

        if (!p)
                return;
        if (request->signal > SIGNAL_MAX) {
                ttrpc_call_fail(call, STATUS_INVALID_ARGUMENT, "kill: no signal has the number %u",
                                request->signal);
                return;
        }
        r = process_do(p, all ? VERB_KILL_ALL : VERB_KILL, &err);
        if (r == PROCESS_WAIT && request->signal == SIGKILL && (p->start_job || p->stdio_fn)) {
                rpc_start_abort(p); /* what it has made is killed, now or when it is there */
                service_reply_empty(call);
                return;
        }
        if (r == PROCESS_WAIT) {
                pending_add(&p->parked, call, message, rpc_kill, userdata);
                return;
        }
        if (r == 0 && request->signal == SIGKILL)
                exits_before_sigkill(p->container);
        if (r == 0 && request->signal == SIGKILL && p->kind == PROCESS_INIT)
                exits_want_end(p->container);
        if (r == 0 && all) {
                kill_all(p->container, call, (int)request->signal);
                return;
        }
        if (r == 0)
                r = p->container->executor->ops->process_signal(p->impl, (int)request->signal,
                                                                &err);
        if (r == 0 && request->signal == SIGKILL && p->kind == PROCESS_INIT)
                rpc_pause_after_sigkill(p->container);
        if (r < 0)
                ttrpc_call_fail_error(call, &err);
        else
                service_reply_empty(call);
}
