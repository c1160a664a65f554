/* SPDX-License-Identifier: Apache-2.0
 *
 * libevent behind loop.h. libevent's own signal support is not used: it writes to a socketpair from
 * a handler that a forked child would share. Deferred work runs from an event of the lowest
 * priority, which is active whenever something is queued; libevent runs it after all other events
 * of the round.
 */
#include "pkg/loop/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

struct loop {
        struct event_base *base;
        struct event deferred_event;
        struct list deferred;
};

struct loop_io {
        struct loop *loop;
        struct event event;
        int fd;
        int want;
        enum loop_priority priority;
        loop_io_fn fn;
        void *userdata;
};

struct loop_timer {
        struct loop *loop;
        struct event event;
        loop_timer_fn fn;
        void *userdata;
};

struct loop_signal {
        struct loop_io *io;
        int fd;
        int signo;
        loop_signal_fn fn;
        void *userdata;
};

/* Runs what is queued now; what these functions queue in turn waits for the next round. */
static void loop_run_deferred(struct loop *loop)
{
        struct list now = LIST_INIT(now);

        list_splice(&now, &loop->deferred);
        while (!list_is_empty(&now)) {
                struct loop_deferred *d = list_first(&now, struct loop_deferred, node);

                list_remove(&d->node);
                d->fn(d);
        }
}

static void loop_on_deferred(evutil_socket_t fd, short what, void *userdata)
{
        struct loop *loop = userdata;

        (void)fd;
        (void)what;
        loop_run_deferred(loop);
        if (!list_is_empty(&loop->deferred))
                event_active(&loop->deferred_event, EV_TIMEOUT, 0);
}

int loop_new(struct loop **ret, struct error *err)
{
        struct event_config *config = event_config_new();
        struct loop *loop = calloc(1, sizeof(*loop));

        if (!config || !loop)
                goto fail;
        list_init(&loop->deferred);
        (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        loop->base = event_base_new_with_config(config);
        if (!loop->base || event_base_priority_init(loop->base, _LOOP_PRIORITY_MAX + 1) < 0)
                goto fail;
        (void)event_assign(&loop->deferred_event, loop->base, -1, 0, loop_on_deferred, loop);
        (void)event_priority_set(&loop->deferred_event, _LOOP_PRIORITY_MAX);
        event_config_free(config);
        *ret = loop;
        return 0;
fail:
        if (config)
                event_config_free(config);
        if (loop && loop->base)
                event_base_free(loop->base);
        free(loop);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "create event loop: no memory or descriptor");
}

struct loop *loop_free(struct loop *loop)
{
        if (!loop)
                return NULL;
        while (!list_is_empty(&loop->deferred))
                loop_run_deferred(loop);
        (void)event_del(&loop->deferred_event);
        event_base_free(loop->base);
        free(loop);
        return NULL;
}

