/* SPDX-License-Identifier: Apache-2.0
 *
 * libevent behind loop.h. libevent's own signal support is not used: it writes to a socketpair from
 * a handler that a forked child would share.
 *
 * Nor are its priorities: it looks at a lower one only when nothing at all is ready at a higher
 * one, so that a client with a flood of requests would stop all bytes of the containers. Here
 * libevent only collects what is ready in one pass of epoll; a single event behind all of them then
 * runs the round: each ready io and timer once, by priority, and the deferred work last.
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
        struct event round; /* active, or due at once, whenever there is something to run */
        struct list ready[_LOOP_PRIORITY_MAX];
        struct list deferred;
        bool in_round;
        bool quit;
        struct list resting;
        struct event rest; /* due while somebody rests */
        struct event idle;
        struct timeval idle_delay;
        void (*idle_fn)(void *userdata);
        void *idle_userdata;
};

/* What an io and a timer have in common: a turn in this round. */
struct loop_ready {
        struct list node;
        void (*run)(struct loop_ready *ready);
};

struct loop_io {
        struct loop_ready ready;
        struct loop *loop;
        struct event event;
        int fd;
        int want;
        int what; /* that is ready */
        struct list resting;
        enum loop_priority priority;
        loop_io_fn fn;
        void *userdata;
};

