/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that is left by an execve() of itself, as planned, and goes on: nobody who talks to it
 * can tell.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "pkg/base/clock.h"
#include "pkg/ttrpc/limits.h"

#include "test/unit/ttrpc/world.h"

static void a_frame_that_is_cut_at_any_byte_is_whole_in_the_next_image(void **state)
{
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(1, "Echo", "cut", 7, 0, &len);

        (void)state;
        world_start(&w);
        world_serve(&w);
        for (size_t cut = 0; cut <= len; cut++) {
                uint32_t id = (uint32_t)(2 * cut + 1);

                free(frame);
                frame = echo_frame(id, "Echo", "cut", 7, 0, &len);
                peer_write(&w.peer, frame, cut);
                world_wait_taken(&w, &w.peer);
                world_reexec(&w);
                peer_write(&w.peer, frame + cut, len - cut);
                peer_expect_echo(&w.peer, id, "cut");
        }
        assert_int_equal(w.control->seen[7], len + 1);
        assert_int_equal(w.control->n_dropped, 0);
        free(frame);
        world_stop(&w);
}

static void a_call_that_waits_is_answered_two_images_later(void **state)
{
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        for (uint32_t i = 0; i < 1000; i++)
                peer_call(&w.peer, 2 * i + 1, "Keep", "", 1);
        world_wait_seen(&w, 1, 1000 % 256);
        peer_call(&w.peer, 2001, "Echo", "all are kept", 2);
        peer_expect_echo(&w.peer, 2001, "all are kept");
        world_reexec(&w);
        world_reexec(&w);
        peer_call(&w.peer, 2003, "Hook", "go", 3);
        for (uint32_t i = 0; i < 1000; i++)
                peer_expect_echo(&w.peer, 2 * i + 1, "let go");
        peer_expect_echo(&w.peer, 2003, "go");
        assert_int_equal(w.control->n_resumed, 2000);
        world_stop(&w);
}

static void a_big_answer_goes_on_where_it_was(void **state)
{
        enum { BIG = 250000 };
        static struct answer answer;
        Test__Ttrpc__EchoResponse *response;
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        peer_pause(&w.peer, true);
        peer_call(&w.peer, 1, "Grow", "", BIG);
        peer_call(&w.peer, 3, "Echo", "behind it", 4);
        world_wait_seen(&w, 4, 1);
        world_reexec(&w);
        peer_call(&w.peer, 5, "Echo", "behind both", 5);
        world_wait_seen(&w, 5, 1);
        world_reexec(&w);
        peer_pause(&w.peer, false);
        peer_read(&w.peer, &answer);
        response = test__ttrpc__echo_response__unpack(NULL, answer.n_payload, answer.payload);
        assert_non_null(response);
        assert_int_equal(response->data.len, BIG);
        for (size_t i = 0; i < BIG; i++)
                assert_int_equal(response->data.data[i], (uint8_t)(i * 7 + i / 251));
        test__ttrpc__echo_response__free_unpacked(response, NULL);
        peer_expect_echo(&w.peer, 3, "behind it");
        peer_expect_echo(&w.peer, 5, "behind both");
        world_stop(&w);
}

static void without_a_descriptor_a_large_answer_makes_it_wait(void **state)
{
        static struct answer answer;
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        peer_call(&w.peer, 1, "Echo", "it is connected", 3);
        peer_expect_echo(&w.peer, 1, "it is connected");
        world_limit_fds(&w);
        peer_pause(&w.peer, true);
        peer_call(&w.peer, 3, "Grow", "", 1 << 20);
        peer_call(&w.peer, 5, "Echo", "behind it", 4);
        world_wait_seen(&w, 4, 1);
        assert_int_equal(kill(w.pid, SIGHUP), 0);
        while (w.control->n_not_quiet == 0)
                world_assert_alive(&w);
        peer_pause(&w.peer, false);
        peer_read(&w.peer, &answer);
        peer_expect_echo(&w.peer, 5, "behind it");
        assert_int_equal(w.control->n_images, 1);
        world_reexec(&w);
        peer_call(&w.peer, 7, "Echo", "after it", 5);
        peer_expect_echo(&w.peer, 7, "after it");
        world_stop(&w);
}

