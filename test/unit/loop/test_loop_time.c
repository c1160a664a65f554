/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes to a loop without a descriptor of its own: timers, signals, and that nothing happens.
 */
#include <signal.h>

#include "test/unit/loop/fixture.h"

/* ---- Timers ---- */

static void timer_fired(struct loop_timer *timer, void *userdata)
{
        struct fixture *f = userdata;

        note(f, 't');
        assert_false(loop_timer_is_set(timer));
        if (--f->budget == 0)
                loop_quit(f->loop);
        else
                assert_int_equal(loop_timer_set(timer, NSEC_PER_MSEC), 0);
}

static void a_timer_fires_once_and_may_be_set_again(void **state)
{
        struct fixture *f = *state;
        uint64_t start = clock_monotonic_ns();

        f->budget = 3;
        f->timer = loop_timer_new(f->loop, timer_fired, f);
        assert_int_equal(loop_timer_set(f->timer, 20 * NSEC_PER_MSEC), 0);
        assert_true(loop_timer_is_set(f->timer));
        run(f);
        assert_string_equal(f->log, "ttt");
        assert_false(loop_timer_is_set(f->timer));
        assert_true(clock_monotonic_ns() - start >= 20 * NSEC_PER_MSEC);
}

static void setting_a_timer_replaces_what_was_set(void **state)
{
        struct fixture *f = *state;

        f->budget = 1;
        f->timer = loop_timer_new(f->loop, timer_fired, f);
        assert_int_equal(loop_timer_set(f->timer, 3600 * NSEC_PER_SEC), 0);
        assert_int_equal(loop_timer_set(f->timer, 0), 0);
        run(f);
        assert_string_equal(f->log, "t");
}

