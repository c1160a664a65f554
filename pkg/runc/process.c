/* SPDX-License-Identifier: Apache-2.0
 *
 * A process that a runtime has left to us. Its exit is told once, as soon as somebody asks for it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/kept.h"
#include "pkg/runc/internal.h"

#include "belay/state/v1/runc.pb-c.h"

struct runc_process {
        struct loop *loop;
        struct reaper_watch *watch;
        struct loop_deferred deferred;
        struct loop_deferred end_deferred;
        pid_t pid;
        int pidfd; /* -1: it had ended before it became known */
        bool has_exited;
        bool is_delivered;
        struct reaper_exit exit;
        reaper_fn fn;
        void *userdata;
        void (*on_end)(void *userdata);
        void *end_userdata;
};

CLEANUP_DEFINE(struct runc_process, runc_process_free)

/* p may be gone afterwards. */
static void on_end_deferred(struct loop_deferred *deferred)
{
        struct runc_process *p = container_of(deferred, struct runc_process, end_deferred);

        p->on_end(p->end_userdata);
}

/* p may be gone afterwards. */
static void deliver(struct runc_process *p)
{
        struct reaper_exit exit = p->exit;

        if (!p->has_exited || p->is_delivered || !p->fn)
                return;
        p->is_delivered = true;
        loop_deferred_cancel(&p->deferred);
        p->fn(&exit, p->userdata);
}

static void on_deferred(struct loop_deferred *deferred)
{
        deliver(container_of(deferred, struct runc_process, deferred));
}

static void on_reaped(const struct reaper_exit *exit, void *userdata)
{
        struct runc_process *p = userdata;

        p->watch = NULL;
        p->has_exited = true;
        p->exit = *exit;
        if (p->on_end)
                loop_defer(p->loop, &p->end_deferred);
        deliver(p);
}

static struct runc_process *process_alloc(struct runc *r, pid_t pid, struct error *err)
{
        struct runc_process *p = calloc(1, sizeof(*p));

        if (!p) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch process: no memory");
                return NULL;
        }
        p->loop = r->loop;
        p->pid = pid;
        p->pidfd = -1;
        loop_deferred_init(&p->deferred, on_deferred);
        loop_deferred_init(&p->end_deferred, on_end_deferred);
        return p;
}

int runc_process_new(struct runc_process **ret, struct runc *r, pid_t pid, struct error *err)
{
        _cleanup_(runc_process_free_p) struct runc_process *p = process_alloc(r, pid, err);
        enum reaper_child child = reaper_find(r->reaper, pid);

        if (!p)
                return -1;
        if (child == REAPER_STRANGER)
                return error_set(err, STATUS_INTERNAL, "process %d of '%s' is no child of the shim",
                                 (int)pid, r->binary);
        if (child == REAPER_PRESENT) {
                p->pidfd = pidfd_open(pid, 0); /* the pid is its own until we reap it */
                if (p->pidfd < 0)
                        return error_errno(err, errno, "open a pidfd of process %d", (int)pid);
        }
        p->watch = reaper_watch_new(r->reaper, pid, on_reaped, p);
        if (!p->watch)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch process: no memory");
        *ret = TAKE_PTR(p);
        return 0;
}

struct runc_process *runc_process_free(struct runc_process *p)
{
        if (!p)
                return NULL;
        loop_deferred_cancel(&p->deferred);
        loop_deferred_cancel(&p->end_deferred);
        reaper_watch_free(p->watch);
        fd_close(p->pidfd);
        free(p);
        return NULL;
}

void runc_process_on_end(struct runc_process *p, void (*fn)(void *userdata), void *userdata)
{
        p->on_end = fn;
        p->end_userdata = userdata;
        if (p->has_exited)
                loop_defer(p->loop, &p->end_deferred);
}

pid_t runc_process_pid(const struct runc_process *p)
{
        return p->pid;
}

bool runc_process_has_exited(const struct runc_process *p)
{
        return p->has_exited;
}

void runc_process_on_exit(struct runc_process *p, reaper_fn fn, void *userdata)
{
        p->fn = fn;
        p->userdata = userdata;
        if (p->has_exited && !p->is_delivered)
                loop_defer(p->loop, &p->deferred);
}

int runc_process_signal(struct runc_process *p, int signo, struct error *err)
{
        int errnum = ESRCH;

        if (!p->has_exited && p->pidfd >= 0)
                errnum = pidfd_send_signal(p->pidfd, signo, NULL, 0) < 0 ? errno : 0;
        if (errnum == 0)
                return 0;
        if (errnum == ESRCH)
                return error_set(err, STATUS_NOT_FOUND, "process already finished");
        if (errnum == EINVAL)
                return error_set(err, STATUS_INVALID_ARGUMENT, "unknown signal %d", signo);
        return error_errno(err, errnum, "signal process %d", (int)p->pid);
}

/* ---- Another image of the process ---- */

void runc_process_save(const struct runc_process *p, Belay__State__V1__RuncProcess *ret)
{
        const struct reaper_saved saved =
                reaper_save(p->pid, p->pidfd, false, p->has_exited ? &p->exit : NULL);

        belay__state__v1__runc_process__init(ret);
        ret->pid = saved.pid;
        ret->pidfd = saved.pidfd;
        ret->exited = saved.has_exited;
        ret->code = saved.code;
        ret->status = saved.status;
        ret->exited_at_ns = saved.at_ns;
        ret->delivered = p->is_delivered;
}

static int restore(struct runc_process **ret, struct runc *r,
                   const Belay__State__V1__RuncProcess *msg, struct error *err)
{
        _cleanup_(runc_process_free_p) struct runc_process *p = process_alloc(r, msg->pid, err);
        const struct reaper_saved saved = {
                .pid = msg->pid,
                .pidfd = msg->pidfd,
                .has_exited = msg->exited,
                .code = msg->code,
                .status = msg->status,
                .at_ns = msg->exited_at_ns,
        };
        int pidfd;
        int has_exited;

        if (!p)
                return -1;
        has_exited = reaper_look_at_saved(r->reaper, &saved, &pidfd, &p->exit, err);
        if (has_exited < 0)
                return -1;
        p->has_exited = has_exited == 1;
        p->is_delivered = p->has_exited && msg->delivered;
        if (!p->has_exited) {
                p->watch = reaper_watch_new(r->reaper, msg->pid, on_reaped, p);
                if (!p->watch)
                        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        }
        kept_claim(pidfd);
        p->pidfd = pidfd;
        *ret = TAKE_PTR(p);
        return 0;
}

int runc_process_restore(struct runc_process **ret, struct runc *r,
                         const Belay__State__V1__RuncProcess *msg, struct error *err)
{
        if (restore(ret, r, msg, err) < 0)
                return error_prefix(err, "restore process %d", (int)msg->pid);
        return 0;
}
