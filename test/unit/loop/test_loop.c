/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of things within a round is what the rest of the program relies on, so most of these
 * tests record who ran when. A guard timer ends a test whose loop would never quit.
 */
#include <signal.h>
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

static void note(struct fixture *f, char c)
{
        assert_in_range(f->n_log, 0, LOG_MAX - 2);
        f->log[f->n_log++] = c;
        f->log[f->n_log] = '\0';
}

static void guard_fired(struct loop_timer *timer, void *userdata)
{
        fail_msg("the loop was still running after 10 s");
}

static int setup(void **state)
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

static int teardown(void **state)
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

static void run(struct fixture *f)
{
        assert_int_equal(loop_run(f->loop, NULL), 0);
}

static void make_readable(struct fixture *f, int i)
{
        assert_int_equal(write(f->pairs[i][1], "x", 1), 1);
}

static void watch(struct fixture *f, int i, enum loop_priority priority, loop_io_fn fn, int what)
{
        f->ios[i] = loop_io_new(f->loop, f->pairs[i][0], priority, fn, f);
        assert_non_null(f->ios[i]);
        assert_int_equal(loop_io_want(f->ios[i], what), 0);
}

static int index_of(const struct fixture *f, const struct loop_io *io)
{
        for (int i = 0; i < (int)UNIT_COUNT(f->ios); i++) {
                if (f->ios[i] == io)
                        return i;
        }
        return -1;
}

/* Reads one byte and notes the io's index; the budget's last use ends the loop. */
static void read_and_note(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;
        char c;

        assert_true(what & LOOP_READ);
        (void)!read(fd, &c, 1);
        note(f, (char)('0' + index_of(f, io)));
        if (--f->budget == 0)
                loop_quit(f->loop);
}

static void quit_deferred(struct loop_deferred *deferred)
{
        note(fixture, 'q');
        loop_quit(fixture->loop);
}

static void note_deferred(struct loop_deferred *deferred)
{
        note(fixture, 'd');
}

/* ---- Descriptors ---- */