int loop_run(struct loop *loop, struct error *err)
{
        if (event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
                return error_errno(err, errno, "run event loop");
        return 0;
}

void loop_quit(struct loop *loop)
{
        (void)event_base_loopbreak(loop->base);
}

static void loop_on_io(evutil_socket_t fd, short what, void *userdata)
{
        struct loop_io *io = userdata;

        io->fn(io, fd, (what & EV_READ ? LOOP_READ : 0) | (what & EV_WRITE ? LOOP_WRITE : 0),
               io->userdata);
}

struct loop_io *loop_io_new(struct loop *loop, int fd, enum loop_priority priority, loop_io_fn fn,
                            void *userdata)
{
        struct loop_io *io = calloc(1, sizeof(*io));

        if (!io)
                return NULL;
        io->loop = loop;
        io->fd = fd;
        io->priority = priority;
        io->fn = fn;
        io->userdata = userdata;
        (void)event_assign(&io->event, loop->base, fd, EV_PERSIST, loop_on_io, io);
        return io;
}

int loop_io_want(struct loop_io *io, int what)
{
        short events = EV_PERSIST;

        if (what == io->want)
                return 0;
        (void)event_del(&io->event);
        io->want = 0;
        if (what == 0)
                return 0;
        if (what & LOOP_READ)
                events |= EV_READ;
        if (what & LOOP_WRITE)
                events |= EV_WRITE;
        if (what & LOOP_EDGE)
                events |= EV_ET;
        (void)event_assign(&io->event, io->loop->base, io->fd, events, loop_on_io, io);
        (void)event_priority_set(&io->event, (int)io->priority);
        if (event_add(&io->event, NULL) < 0)
                return -1;
        io->want = what;
        return 0;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
        if (!io)
                return NULL;
        (void)event_del(&io->event);
        free(io);
        return NULL;
}

static void loop_on_timer(evutil_socket_t fd, short what, void *userdata)
{
        struct loop_timer *timer = userdata;

        (void)fd;
        (void)what;
        timer->fn(timer, timer->userdata);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn fn, void *userdata)
{
        struct loop_timer *timer = calloc(1, sizeof(*timer));

        if (!timer)
                return NULL;
        timer->loop = loop;
        timer->fn = fn;
        timer->userdata = userdata;
        (void)event_assign(&timer->event, loop->base, -1, 0, loop_on_timer, timer);
        (void)event_priority_set(&timer->event, LOOP_PRIORITY_RPC);
        return timer;
}

int loop_timer_set(struct loop_timer *timer, uint64_t delay_ns)
{
        struct timeval tv = {
                .tv_sec = (time_t)(delay_ns / NSEC_PER_SEC),
                .tv_usec = (suseconds_t)(delay_ns % NSEC_PER_SEC / 1000),
        };

        return event_add(&timer->event, &tv);
}

void loop_timer_clear(struct loop_timer *timer)
{
        (void)event_del(&timer->event);
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
        return event_pending(&timer->event, EV_TIMEOUT, NULL) != 0;
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
        if (!timer)
                return NULL;
        (void)event_del(&timer->event);
        free(timer);
        return NULL;
}

static void loop_on_signal(struct loop_io *io, int fd, int what, void *userdata)
{
        struct loop_signal *signal = userdata;
        struct signalfd_siginfo info;

        (void)io;
        (void)what;
        if (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
                signal->fn(signal->signo, signal->userdata);
}

int loop_signal_new(struct loop *loop, int signo, enum loop_priority priority, loop_signal_fn fn,
                    void *userdata, struct loop_signal **ret, struct error *err)
{
        struct loop_signal *signal = calloc(1, sizeof(*signal));
        sigset_t mask;

        if (!signal)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch signal %d: no memory",
                                 signo);
        signal->signo = signo;
        signal->fn = fn;
        signal->userdata = userdata;
        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, signo);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL);
        signal->fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (signal->fd < 0) {
                (void)error_errno(err, errno, "watch signal %d: signalfd", signo);
                loop_signal_free(signal);
                return -1;
        }
        signal->io = loop_io_new(loop, signal->fd, priority, loop_on_signal, signal);
        if (!signal->io || loop_io_want(signal->io, LOOP_READ) < 0) {
                loop_signal_free(signal);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch signal %d: no memory",
                                 signo);
        }
        *ret = signal;
        return 0;
}

struct loop_signal *loop_signal_free(struct loop_signal *signal)
{
        if (!signal)
                return NULL;
        loop_io_free(signal->io);
        fd_close(signal->fd);
        free(signal);
        return NULL;
}

void loop_deferred_init(struct loop_deferred *deferred, void (*fn)(struct loop_deferred *deferred))
{
        list_init(&deferred->node);
        deferred->fn = fn;
}

void loop_defer(struct loop *loop, struct loop_deferred *deferred)
{
        if (!list_is_empty(&deferred->node))
                return;
        if (list_is_empty(&loop->deferred))
                event_active(&loop->deferred_event, EV_TIMEOUT, 0);
        list_append(&loop->deferred, &deferred->node);
}

void loop_deferred_cancel(struct loop_deferred *deferred)
{
        list_remove(&deferred->node);
}
