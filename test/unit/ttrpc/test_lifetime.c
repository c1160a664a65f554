/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends: of deadlines, connections, calls and servers, in every order, also inside a callback. The
 * sanitizers are half of the assertions.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

static void count_connections(size_t n, void *userdata)
{
        struct harness *h = userdata;

        h->n_connections = n;
}

static int setup(void **state)
{
        static struct harness h;

        /* harness_init clears h before the first connection comes. */
        harness_init(&h, &(struct ttrpc_server_options){.on_connections = count_connections,
                                                        .userdata = &h});
        *state = &h;
        return 0;
}

static int teardown(void **state)
{
        harness_deinit(*state);
        return 0;
}

static void expect_alive(struct harness *h, uint32_t id)
{
        peer_call(&h->peer, id, "Echo", "alive", 0);
        peer_expect_echo(&h->peer, id, "alive");
        assert_int_equal(h->peer.n_in, 0);
}

/* ---- Deadlines ---- */

static void a_call_whose_time_is_over_already_does_not_run(void **state)
{
        struct harness *h = *state;

        peer_call_timeout(&h->peer, 1, "Echo", "x", -1);
        peer_expect_status(&h->peer, 1, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        peer_call_timeout(&h->peer, 3, "Echo", "x", INT64_MIN);
        peer_expect_status(&h->peer, 3, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        assert_int_equal(h->n_echoed, 0);
        expect_alive(h, 5);
}

static void a_kept_call_ends_at_its_deadline_and_its_keeper_is_told(void **state)
{
        struct harness *h = *state;
        uint64_t start = clock_monotonic_ns();

        h->cancellable = true;
        peer_call_timeout(&h->peer, 1, "Keep", "", 20 * NSEC_PER_MSEC);
        peer_expect_status(&h->peer, 1, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        assert_true(clock_monotonic_ns() - start >= 20 * NSEC_PER_MSEC);
        assert_int_equal(h->n_cancelled, 1);
        assert_null(h->kept[0]);
        expect_alive(h, 3);
}

static void an_answer_after_the_deadline_goes_nowhere(void **state)
{
        struct harness *h = *state;

        peer_call_timeout(&h->peer, 1, "Keep", "", 1);
        peer_expect_status(&h->peer, 1, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        kept_reply(h, 0, "late");
        expect_alive(h, 3);
        assert_int_equal(h->n_cancelled, 0);
}

static void the_longest_deadline_is_no_deadline(void **state)
{
        struct harness *h = *state;

        peer_call_timeout(&h->peer, 1, "Keep", "", INT64_MAX);
        expect_alive(h, 3);
        assert_true(ttrpc_call_deadline_ns(h->kept[0]) > clock_monotonic_ns() + INT64_MAX / 2);
        kept_reply(h, 0, "in time");
        peer_expect_echo(&h->peer, 1, "in time");
}

static void a_call_that_is_answered_in_time_has_no_deadline_left(void **state)
{
        struct harness *h = *state;

        h->cancellable = true;
        peer_call_timeout(&h->peer, 1, "Keep", "", 5 * NSEC_PER_MSEC);
        harness_settle(h);
        kept_reply(h, 0, "in time");
        peer_expect_echo(&h->peer, 1, "in time");
        /* The next deadline is a later one, so the first has passed when it is over. */
        peer_call_timeout(&h->peer, 3, "Keep", "", 20 * NSEC_PER_MSEC);
        peer_expect_status(&h->peer, 3, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        assert_int_equal(h->n_cancelled, 1);
}

static void count_cancel(struct ttrpc_call *call, void *userdata)
{
        struct harness *h = userdata;

        h->n_cancelled++;
}

static void a_keeper_that_asks_late_is_told_late(void **state)
{
        struct harness *h = *state;

        peer_call_timeout(&h->peer, 1, "Keep", "", 1);
        peer_call_timeout(&h->peer, 3, "Keep", "", 1);
        peer_expect_status(&h->peer, 1, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        peer_expect_status(&h->peer, 3, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        ttrpc_call_on_cancel(h->kept[0], count_cancel, h);
        ttrpc_call_on_cancel(h->kept[1], count_cancel, h);
        ttrpc_call_on_cancel(h->kept[1], NULL, NULL);
        assert_int_equal(h->n_cancelled, 0);
        h->kept[0] = NULL;
        harness_settle(h);
        assert_int_equal(h->n_cancelled, 1);
        kept_reply(h, 1, "nowhere");
        expect_alive(h, 5);
}

/* ---- Connections ---- */

static void a_lost_connection_cancels_its_calls_and_no_others(void **state)
{
        struct harness *h = *state;
        struct peer other;

        h->cancellable = true;
        peer_init(&other, h);
        assert_int_equal(h->n_connections, 2);
        peer_call(&h->peer, 1, "Keep", "", 0);
        harness_settle(h);
        for (uint32_t id = 1; id < 400; id += 2)
                peer_call(&other, id, "Keep", "", 0);
        harness_settle(h);
        assert_int_equal(h->n_kept, 201);
        peer_deinit(&other);
        harness_settle(h);
        assert_int_equal(h->n_connections, 1);
        assert_int_equal(ttrpc_server_n_connections(h->server), 1);
        assert_int_equal(h->n_cancelled, 200);
        kept_reply(h, 0, "still here");
        peer_expect_echo(&h->peer, 1, "still here");
}

static void an_answer_to_a_peer_that_has_gone_goes_nowhere(void **state)
{
        struct harness *h = *state;
        struct peer other;

        peer_init(&other, h);
        peer_call(&other, 1, "Keep", "", 0);
        harness_settle(h);
        peer_deinit(&other);
        harness_settle(h);
        assert_int_equal(h->n_connections, 1);
        kept_reply(h, 0, "nobody listens");
        expect_alive(h, 1);
}

static void a_peer_that_goes_in_mid_frame_is_forgotten(void **state)
{
        struct harness *h = *state;
        struct peer other;

        peer_init(&other, h);
        peer_write(&other, "\0\x3f\0\0\0\0\0\1\1\0half", 14);
        harness_settle(h);
        peer_deinit(&other);
        harness_settle(h);
        assert_int_equal(h->n_connections, 1);
        expect_alive(h, 1);
}

static void a_peer_that_only_stops_writing_gets_its_answers(void **state)
{
        struct harness *h = *state;
        struct peer other;

        peer_init(&other, h);
        peer_call(&other, 1, "Keep", "", 0);
        peer_call(&other, 3, "Echo", "now", 0);
        assert_int_equal(shutdown(other.fd, SHUT_WR), 0);
        peer_expect_echo(&other, 3, "now");
        harness_settle(h);
        assert_int_equal(h->n_connections, 2);
        kept_reply(h, 0, "later");
        peer_expect_echo(&other, 1, "later");
        peer_wait_eof(&other);
        harness_settle(h);
        assert_int_equal(h->n_connections, 1);
        peer_deinit(&other);
}

static void a_half_closed_peer_without_calls_is_closed(void **state)
{
        struct harness *h = *state;

        assert_int_equal(shutdown(h->peer.fd, SHUT_WR), 0);
        peer_wait_eof(&h->peer);
        harness_settle(h);
        assert_int_equal(h->n_connections, 0);
}

static void quit_when_cancelled(struct ttrpc_call *call, void *userdata)
{
        struct harness *h = userdata;

        h->kept[0] = NULL;
        loop_quit(h->loop);
}

static void a_half_closed_peer_that_goes_is_noticed(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 1, "Keep", "", 0);
        harness_settle(h);
        ttrpc_call_on_cancel(h->kept[0], quit_when_cancelled, h);
        assert_int_equal(shutdown(h->peer.fd, SHUT_WR), 0);
        harness_settle(h);
        assert_int_equal(h->n_connections, 1);
        peer_deinit(&h->peer);
        assert_int_equal(loop_run(h->loop, NULL), 0);
        assert_null(h->kept[0]);
        harness_settle(h);
        assert_int_equal(h->n_connections, 0);
}

static void a_server_knows_whether_answers_wait(void **state)
{
        struct harness *h = *state;

        peer_pause(&h->peer, true);
        assert_false(ttrpc_server_has_queued(h->server));
        peer_call(&h->peer, 1, "Grow", "", 1 << 20);
        harness_settle(h);
        assert_true(ttrpc_server_has_queued(h->server));
        peer_pause(&h->peer, false);
        free(peer_read_bytes(&h->peer, &(size_t){0}));
        harness_settle(h);
        assert_false(ttrpc_server_has_queued(h->server));
}

/* ---- Ends inside a callback ---- */

static void hook_free_server(struct harness *h, struct ttrpc_call *call)
{
        h->server = ttrpc_server_free(h->server);
        ttrpc_call_fail(call, STATUS_INTERNAL, "nobody hears this");
        loop_quit(h->loop);
}

static void a_handler_may_free_the_server_and_answer_then(void **state)
{
        struct harness *h = *state;

        h->hook = hook_free_server;
        peer_call(&h->peer, 1, "Keep", "", 0);
        peer_call(&h->peer, 3, "Hook", "", 0);
        peer_call(&h->peer, 5, "Echo", "", 0);
        assert_int_equal(loop_run(h->loop, NULL), 0);
        assert_null(h->server);
        assert_int_equal(h->n_echoed, 0);
        peer_wait_eof(&h->peer);
        kept_reply(h, 0, "late");
}

static void hook_keep_and_free_server(struct harness *h, struct ttrpc_call *call)
{
        h->kept[h->n_kept++] = call;
        h->server = ttrpc_server_free(h->server);
        loop_quit(h->loop);
}

static void a_handler_may_free_the_server_and_keep_its_call(void **state)
{
        struct harness *h = *state;

        h->hook = hook_keep_and_free_server;
        peer_call(&h->peer, 1, "Hook", "", 0);
        assert_int_equal(loop_run(h->loop, NULL), 0);
        peer_wait_eof(&h->peer);
        assert_int_equal(h->n_kept, 1);
}

static void hook_want_cancel_and_free_server(struct harness *h, struct ttrpc_call *call)
{
        ttrpc_call_on_cancel(call, count_cancel, h);
        h->server = ttrpc_server_free(h->server);
        loop_quit(h->loop);
}

static void a_handler_may_free_the_server_and_be_told_of_the_end_of_its_call(void **state)
{
        struct harness *h = *state;

        h->hook = hook_want_cancel_and_free_server;
        peer_call(&h->peer, 1, "Hook", "", 0);
        assert_int_equal(loop_run(h->loop, NULL), 0);
        peer_wait_eof(&h->peer);
        assert_int_equal(h->n_cancelled, 1);
}

static void cancel_frees_server(struct ttrpc_call *call, void *userdata)
{
        struct harness *h = userdata;

        h->n_cancelled++;
        h->kept[0] = NULL;
        h->server = ttrpc_server_free(h->server);
        loop_quit(h->loop);
}

static void a_cancellation_may_free_the_server(void **state)
{
        struct harness *h = *state;

        /* The first to be cancelled frees the server; the other one is still open then. */
        peer_call(&h->peer, 1, "Keep", "", 0);
        peer_call(&h->peer, 3, "Keep", "", 0);
        harness_settle(h);
        ttrpc_call_on_cancel(h->kept[0], cancel_frees_server, h);
        peer_deinit(&h->peer);
        assert_int_equal(loop_run(h->loop, NULL), 0);
        assert_int_equal(h->n_cancelled, 1);
        kept_reply(h, 1, "late");
}

static void a_deadline_may_free_the_server(void **state)
{
        struct harness *h = *state;

        peer_call_timeout(&h->peer, 1, "Keep", "", 1);
        h->cancellable = false;
        while (h->n_kept == 0)
                harness_settle(h);
        ttrpc_call_on_cancel(h->kept[0], cancel_frees_server, h);
        assert_int_equal(loop_run(h->loop, NULL), 0);
        assert_int_equal(h->n_cancelled, 1);
}

static void last_one_out(size_t n, void *userdata)
{
        struct harness *h = userdata;

        if (n == 0) {
                h->server = ttrpc_server_free(h->server);
                loop_quit(h->loop);
        }
}

static void the_end_of_the_last_connection_may_free_the_server(void **state)
{
        static struct harness h;

        harness_init(
                &h, &(struct ttrpc_server_options){.on_connections = last_one_out, .userdata = &h});
        peer_deinit(&h.peer);
        assert_int_equal(loop_run(h.loop, NULL), 0);
        assert_null(h.server);
        harness_deinit(&h);
}

static void freeing_a_server_tells_every_keeper_first(void **state)
{
        struct harness *h = *state;

        h->cancellable = true;
        for (uint32_t id = 1; id < 100; id += 2)
                peer_call_timeout(&h->peer, id, "Keep", "", 3600 * NSEC_PER_SEC);
        harness_settle(h);
        h->server = ttrpc_server_free(h->server);
        assert_int_equal(h->n_cancelled, 50);
        peer_wait_eof(&h->peer);
}

static void calls_outlive_the_server_and_the_loop(void **state)
{
        struct harness *h = *state;

        for (uint32_t id = 1; id < 10; id += 2)
                peer_call(&h->peer, id, "Keep", "", 0);
        harness_settle(h);
        /* The teardown answers them when both are gone. */
        assert_int_equal(h->n_kept, 5);
}

#define LIFE_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                LIFE_TEST(a_call_whose_time_is_over_already_does_not_run),
                LIFE_TEST(a_kept_call_ends_at_its_deadline_and_its_keeper_is_told),
                LIFE_TEST(an_answer_after_the_deadline_goes_nowhere),
                LIFE_TEST(the_longest_deadline_is_no_deadline),
                LIFE_TEST(a_call_that_is_answered_in_time_has_no_deadline_left),
                LIFE_TEST(a_keeper_that_asks_late_is_told_late),
                LIFE_TEST(a_lost_connection_cancels_its_calls_and_no_others),
                LIFE_TEST(an_answer_to_a_peer_that_has_gone_goes_nowhere),
                LIFE_TEST(a_peer_that_goes_in_mid_frame_is_forgotten),
                LIFE_TEST(a_peer_that_only_stops_writing_gets_its_answers),
                LIFE_TEST(a_half_closed_peer_without_calls_is_closed),
                LIFE_TEST(a_half_closed_peer_that_goes_is_noticed),
                LIFE_TEST(a_server_knows_whether_answers_wait),
                LIFE_TEST(a_handler_may_free_the_server_and_answer_then),
                LIFE_TEST(a_handler_may_free_the_server_and_keep_its_call),
                LIFE_TEST(a_handler_may_free_the_server_and_be_told_of_the_end_of_its_call),
                LIFE_TEST(a_cancellation_may_free_the_server),
                LIFE_TEST(a_deadline_may_free_the_server),
                cmocka_unit_test(the_end_of_the_last_connection_may_free_the_server),
                LIFE_TEST(freeing_a_server_tells_every_keeper_first),
                LIFE_TEST(calls_outlive_the_server_and_the_loop),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