static void a_readable_descriptor_is_reported(void **state)
{
        struct fixture *f = *state;

        f->budget = 1;
        watch(f, 0, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        make_readable(f, 0);
        run(f);
        assert_string_equal(f->log, "0");
}

static void an_unread_descriptor_is_reported_again(void **state)
{
        struct fixture *f = *state;

        f->budget = 2;
        watch(f, 0, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        make_readable(f, 0);
        make_readable(f, 0);
        run(f);
        assert_string_equal(f->log, "00");
}

static void expect_both(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;

        assert_int_equal(what, LOOP_READ | LOOP_WRITE);
        loop_quit(f->loop);
}

static void both_directions_are_reported_in_one_call(void **state)
{
        struct fixture *f = *state;

        watch(f, 0, LOOP_PRIORITY_RPC, expect_both, LOOP_READ | LOOP_WRITE);
        make_readable(f, 0);
        run(f);
}

static void a_hang_up_is_reported_as_readable(void **state)
{
        struct fixture *f = *state;

        f->budget = 1;
        watch(f, 0, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        f->pairs[0][1] = fd_close(f->pairs[0][1]);
        run(f);
        assert_string_equal(f->log, "0");
}

static void nothing_is_reported_that_is_not_wanted(void **state)
{
        struct fixture *f = *state;

        f->budget = 1;
        watch(f, 0, LOOP_PRIORITY_EXIT, read_and_note, LOOP_READ);
        watch(f, 1, LOOP_PRIORITY_RELAY, read_and_note, LOOP_READ);
        assert_int_equal(loop_io_want(f->ios[0], 0), 0);
        make_readable(f, 0);
        make_readable(f, 1);
        run(f);
        assert_string_equal(f->log, "1");
        f->budget = 1;
        assert_int_equal(loop_io_want(f->ios[0], LOOP_READ), 0);
        run(f);
        assert_string_equal(f->log, "10");
}

static void a_bad_descriptor_cannot_be_watched(void **state)
{
        struct fixture *f = *state;
        struct loop_io *io = loop_io_new(f->loop, 1000000, LOOP_PRIORITY_RPC, read_and_note, f);

        assert_non_null(io);
        assert_int_equal(loop_io_want(io, LOOP_READ), -1);
        loop_io_free(io);
}

static void free_itself(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;

        note(f, 's');
        f->ios[index_of(f, io)] = loop_io_free(io);
        loop_deferred_init(&f->deferred, quit_deferred);
        loop_defer(f->loop, &f->deferred);
}

static void an_io_may_be_freed_in_its_own_callback(void **state)
{
        struct fixture *f = *state;

        watch(f, 0, LOOP_PRIORITY_RPC, free_itself, LOOP_READ);
        make_readable(f, 0);
        run(f);
        assert_string_equal(f->log, "sq");
}

/* Frees, mutes or leaves its siblings, which are ready in the same round. */
static void free_siblings(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;

        note(f, 'k');
        f->ios[1] = loop_io_free(f->ios[1]);
        assert_int_equal(loop_io_want(f->ios[2], 0), 0);
        loop_deferred_init(&f->deferred, quit_deferred);
        loop_defer(f->loop, &f->deferred);
}

static void an_io_that_is_freed_or_muted_by_another_does_not_run(void **state)
{
        struct fixture *f = *state;

        f->budget = 100;
        watch(f, 0, LOOP_PRIORITY_EXIT, free_siblings, LOOP_READ);
        watch(f, 1, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        watch(f, 2, LOOP_PRIORITY_EXIT, read_and_note, LOOP_READ);
        for (int i = 0; i < 3; i++)
                make_readable(f, i);
        run(f);
        assert_string_equal(f->log, "kq");
}

/* ---- Order ---- */

static void exits_run_before_requests_and_those_before_bytes(void **state)
{
        struct fixture *f = *state;

        f->budget = 3;
        watch(f, 0, LOOP_PRIORITY_RELAY, read_and_note, LOOP_READ);
        watch(f, 1, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        watch(f, 2, LOOP_PRIORITY_EXIT, read_and_note, LOOP_READ);
        for (int i = 0; i < 3; i++)
                make_readable(f, i);
        run(f);
        assert_string_equal(f->log, "210");
}

static void refill_and_note(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;

        make_readable(f, index_of(f, io));
        read_and_note(io, fd, what, userdata);
}

static void a_flood_of_requests_does_not_starve_the_bytes(void **state)
{
        struct fixture *f = *state;

        f->budget = 6;
        watch(f, 0, LOOP_PRIORITY_EXIT, refill_and_note, LOOP_READ);
        watch(f, 1, LOOP_PRIORITY_RPC, refill_and_note, LOOP_READ);
        watch(f, 2, LOOP_PRIORITY_RELAY, refill_and_note, LOOP_READ);
        for (int i = 0; i < 3; i++)
                make_readable(f, i);
        run(f);
        assert_string_equal(f->log, "012012");
}

static void defer_note(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;

        loop_defer(f->loop, &f->deferred);
        refill_and_note(io, fd, what, userdata);
}

static void a_flood_does_not_hold_up_deferred_work(void **state)
{
        struct fixture *f = *state;

        f->budget = 4;
        loop_deferred_init(&f->deferred, note_deferred);
        watch(f, 0, LOOP_PRIORITY_EXIT, defer_note, LOOP_READ);
        make_readable(f, 0);
        run(f);
        assert_memory_equal(f->log, "0d0d0d0", 7);
        loop_deferred_cancel(&f->deferred);
}

static void deferred_work_runs_after_all_that_is_ready(void **state)
{
        struct fixture *f = *state;

        f->budget = 100;
        loop_deferred_init(&f->deferred, quit_deferred);
        watch(f, 0, LOOP_PRIORITY_EXIT, read_and_note, LOOP_READ);
        watch(f, 1, LOOP_PRIORITY_RELAY, read_and_note, LOOP_READ);
        make_readable(f, 0);
        make_readable(f, 1);
        f->ios[0] = loop_io_free(f->ios[0]);
        f->ios[0] = loop_io_new(f->loop, f->pairs[0][0], LOOP_PRIORITY_EXIT, defer_note, f);
        assert_int_equal(loop_io_want(f->ios[0], LOOP_READ), 0);
        run(f);
        assert_string_equal(f->log, "01q");
}

/* ---- Deferred work ---- */

static void deferred_work_keeps_its_order_and_runs_once(void **state)
{
        struct fixture *f = *state;

        loop_deferred_init(&f->deferred, note_deferred);
        loop_deferred_init(&f->other, quit_deferred);
        loop_defer(f->loop, &f->deferred);
        loop_defer(f->loop, &f->other);
        loop_defer(f->loop, &f->deferred);
        run(f);
        assert_string_equal(f->log, "dq");
}

static void cancelled_work_does_not_run(void **state)
{
        struct fixture *f = *state;

        loop_deferred_init(&f->deferred, note_deferred);
        loop_deferred_init(&f->other, quit_deferred);
        loop_defer(f->loop, &f->deferred);
        loop_defer(f->loop, &f->other);
        loop_deferred_cancel(&f->deferred);
        loop_deferred_cancel(&f->deferred);
        run(f);
        assert_string_equal(f->log, "q");
}

static void cancel_other(struct loop_deferred *deferred)
{
        note(fixture, 'c');
        loop_deferred_cancel(&fixture->other);
        loop_deferred_init(deferred, quit_deferred);
        loop_defer(fixture->loop, deferred);
}

static void work_may_cancel_work_of_the_same_round(void **state)
{
        struct fixture *f = *state;

        loop_deferred_init(&f->deferred, cancel_other);
        loop_deferred_init(&f->other, note_deferred);
        loop_defer(f->loop, &f->deferred);
        loop_defer(f->loop, &f->other);
        run(f);
        assert_string_equal(f->log, "cq");
}

static void defer_again(struct loop_deferred *deferred)
{
        note(fixture, 'a');
        loop_defer(fixture->loop, deferred);
}

static void work_that_defers_itself_lets_the_descriptors_have_their_turn(void **state)
{
        struct fixture *f = *state;

        f->budget = 3;
        loop_deferred_init(&f->deferred, defer_again);
        watch(f, 0, LOOP_PRIORITY_RELAY, refill_and_note, LOOP_READ);
        make_readable(f, 0);
        loop_defer(f->loop, &f->deferred);
        run(f);
        loop_deferred_cancel(&f->deferred);
        assert_non_null(strstr(f->log, "0a0a0"));
        assert_in_range(f->n_log, 5, 8);
}

static void queued_work_is_run_when_the_loop_is_freed(void **state)
{
        struct loop *loop = NULL;
        struct fixture *f = *state;

        assert_int_equal(loop_new(&loop, NULL), 0);
        loop_deferred_init(&f->deferred, note_deferred);
        loop_defer(loop, &f->deferred);
        loop_free(loop);
        assert_string_equal(f->log, "d");
}

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

/* ---- Quitting ---- */

static void a_loop_that_was_left_goes_on_where_it_was(void **state)
{
        struct fixture *f = *state;

        f->budget = 1;
        watch(f, 0, LOOP_PRIORITY_EXIT, read_and_note, LOOP_READ);
        watch(f, 1, LOOP_PRIORITY_RPC, read_and_note, LOOP_READ);
        loop_deferred_init(&f->deferred, quit_deferred);
        make_readable(f, 0);
        make_readable(f, 1);
        run(f);
        assert_string_equal(f->log, "0");
        f->budget = 100;
        loop_defer(f->loop, &f->deferred);
        run(f);
        assert_string_equal(f->log, "01q");
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

#define LOOP_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                LOOP_TEST(a_readable_descriptor_is_reported),
                LOOP_TEST(an_unread_descriptor_is_reported_again),
                LOOP_TEST(both_directions_are_reported_in_one_call),
                LOOP_TEST(a_hang_up_is_reported_as_readable),
                LOOP_TEST(nothing_is_reported_that_is_not_wanted),
                LOOP_TEST(a_bad_descriptor_cannot_be_watched),
                LOOP_TEST(an_io_may_be_freed_in_its_own_callback),
                LOOP_TEST(an_io_that_is_freed_or_muted_by_another_does_not_run),
                LOOP_TEST(exits_run_before_requests_and_those_before_bytes),
                LOOP_TEST(a_flood_of_requests_does_not_starve_the_bytes),
                LOOP_TEST(a_flood_does_not_hold_up_deferred_work),
                LOOP_TEST(deferred_work_runs_after_all_that_is_ready),
                LOOP_TEST(deferred_work_keeps_its_order_and_runs_once),
                LOOP_TEST(cancelled_work_does_not_run),
                LOOP_TEST(work_may_cancel_work_of_the_same_round),
                LOOP_TEST(work_that_defers_itself_lets_the_descriptors_have_their_turn),
                LOOP_TEST(queued_work_is_run_when_the_loop_is_freed),
                LOOP_TEST(a_timer_fires_once_and_may_be_set_again),
                LOOP_TEST(setting_a_timer_replaces_what_was_set),
                LOOP_TEST(a_timer_may_be_set_to_the_end_of_time),
                LOOP_TEST(a_timer_that_is_due_can_still_be_cleared),
                LOOP_TEST(a_timer_may_be_freed_in_its_own_callback),
                LOOP_TEST(a_signal_is_reported_once_however_often_it_came),
                LOOP_TEST(two_signals_are_told_apart),
                LOOP_TEST(a_signal_stays_blocked_after_its_watch_is_freed),
                LOOP_TEST(a_loop_that_was_left_goes_on_where_it_was),
                LOOP_TEST(a_loop_is_idle_when_nothing_has_happened_for_a_while),
                LOOP_TEST(a_loop_at_rest_is_not_woken_a_second_time),
                LOOP_TEST(idleness_can_be_ignored_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
