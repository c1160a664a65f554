/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of things within a round is what the rest of the program relies on, so most of these
 * tests record who ran when.
 */
#include "test/unit/loop/fixture.h"

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
                LOOP_TEST(a_loop_that_was_left_goes_on_where_it_was),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