struct loop_timer {
        struct loop_ready ready;
        struct loop *loop;
        struct event event;
        uint64_t due_ns;
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

/* Errors are returned; libevent's own lines on stderr would only be noise. */
static void loop_on_log(int severity, const char *text)
{
        (void)severity;
        (void)text;
}

static void loop_make_ready(struct loop *loop, enum loop_priority priority,
                            struct loop_ready *ready)
{
        list_remove(&ready->node);
        list_append(&loop->ready[priority], &ready->node);
        event_active(&loop->round, EV_TIMEOUT, 0);
}

static struct loop_ready *loop_next_ready(struct loop *loop)
{
        for (int i = 0; i < _LOOP_PRIORITY_MAX; i++) {
                if (!list_is_empty(&loop->ready[i]))
                        return list_first(&loop->ready[i], struct loop_ready, node);
        }
        return NULL;
}

/* Runs what is queued now; what these functions queue in turn waits for the next round. */
static void loop_run_deferred(struct loop *loop)
{
        struct list now = LIST_INIT(now);

        list_splice(&now, &loop->deferred);
        while (!list_is_empty(&now) && !loop->quit) {
                struct loop_deferred *d = list_first(&now, struct loop_deferred, node);

                list_remove(&d->node);
                d->fn(d);
        }
        /* Left by loop_quit(): it is older than what was queued meanwhile. */
        list_splice(&now, &loop->deferred);
        list_splice(&loop->deferred, &now);
}

static void loop_on_round(evutil_socket_t fd, short what, void *userdata)
{
        static const struct timeval at_once = {0};
        struct loop *loop = userdata;
        struct loop_ready *ready;

        (void)fd;
        (void)what;
        loop->in_round = true;
        while (!loop->quit && (ready = loop_next_ready(loop))) {
                list_remove(&ready->node);
                ready->run(ready);
        }
        loop_run_deferred(loop);
        loop->in_round = false;
        if (loop->idle_fn)
                (void)event_add(&loop->idle, &loop->idle_delay);
        /* By way of a timeout, so that the descriptors are looked at in between. */
        if (loop_next_ready(loop) || !list_is_empty(&loop->deferred))
                (void)event_add(&loop->round, &at_once);
}

/* Not by way of a round, which would be something that happens. */
static void loop_on_idle_timeout(evutil_socket_t fd, short what, void *userdata)
{
        struct loop *loop = userdata;

        (void)fd;
        (void)what;
        if (loop->idle_fn)
                loop->idle_fn(loop->idle_userdata);
}

/* libevent would call exit(3) where it cannot go on, without descriptors for instance. As a fault
 * it goes the way of all faults, which may lead on. */
static void on_fatal(int code)
{
        (void)code;
        abort();
}

static void loop_on_rest_over(evutil_socket_t fd, short what, void *userdata);

int loop_new(struct loop **ret, struct error *err)
{
        struct event_config *config = event_config_new();
        struct loop *loop = calloc(1, sizeof(*loop));

        event_set_fatal_callback(on_fatal);
        if (loop && config) {
                (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
                loop->base = event_base_new_with_config(config);
        }
        if (config)
                event_config_free(config);
        if (!loop || !loop->base) {
                free(loop);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "create event loop: no memory or descriptor");
        }
        event_set_log_callback(loop_on_log);
        list_init(&loop->deferred);
        list_init(&loop->resting);
        for (int i = 0; i < _LOOP_PRIORITY_MAX; i++)
                list_init(&loop->ready[i]);
        (void)event_assign(&loop->round, loop->base, -1, 0, loop_on_round, loop);
        (void)event_assign(&loop->rest, loop->base, -1, 0, loop_on_rest_over, loop);
        (void)event_assign(&loop->idle, loop->base, -1, 0, loop_on_idle_timeout, loop);
        *ret = loop;
        return 0;
}

struct loop *loop_free(struct loop *loop)
{
        if (!loop)
                return NULL;
        while (!list_is_empty(&loop->deferred)) {
                loop->quit = false;
                loop_run_deferred(loop);
        }
        (void)event_del(&loop->round);
        (void)event_del(&loop->rest);
        (void)event_del(&loop->idle);
        event_base_free(loop->base);
        free(loop);
        return NULL;
}

static struct timeval to_timeval(uint64_t ns)
{
        return (struct timeval){
                .tv_sec = (time_t)(ns / NSEC_PER_SEC),
                .tv_usec = (suseconds_t)(ns % NSEC_PER_SEC / 1000),
        };
}

void loop_on_idle(struct loop *loop, uint64_t delay_ns, void (*fn)(void *userdata), void *userdata)
{
        loop->idle_delay = to_timeval(delay_ns);
        loop->idle_fn = fn;
        loop->idle_userdata = userdata;
        if (fn)
                (void)event_add(&loop->idle, &loop->idle_delay);
        else
                (void)event_del(&loop->idle);
}

int loop_run(struct loop *loop, struct error *err)
{
        loop->quit = false;
        if (event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
                return error_errno(err, errno, "run event loop");
        return 0;
}

void loop_quit(struct loop *loop)
{
        loop->quit = true;
        (void)event_base_loopbreak(loop->base);
}

static void loop_on_io(evutil_socket_t fd, short what, void *userdata)
{
        struct loop_io *io = userdata;

        (void)fd;
        io->what = (what & EV_READ ? LOOP_READ : 0) | (what & EV_WRITE ? LOOP_WRITE : 0);
        loop_make_ready(io->loop, io->priority, &io->ready);
}

static void loop_io_run(struct loop_ready *ready)
{
        struct loop_io *io = container_of(ready, struct loop_io, ready);

        io->fn(io, io->fd, io->what, io->userdata);
}

/* Forgets what was ready and is not wanted any more. */
static void loop_io_narrow(struct loop_io *io, int what)
{
        io->what &= what;
        if (io->what == 0)
                list_remove(&io->ready.node);
}

struct loop_io *loop_io_new(struct loop *loop, int fd, enum loop_priority priority, loop_io_fn fn,
                            void *userdata)
{
        struct loop_io *io = calloc(1, sizeof(*io));

        if (!io)
                return NULL;
        list_init(&io->ready.node);
        list_init(&io->resting);
        io->ready.run = loop_io_run;
        io->loop = loop;
        io->fd = fd;
        io->priority = priority;
        io->fn = fn;
        io->userdata = userdata;
        (void)event_assign(&io->event, loop->base, fd, EV_PERSIST, loop_on_io, io);
        return io;
}

static int loop_io_watch(struct loop_io *io, int what)
{
        short events = EV_PERSIST;

        if (what & LOOP_READ)
                events |= EV_READ;
        if (what & LOOP_WRITE)
                events |= EV_WRITE;
        if (what & LOOP_EDGE)
                events |= EV_ET;
        (void)event_assign(&io->event, io->loop->base, io->fd, events, loop_on_io, io);
        return event_add(&io->event, NULL);
}

bool loop_io_is_resting(const struct loop_io *io)
{
        return !list_is_empty(&io->resting);
}

int loop_io_want(struct loop_io *io, int what)
{
        if (what == io->want)
                return 0;
        loop_io_narrow(io, what);
        if (what != 0 && loop_io_is_resting(io)) {
                io->want = what;
                return 0;
        }
        list_remove(&io->resting);
        (void)event_del(&io->event);
        io->want = 0;
        if (what == 0)
                return 0;
        if (loop_io_watch(io, what) < 0) {
                loop_io_narrow(io, 0);
                return -1;
        }
        io->want = what;
        return 0;
}

/* Without memory for the pause there is none. */
void loop_io_rest(struct loop_io *io)
{
        const struct timeval delay = to_timeval(LOOP_REST_NS);
        struct loop *loop = io->loop;

        if (io->want == 0 || loop_io_is_resting(io) ||
            (!event_pending(&loop->rest, EV_TIMEOUT, NULL) && event_add(&loop->rest, &delay) < 0))
                return;
        (void)event_del(&io->event);
        loop_io_narrow(io, 0);
        list_append(&loop->resting, &io->resting);
}

/* Who still cannot be watched rests on. */
static void loop_on_rest_over(evutil_socket_t fd, short what, void *userdata)
{
        const struct timeval delay = to_timeval(LOOP_REST_NS);
        struct loop *loop = userdata;
        struct list now = LIST_INIT(now);

        (void)fd;
        (void)what;
        list_splice(&now, &loop->resting);
        while (!list_is_empty(&now)) {
                struct loop_io *io = list_first(&now, struct loop_io, resting);

                list_remove(&io->resting);
                if (loop_io_watch(io, io->want) < 0)
                        list_append(&loop->resting, &io->resting);
        }
        if (!list_is_empty(&loop->resting))
                (void)event_add(&loop->rest, &delay);
}

struct loop_io *loop_io_free(struct loop_io *io)
{
        if (!io)
                return NULL;
        (void)event_del(&io->event);
        list_remove(&io->resting);
        list_remove(&io->ready.node);
        free(io);
        return NULL;
}

static int loop_timer_add(struct loop_timer *timer, uint64_t delay_ns)
{
        struct timeval tv = to_timeval(delay_ns);

        return event_add(&timer->event, &tv);
}

/* libevent's clock is the coarse one, which is some milliseconds behind, so that it fires early. */
static void loop_on_timer(evutil_socket_t fd, short what, void *userdata)
{
        struct loop_timer *timer = userdata;
        uint64_t now = clock_monotonic_ns();

        (void)fd;
        (void)what;
        if (now < timer->due_ns && loop_timer_add(timer, timer->due_ns - now) == 0)
                return;
        loop_make_ready(timer->loop, LOOP_PRIORITY_RPC, &timer->ready);
}

static void loop_timer_run(struct loop_ready *ready)
{
        struct loop_timer *timer = container_of(ready, struct loop_timer, ready);

        timer->fn(timer, timer->userdata);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn fn, void *userdata)
{
        struct loop_timer *timer = calloc(1, sizeof(*timer));

        if (!timer)
                return NULL;
        list_init(&timer->ready.node);
        timer->ready.run = loop_timer_run;
        timer->loop = loop;
        timer->fn = fn;
        timer->userdata = userdata;
        (void)event_assign(&timer->event, loop->base, -1, 0, loop_on_timer, timer);
        return timer;
}

int loop_timer_set(struct loop_timer *timer, uint64_t delay_ns)
{
        list_remove(&timer->ready.node);
        if (__builtin_add_overflow(clock_monotonic_ns(), delay_ns, &timer->due_ns))
                timer->due_ns = UINT64_MAX;
        return loop_timer_add(timer, delay_ns);
}

void loop_timer_clear(struct loop_timer *timer)
{
        list_remove(&timer->ready.node);
        (void)event_del(&timer->event);
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
        return !list_is_empty(&timer->ready.node) ||
               event_pending(&timer->event, EV_TIMEOUT, NULL) != 0;
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
        if (!timer)
                return NULL;
        loop_timer_clear(timer);
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
        if (!loop->in_round)
                event_active(&loop->round, EV_TIMEOUT, 0);
        list_append(&loop->deferred, &deferred->node);
}

void loop_deferred_cancel(struct loop_deferred *deferred)
{
        list_remove(&deferred->node);
}
