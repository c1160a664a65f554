/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loop: the only user of libevent (event_core, no bufferevent, no libevent signals).
 *
 * One thread. Nothing that runs on the loop blocks. A callback may not free the object that it was
 * called on from outside that object's own module while siblings may still be queued; it defers
 * with loop_defer() and the free happens at the end of the round.
 *
 * After fork(2) a child must not touch the loop, nor any object that hangs off it: the epoll
 * instance is shared with the parent. Delete an io before closing its descriptor, since a child may
 * hold a copy.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/base/list.h"

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

/*
 * Lower runs first within a round: exits before requests before bytes of containers. In a round
 * everything that is ready runs once, so that no priority starves another.
 */
enum loop_priority {
        LOOP_PRIORITY_EXIT,
        LOOP_PRIORITY_RPC,
        LOOP_PRIORITY_RELAY,
        _LOOP_PRIORITY_MAX
};

/* LOOP_EDGE goes with the others in loop_io_want(): edge-triggered, for a descriptor that may rest
 * in a hang-up that no read clears (a pty's master without slaves). */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_EDGE = 4 };

int loop_new(struct loop **ret, struct error *err);

/* All ios, timers and signals must be freed before. Deferred work that is still queued is run. */
struct loop *loop_free(struct loop *loop);

/* Runs until loop_quit(); 0, or -1 when the backend failed. May be called again after it returned.
 */
int loop_run(struct loop *loop, struct error *err);
void loop_quit(struct loop *loop);

/*
 * fn runs when nothing has happened for delay_ns, and again only after something has happened
 * since: a loop at rest is not woken. One per loop; NULL clears it.
 */
void loop_on_idle(struct loop *loop, uint64_t delay_ns, void (*fn)(void *userdata), void *userdata);

/*
 * Watches a descriptor (borrowed: it must outlive the io). Nothing is watched until loop_io_want().
 * Level-triggered, unless asked for otherwise. `what` of the callback holds LOOP_READ and/or
 * LOOP_WRITE; errors and hang-ups arrive as readable (and writable, if wanted). NULL without
 * memory.
 */
typedef void (*loop_io_fn)(struct loop_io *io, int fd, int what, void *userdata);
struct loop_io *loop_io_new(struct loop *loop, int fd, enum loop_priority priority, loop_io_fn fn,
                            void *userdata);
int loop_io_want(struct loop_io *io, int what);   /* 0, or -1 if the descriptor cannot be watched */
struct loop_io *loop_io_free(struct loop_io *io); /* safe inside its own callback */

/*
 * What is ready cannot be done now, for want of memory: it is told again in some LOOP_REST_NS,
 * instead of in every round until there is some. What is wanted may change meanwhile; not for
 * LOOP_EDGE. Does nothing for an io that nothing is wanted of.
 */
#define LOOP_REST_NS (20 * UINT64_C(1000000))
void loop_io_rest(struct loop_io *io);
bool loop_io_is_resting(const struct loop_io *io);

/*
 * One-shot timers, of LOOP_PRIORITY_RPC, that never fire early; loop_timer_set() again to re-arm,
 * replacing what was set. 0, or -1 without memory.
 */
typedef void (*loop_timer_fn)(struct loop_timer *timer, void *userdata);
struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn fn, void *userdata);
int loop_timer_set(struct loop_timer *timer, uint64_t delay_ns);
void loop_timer_clear(struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);
struct loop_timer *loop_timer_free(struct loop_timer *timer); /* safe inside its own callback */

/*
 * A signal, read from a signalfd of its own. It is blocked here and stays blocked after the free: a
 * child that executes another program resets its mask. fn runs once per read, however often the
 * signal came.
 */
typedef void (*loop_signal_fn)(int signo, void *userdata);
int loop_signal_new(struct loop *loop, int signo, enum loop_priority priority, loop_signal_fn fn,
                    void *userdata, struct loop_signal **ret, struct error *err);
struct loop_signal *loop_signal_free(struct loop_signal *signal);

/*
 * Work for the end of the present round, or for the next one when called from outside a callback.
 * The node is embedded and must stay alive until it has run or was cancelled. Queuing a queued node
 * again is harmless. Order of queuing is kept.
 */
struct loop_deferred {
        struct list node;
        void (*fn)(struct loop_deferred *deferred);
};
void loop_deferred_init(struct loop_deferred *deferred, void (*fn)(struct loop_deferred *deferred));
void loop_defer(struct loop *loop, struct loop_deferred *deferred);
void loop_deferred_cancel(struct loop_deferred *deferred);
