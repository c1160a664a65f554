/* SPDX-License-Identifier: Apache-2.0
 *
 * A process of a container, as the shim holds it: pid, pidfd and the exit that is to be told. An
 * exit is told once, and never before the completions that hold it back.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/internal.h"

static bool is_due(const struct engine_process *p)
{
        return p->has_exited && !p->is_delivered && p->n_holds == 0 && p->fn;
}

/* p may be gone afterwards. */
static void deliver(struct engine_process *p)
{
        struct reaper_exit exit = p->exit;

        if (!is_due(p))
                return;
        p->is_delivered = true;
        loop_deferred_cancel(&p->deferred);
        p->fn(&exit, p->userdata);
}

static void on_deferred(struct loop_deferred *deferred)
{
        deliver(container_of(deferred, struct engine_process, deferred));
}

static void wake_waiter(struct engine_process *p)
{
        struct engine_job *job = TAKE_PTR(p->waiter);

        if (job)
                loop_defer(p->engine->loop, &job->deferred);
}

static void on_reaped(const struct reaper_exit *exit, void *userdata)
{
        struct engine_process *p = userdata;

        p->watch = NULL;
        p->has_exited = true;
        p->exit = *exit;
        wake_waiter(p);
        deliver(p);
}

static void on_orphan_end(struct loop_io *io, int fd, int what, void *userdata)
{
        struct engine_process *p = userdata;
        struct reaper_exit exit = {.pid = p->pid};

        (void)io;
        (void)what;
        (void)reaper_read_exit(p->pid, fd, &exit);
        p->orphan = loop_io_free(p->orphan);
        on_reaped(&exit, p);
}

/* 0, or -1 without memory. */
static int watch_process(struct engine *engine, struct engine_process *p, pid_t pid, int pidfd,
                         bool orphan)
{
        if (!orphan) {
                p->watch = reaper_watch_new(engine->reaper, pid, on_reaped, p);
                return p->watch ? 0 : -1;
        }
        p->orphan = loop_io_new(engine->loop, pidfd, LOOP_PRIORITY_EXIT, on_orphan_end, p);
        if (p->orphan && loop_io_want(p->orphan, LOOP_READ) == 0)
                return 0;
        p->orphan = loop_io_free(p->orphan);
        return -1;
}

struct engine_process *process_new_consume(struct engine *engine, pid_t pid, int pidfd, bool orphan)
{
        _cleanup_close_ int fd = pidfd;
        _cleanup_free_ struct engine_process *p = calloc(1, sizeof(*p));

        if (!p || watch_process(engine, p, pid, fd, orphan) < 0) {
                (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
                return NULL;
        }
        p->engine = engine;
        p->pid = pid;
        p->pidfd = TAKE_FD(fd);
        p->is_orphan = orphan;
        p->n_holds = 1;
        loop_deferred_init(&p->deferred, on_deferred);
        return TAKE_PTR(p);
}

struct engine_process *process_restore(struct engine *engine, pid_t pid, int pidfd, bool orphan,
                                       const struct reaper_exit *exit)
{
        _cleanup_free_ struct engine_process *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        if (exit) {
                p->has_exited = true;
                p->exit = *exit;
        } else if (watch_process(engine, p, pid, pidfd, orphan) < 0) {
                return NULL;
        }
        p->engine = engine;
        p->pid = pid;
        p->pidfd = pidfd;
        p->is_orphan = orphan;
        loop_deferred_init(&p->deferred, on_deferred);
        return TAKE_PTR(p);
}

struct engine_process *engine_process_free(struct engine_process *p)
{
        if (!p)
                return NULL;
        if (p->container)
                p->container->init = NULL;
        wake_waiter(p);
        loop_deferred_cancel(&p->deferred);
        reaper_watch_free(p->watch);
        loop_io_free(p->orphan);
        fd_close(p->pidfd);
        free(p);
        return NULL;
}

void process_hold(struct engine_process *p)
{
        p->n_holds++;
}

void process_release(struct engine_process *p)
{
        p->n_holds--;
        if (is_due(p))
                loop_defer(p->engine->loop, &p->deferred);
}

void process_kill(const struct engine_process *p)
{
        if (!p->has_exited)
                (void)pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
}

void process_explain_end(const struct engine_process *p, struct error *err)
{
        size_t used = strlen(err->msg);

        if (err->errnum != ECHILD || !p || !p->has_exited)
                return;
        (void)snprintf(err->msg + used, sizeof(err->msg) - used, " (%s %d)",
                       p->exit.code == CLD_EXITED ? "exit status" : "signal", p->exit.status);
}

pid_t engine_process_pid(const struct engine_process *p)
{
        return p->pid;
}

void engine_process_on_exit(struct engine_process *p, reaper_fn fn, void *userdata)
{
        p->fn = fn;
        p->userdata = userdata;
        if (is_due(p))
                loop_defer(p->engine->loop, &p->deferred);
}

int engine_process_signal(struct engine_process *p, int signo, struct error *err)
{
        int errnum = ESRCH;

        if (!p->has_exited)
                errnum = pidfd_send_signal(p->pidfd, signo, NULL, 0) < 0 ? errno : 0;
        if (errnum == 0)
                return 0;
        if (errnum == ESRCH)
                return error_set(err, STATUS_NOT_FOUND, "process already finished");
        if (errnum == EINVAL)
                return error_set(err, STATUS_INVALID_ARGUMENT, "unknown signal %d", signo);
        return error_errno(err, errnum, "signal process %d", (int)p->pid);
}