static void without_a_descriptor_a_large_request_that_is_half_read_makes_it_wait(void **state)
{
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(3, "Echo", "large", 1, 200000, &len);
        static struct answer answer;

        (void)state;
        world_start(&w);
        world_serve(&w);
        peer_call(&w.peer, 1, "Echo", "it is connected", 3);
        peer_expect_echo(&w.peer, 1, "it is connected");
        world_limit_fds(&w);
        peer_write(&w.peer, frame, 100000);
        world_wait_taken(&w, &w.peer);
        assert_int_equal(kill(w.pid, SIGHUP), 0);
        while (w.control->n_not_quiet == 0)
                world_assert_alive(&w);
        peer_write(&w.peer, frame + 100000, len - 100000);
        peer_read(&w.peer, &answer);
        assert_int_equal(answer.code, 0);
        world_reexec(&w);
        assert_int_equal(w.control->n_dropped, 0);
        peer_call(&w.peer, 5, "Echo", "after it", 5);
        peer_expect_echo(&w.peer, 5, "after it");
        free(frame);
        world_stop(&w);
}

static void a_deadline_is_the_same_in_the_next_image(void **state)
{
        struct world w;
        uint64_t deadline_ns;

        (void)state;
        world_start(&w);
        world_serve(&w);
        peer_call_timeout(&w.peer, 1, "Keep", "", (int64_t)(500 * NSEC_PER_MSEC));
        world_wait_seen(&w, 0, 1);
        deadline_ns = w.control->deadline_ns;
        w.control->deadline_ns = 0;
        world_reexec(&w);
        world_wait_seen(&w, 0, 2);
        peer_expect_status(&w.peer, 1, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        assert_true(deadline_ns != 0 && w.control->deadline_ns == deadline_ns);
        assert_true(clock_monotonic_ns() >= deadline_ns);
        world_stop(&w);
}

static void who_has_half_closed_still_gets_the_answer(void **state)
{
        struct world w;
        struct peer other;

        (void)state;
        world_start(&w);
        world_serve(&w);
        peer_call(&w.peer, 1, "Keep", "", 1);
        world_wait_seen(&w, 1, 1);
        assert_int_equal(shutdown(w.peer.fd, SHUT_WR), 0);
        world_reexec(&w);
        /* The listener goes on, too. */
        world_connect(&w, &other);
        peer_call(&other, 1, "Hook", "go", 2);
        peer_expect_echo(&other, 1, "go");
        peer_expect_echo(&w.peer, 1, "let go");
        peer_wait_eof(&w.peer);
        peer_deinit(&other);
        world_stop(&w);
}

static void an_id_cannot_be_used_again_in_the_next_image(void **state)
{
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        peer_call(&w.peer, 5, "Echo", "once", 1);
        peer_expect_echo(&w.peer, 5, "once");
        world_reexec(&w);
        peer_call(&w.peer, 5, "Echo", "twice", 1);
        peer_expect_status(&w.peer, 5, STATUS_INVALID_ARGUMENT,
                           "StreamID cannot be re-used and must increment");
        assert_int_equal(w.control->seen[1], 1);
        world_stop(&w);
}

static void a_stream_that_is_refused_ends_with_unavailable(void **state)
{
        struct world w;

        (void)state;
        world_start(&w);
        w.control->refuse_streams = 1;
        world_serve(&w);
        talk_open(&w.peer, 1);
        talk_say(&w.peer, 1, "hello", 1);
        talk_expect(&w.peer, 1, "hello");
        world_reexec(&w);
        peer_expect_status(&w.peer, 1, STATUS_UNAVAILABLE, "restarted");
        world_stop(&w);
}

static void a_stream_goes_on_in_the_next_image(void **state)
{
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        talk_open(&w.peer, 1);
        talk_say(&w.peer, 1, "one", 1);
        talk_expect(&w.peer, 1, "one");
        world_reexec(&w);
        talk_say(&w.peer, 1, "two", 2);
        talk_expect(&w.peer, 1, "two");
        peer_send_frame(&w.peer, 1, TTRPC_FRAME_DATA, TTRPC_FLAG_REMOTE_CLOSED | TTRPC_FLAG_NO_DATA,
                        NULL, 0);
        peer_call(&w.peer, 3, "Echo", "closed", 9);
        peer_expect_echo(&w.peer, 3, "closed");
        world_reexec(&w);
        talk_say(&w.peer, 1, "too late", 3);
        peer_expect_status(&w.peer, 1, STATUS_INVALID_ARGUMENT,
                           "stream data after the end of the stream");
        assert_int_equal(w.control->n_resumed, 2);
        assert_int_equal(w.control->n_noted, 2);
        assert_int_equal(w.control->seen[1], 1);
        assert_int_equal(w.control->seen[2], 1);
        assert_int_equal(w.control->seen[3], 0);
        assert_int_equal(w.control->n_half_closed, 2);
        world_stop(&w);
}

/* ---- Streams that take turns ---- */

enum {
        FLOODS = 5,
        FLOOD_MESSAGES = 600, /* of each */
        FLOOD_QUEUED = TTRPC_STREAM_QUEUED_MAX / IMAGE_COUNT_BYTES,
};

struct flood {
        unsigned n_got[FLOODS];
        unsigned n_closed;
};

/* Each has its own numbers, from 0 on and without a gap. */
static void flood_take(struct flood *flood, struct peer *p)
{
        Test__Ttrpc__EchoResponse *response;
        struct ttrpc_frame frame;
        size_t len = 0;
        uint8_t *bytes = peer_read_bytes(p, &len);
        unsigned i;

        frame = ttrpc_frame_decode(bytes);
        i = (frame.stream_id - 1) / 2;
        assert_int_equal(frame.type, TTRPC_FRAME_DATA);
        assert_in_range(i, 0, FLOODS - 1);
        if (frame.flags & TTRPC_FLAG_REMOTE_CLOSED) {
                assert_int_equal(flood->n_got[i], FLOOD_MESSAGES);
                flood->n_closed++;
        } else {
                response = test__ttrpc__echo_response__unpack(NULL, frame.length,
                                                              bytes + TTRPC_HEADER_SIZE);
                assert_non_null(response);
                assert_int_equal(response->number, flood->n_got[i]++);
                test__ttrpc__echo_response__free_unpacked(response, NULL);
        }
        free(bytes);
}

static unsigned flood_lead(const struct flood *flood)
{
        unsigned most = 0;
        unsigned least = FLOOD_MESSAGES;

        for (unsigned i = 0; i < FLOODS; i++) {
                most = flood->n_got[i] > most ? flood->n_got[i] : most;
                least = flood->n_got[i] < least ? flood->n_got[i] : least;
        }
        return most - least;
}

static void who_comes_next_in_turn_is_the_same_in_the_next_image(void **state)
{
        struct flood flood = {0};
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        for (unsigned i = 0; i < FLOODS; i++)
                count_open(&w.peer, 2 * i + 1, FLOOD_MESSAGES);
        /* Often enough that no image sees a whole circle. */
        for (unsigned n = 1; flood.n_closed < FLOODS; n++) {
                flood_take(&flood, &w.peer);
                assert_in_range(flood_lead(&flood), 0, 2 * FLOOD_QUEUED);
                if (n % FLOOD_QUEUED == 0)
                        world_reexec(&w);
        }
        assert_int_equal(w.control->n_dropped, 0);
        world_stop(&w);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_frame_that_is_cut_at_any_byte_is_whole_in_the_next_image),
                cmocka_unit_test(a_call_that_waits_is_answered_two_images_later),
                cmocka_unit_test(a_big_answer_goes_on_where_it_was),
                cmocka_unit_test(without_a_descriptor_a_large_answer_makes_it_wait),
                cmocka_unit_test(
                        without_a_descriptor_a_large_request_that_is_half_read_makes_it_wait),
                cmocka_unit_test(a_deadline_is_the_same_in_the_next_image),
                cmocka_unit_test(who_has_half_closed_still_gets_the_answer),
                cmocka_unit_test(an_id_cannot_be_used_again_in_the_next_image),
                cmocka_unit_test(a_stream_that_is_refused_ends_with_unavailable),
                cmocka_unit_test(a_stream_goes_on_in_the_next_image),
                cmocka_unit_test(who_comes_next_in_turn_is_the_same_in_the_next_image),
        };

        if (argc != 2)
                return 2;
        world_set_image(argv[1]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