static void a_timer_may_be_set_to_the_end_of_time(void **state)
{
        struct fixture *f = *state;

        f->budget = 1;
        f->timer = loop_timer_new(f->loop, timer_fired, f);
        assert_int_equal(loop_timer_set(f->timer, UINT64_MAX), 0);
        watch(f, 0, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        make_readable(f, 0);
        run(f);
        assert_string_equal(f->log, "0");
        assert_true(loop_timer_is_set(f->timer));
}

static void clear_timer(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;

        note(f, 'c');
        loop_timer_clear(f->timer);
        assert_false(loop_timer_is_set(f->timer));
        loop_deferred_init(&f->deferred, quit_deferred);
        loop_defer(f->loop, &f->deferred);
}

static void a_timer_that_is_due_can_still_be_cleared(void **state)
{
        struct fixture *f = *state;

        f->timer = loop_timer_new(f->loop, timer_fired, f);
        assert_int_equal(loop_timer_set(f->timer, 0), 0);
        watch(f, 0, LOOP_PRIORITY_EXIT, clear_timer, LOOP_READ);
        make_readable(f, 0);
        run(f);
        assert_string_equal(f->log, "cq");
}

static void free_timer(struct loop_timer *timer, void *userdata)
{
        struct fixture *f = userdata;

        f->timer = loop_timer_free(timer);
        loop_quit(f->loop);
}

static void a_timer_may_be_freed_in_its_own_callback(void **state)
{
        struct fixture *f = *state;

        f->timer = loop_timer_new(f->loop, free_timer, f);
        assert_int_equal(loop_timer_set(f->timer, 0), 0);
        run(f);
        assert_null(f->timer);
}

/* ---- Signals ---- */

static void on_signal(int signo, void *userdata)
{
        struct fixture *f = userdata;

        f->seen_signal = signo;
        note(f, 's');
        loop_quit(f->loop);
}

static void a_signal_is_reported_once_however_often_it_came(void **state)
{
        struct fixture *f = *state;
        struct loop_signal *signal = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(
                loop_signal_new(f->loop, SIGUSR1, LOOP_PRIORITY_EXIT, on_signal, f, &signal, &err),
                0);
        assert_int_equal(kill(getpid(), SIGUSR1), 0);
        assert_int_equal(kill(getpid(), SIGUSR1), 0);
        run(f);
        assert_int_equal(f->seen_signal, SIGUSR1);
        loop_deferred_init(&f->deferred, quit_deferred);
        loop_defer(f->loop, &f->deferred);
        run(f);
        assert_string_equal(f->log, "sq");
        loop_signal_free(signal);
}

static void two_signals_are_told_apart(void **state)
{
        struct fixture *f = *state;
        struct loop_signal *one = NULL;
        struct loop_signal *two = NULL;

        assert_int_equal(
                loop_signal_new(f->loop, SIGUSR1, LOOP_PRIORITY_EXIT, on_signal, f, &one, NULL), 0);
        assert_int_equal(
                loop_signal_new(f->loop, SIGUSR2, LOOP_PRIORITY_EXIT, on_signal, f, &two, NULL), 0);
        assert_int_equal(kill(getpid(), SIGUSR2), 0);
        run(f);
        assert_int_equal(f->seen_signal, SIGUSR2);
        loop_signal_free(one);
        loop_signal_free(two);
}

static void a_signal_stays_blocked_after_its_watch_is_freed(void **state)
{
        struct fixture *f = *state;
        struct loop_signal *signal = NULL;
        sigset_t mask;

        assert_int_equal(
                loop_signal_new(f->loop, SIGUSR1, LOOP_PRIORITY_EXIT, on_signal, f, &signal, NULL),
                0);
        loop_signal_free(signal);
        assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
        assert_int_equal(sigismember(&mask, SIGUSR1), 1);
}

/* ---- Idleness ---- */

enum { IDLE_MS = 20 };

static void idle_notes_and_quits(void *userdata)
{
        struct fixture *f = userdata;

        note(f, 'i');
        loop_quit(f->loop);
}

static void idle_notes(void *userdata)
{
        note(userdata, 'i');
}

static void timer_notes_and_quits(struct loop_timer *timer, void *userdata)
{
        struct fixture *f = userdata;

        note(f, 't');
        loop_quit(f->loop);
}

static void a_loop_is_idle_when_nothing_has_happened_for_a_while(void **state)
{
        struct fixture *f = *state;
        uint64_t start = clock_monotonic_ns();

        watch(f, 0, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        make_readable(f, 0);
        f->budget = 100;
        loop_on_idle(f->loop, IDLE_MS * NSEC_PER_MSEC, idle_notes_and_quits, f);
        run(f);
        assert_string_equal(f->log, "0i");
        /* libevent's clock is coarse: it may be some milliseconds early. */
        assert_true(clock_monotonic_ns() - start >= IDLE_MS * NSEC_PER_MSEC / 2);
}

static void a_loop_at_rest_is_not_woken_a_second_time(void **state)
{
        struct fixture *f = *state;

        loop_on_idle(f->loop, IDLE_MS * NSEC_PER_MSEC, idle_notes, f);
        f->timer = loop_timer_new(f->loop, timer_notes_and_quits, f);
        assert_int_equal(loop_timer_set(f->timer, 10 * IDLE_MS * NSEC_PER_MSEC), 0);
        run(f);
        assert_string_equal(f->log, "it");
        /* What the timer did was something that happened. */
        loop_on_idle(f->loop, IDLE_MS * NSEC_PER_MSEC, idle_notes_and_quits, f);
        run(f);
        assert_string_equal(f->log, "iti");
}

static void idleness_can_be_ignored_again(void **state)
{
        struct fixture *f = *state;

        loop_on_idle(f->loop, IDLE_MS * NSEC_PER_MSEC, idle_notes, f);
        loop_on_idle(f->loop, 0, NULL, NULL);
        f->timer = loop_timer_new(f->loop, timer_notes_and_quits, f);
        assert_int_equal(loop_timer_set(f->timer, 3 * IDLE_MS * NSEC_PER_MSEC), 0);
        run(f);
        assert_string_equal(f->log, "t");
}

/* ---- An io that rests ---- */

static void note_and_rest(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;

        (void)fd;
        (void)what;
        note(f, 'r');
        if (--f->budget == 0)
                loop_quit(f->loop);
        loop_io_rest(io);
}

/* Sees to it that there are rounds all the time. */
static void next_round(struct loop_deferred *deferred)
{
        loop_defer(fixture->loop, deferred);
}

static void timer_quits(struct loop_timer *timer, void *userdata)
{
        struct fixture *f = userdata;

        (void)timer;
        loop_quit(f->loop);
}

/* How long is counted, and what is less: half of LOOP_REST_NS is believed, for the timer's clock.
 */
#define RESTS_NS (4 * LOOP_REST_NS)
enum { RESTS_MAX = 10 };

static void run_for_some_rests(struct fixture *f)
{
        f->timer = loop_timer_new(f->loop, timer_quits, f);
        assert_int_equal(loop_timer_set(f->timer, RESTS_NS), 0);
        run(f);
        f->timer = loop_timer_free(f->timer);
}

static void who_rests_is_not_told_in_every_round(void **state)
{
        struct fixture *f = *state;

        watch(f, 0, LOOP_PRIORITY_RPC, note_and_rest, LOOP_READ);
        make_readable(f, 0);
        f->budget = RESTS_MAX;
        loop_deferred_init(&f->deferred, next_round);
        loop_defer(f->loop, &f->deferred);
        run_for_some_rests(f);
        loop_deferred_cancel(&f->deferred);
        assert_in_range(f->budget, 1, RESTS_MAX - 1);
}

static void who_rests_is_told_again(void **state)
{
        struct fixture *f = *state;

        for (int i = 0; i < 2; i++) {
                watch(f, i, LOOP_PRIORITY_RPC, note_and_rest, LOOP_READ);
                make_readable(f, i);
        }
        f->budget = 6;
        run(f);
        assert_string_equal(f->log, "rrrrrr");
}

static void what_is_wanted_may_change_while_it_rests(void **state)
{
        struct fixture *f = *state;

        watch(f, 0, LOOP_PRIORITY_RPC, note_and_rest, LOOP_READ);
        watch(f, 1, LOOP_PRIORITY_RPC, note_and_rest, LOOP_READ);
        make_readable(f, 0);
        make_readable(f, 1);
        f->budget = 2;
        run(f);
        assert_true(loop_io_is_resting(f->ios[0]) && loop_io_is_resting(f->ios[1]));
        assert_int_equal(loop_io_want(f->ios[0], 0), 0); /* it is not told any more */
        assert_false(loop_io_is_resting(f->ios[0]));
        assert_int_equal(loop_io_want(f->ios[1], LOOP_WRITE), 0);
        assert_true(loop_io_is_resting(f->ios[1]));
        f->budget = RESTS_MAX;
        run_for_some_rests(f);
        assert_in_range(f->budget, 1, RESTS_MAX - 1);
        f->budget = 1;
        f->ios[1] = loop_io_free(f->ios[1]); /* resting, as it is */
        assert_int_equal(loop_io_want(f->ios[0], LOOP_READ), 0);
        run(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LOOP_TEST(a_timer_fires_once_and_may_be_set_again),
                LOOP_TEST(setting_a_timer_replaces_what_was_set),
                LOOP_TEST(a_timer_may_be_set_to_the_end_of_time),
                LOOP_TEST(a_timer_that_is_due_can_still_be_cleared),
                LOOP_TEST(a_timer_may_be_freed_in_its_own_callback),
                LOOP_TEST(a_signal_is_reported_once_however_often_it_came),
                LOOP_TEST(two_signals_are_told_apart),
                LOOP_TEST(a_signal_stays_blocked_after_its_watch_is_freed),
                LOOP_TEST(a_loop_is_idle_when_nothing_has_happened_for_a_while),
                LOOP_TEST(a_loop_at_rest_is_not_woken_a_second_time),
                LOOP_TEST(idleness_can_be_ignored_again),
                LOOP_TEST(who_rests_is_not_told_in_every_round),
                LOOP_TEST(who_rests_is_told_again),
                LOOP_TEST(what_is_wanted_may_change_while_it_rests),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
