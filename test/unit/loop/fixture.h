/* SPDX-License-Identifier: Apache-2.0
 *
 * A loop with three socket pairs and a log of who ran, which most of its tests look at. A guard
 * timer ends a test whose loop would never quit.
 */
#pragma once

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/loop/loop.h"

#include "test/unit/unit.h"

enum { LOG_MAX = 64 };

struct fixture {
        struct loop *loop;
        struct loop_timer *guard;
        char log[LOG_MAX];
        size_t n_log;
        int pairs[3][2]; /* the test writes to [1], an io watches [0] */
        struct loop_io *ios[3];
        struct loop_timer *timer;
        struct loop_deferred deferred;
        struct loop_deferred other;
        int budget;
        int seen_signal;
};

static struct fixture *fixture; /* for callbacks that carry no userdata */

static inline void note(struct fixture *f, char c)
{
        assert_in_range(f->n_log, 0, LOG_MAX - 2);
        f->log[f->n_log++] = c;
        f->log[f->n_log] = '\0';
}

static inline void guard_fired(struct loop_timer *timer, void *userdata)
{
        fail_msg("the loop was still running after 10 s");
}

static inline int setup(void **state)
{
        static struct fixture f;

        memset(&f, 0, sizeof(f));
        fixture = &f;
        assert_int_equal(loop_new(&f.loop, NULL), 0);
        f.guard = loop_timer_new(f.loop, guard_fired, NULL);
        assert_int_equal(loop_timer_set(f.guard, 10 * NSEC_PER_SEC), 0);
        for (size_t i = 0; i < UNIT_COUNT(f.pairs); i++)
                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                                            f.pairs[i]),
                                 0);
        *state = &f;
        return 0;
}

static inline int teardown(void **state)
{
        struct fixture *f = *state;

        for (size_t i = 0; i < UNIT_COUNT(f->pairs); i++) {
                loop_io_free(f->ios[i]);
                fd_close(f->pairs[i][0]);
                fd_close(f->pairs[i][1]);
        }
        loop_timer_free(f->timer);
        loop_timer_free(f->guard);
        loop_free(f->loop);
        return 0;
}

static inline void run(struct fixture *f)
{
        assert_int_equal(loop_run(f->loop, NULL), 0);
}

static inline void make_readable(struct fixture *f, int i)
{
        assert_int_equal(write(f->pairs[i][1], "x", 1), 1);
}

static inline void watch(struct fixture *f, int i, enum loop_priority priority, loop_io_fn fn,
                         int what)
{
        f->ios[i] = loop_io_new(f->loop, f->pairs[i][0], priority, fn, f);
        assert_non_null(f->ios[i]);
        assert_int_equal(loop_io_want(f->ios[i], what), 0);
}

static inline int index_of(const struct fixture *f, const struct loop_io *io)
{
        for (int i = 0; i < (int)UNIT_COUNT(f->ios); i++) {
                if (f->ios[i] == io)
                        return i;
        }
        return -1;
}

/* Reads one byte and notes the io's index; the budget's last use ends the loop. */
static inline void read_and_note(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;
        char c;

        assert_true(what & LOOP_READ);
        (void)!read(fd, &c, 1);
        note(f, (char)('0' + index_of(f, io)));
        if (--f->budget == 0)
                loop_quit(f->loop);
}

static inline void quit_deferred(struct loop_deferred *deferred)
{
        note(fixture, 'q');
        loop_quit(fixture->loop);
}

static inline void note_deferred(struct loop_deferred *deferred)
{
        note(fixture, 'd');
}

#define LOOP_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
