/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that stream, on the server's side: what it says to a peer of raw bytes. The service is
 * chat.h's.
 */
#include <stdlib.h>
#include <string.h>

#include "pkg/ttrpc/limits.h"

#include "test/unit/ttrpc/chat.h"
#include "test/unit/unit.h"

static void send_data(struct peer *p, uint32_t id, uint8_t flags, const char *body)
{
        peer_send_frame(p, id, TTRPC_FRAME_DATA, flags, body, strlen(body));
}

static void expect_frame(struct peer *p, uint32_t id, uint8_t type, uint8_t flags, const char *body)
{
        size_t len = 0;
        uint8_t *bytes = peer_read_bytes(p, &len);
        struct ttrpc_frame frame = ttrpc_frame_decode(bytes);

        assert_int_equal(frame.stream_id, id);
        assert_int_equal(frame.type, type);
        assert_int_equal(frame.flags, flags);
        assert_int_equal(frame.length, strlen(body));
        assert_memory_equal(bytes + TTRPC_HEADER_SIZE, body, strlen(body));
        free(bytes);
}

static const uint8_t closed = TTRPC_FLAG_REMOTE_CLOSED | TTRPC_FLAG_NO_DATA;

static void a_conversation_has_the_bytes_of_the_protocol(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_data(&h->peer, 1, 0, "\x0a\x02hi");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, 0, "\x0a\x02hi");
        send_data(&h->peer, 1, closed, "");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
        assert_int_equal(chat_log.n_messages, 1);
        send_data(&h->peer, 1, 0, "\x0a\x02hi");
        peer_expect_status(&h->peer, 1, STATUS_INVALID_ARGUMENT, "StreamID is no longer active");
}

static void an_empty_message_is_a_message(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_data(&h->peer, 1, 0, "");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, 0, "");
        send_data(&h->peer, 1, TTRPC_FLAG_NO_DATA, "");
        send_data(&h->peer, 1, closed, "");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
        assert_int_equal(chat_log.n_messages, 1);
}

static void the_last_message_may_close_the_stream(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Sum", "");
        send_data(&h->peer, 1, 0, "\x18\x05");
        send_data(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "\x18\x07");
        expect_frame(&h->peer, 1, TTRPC_FRAME_RESPONSE, 0, "\x12\x02\x18\x0c");
}

static void a_request_that_carries_all_is_a_whole_stream(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Sum", "\x18\x05");
        expect_frame(&h->peer, 1, TTRPC_FRAME_RESPONSE, 0, "\x12\x02\x18\x05");
}

static void what_comes_with_the_first_frame_is_a_message(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "\x0a\x01x");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, 0, "\x0a\x01x");
        send_data(&h->peer, 1, closed, "");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
}

static void data_for_no_stream_is_refused(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Count", "\x18\x0b");
        send_data(&h->peer, 3, 0, "");
        for (uint8_t i = 0; i < 11; i++)
                free(peer_read_bytes(&h->peer, &(size_t){0}));
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
        peer_expect_status(&h->peer, 3, STATUS_INVALID_ARGUMENT, "StreamID is no longer active");
}

static void a_second_request_to_a_method_that_takes_one_is_refused(void **state)
{
        struct harness *h = *state;

        peer_pause(&h->peer, true);
        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Count", "\x18\xff\x7f");
        send_data(&h->peer, 1, closed, ""); /* harmless */
        harness_settle(h);
        assert_int_equal(chat_log.n_live, 1);
        send_data(&h->peer, 1, 0, "\x18\x01");
        harness_settle(h);
        assert_int_equal(chat_log.n_live, 0);
        assert_int_equal(chat_log.n_cancelled, 1);
}

static void a_stream_of_requests_to_a_method_that_takes_none_is_refused(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Count", "\x18\x01");
        peer_expect_status(&h->peer, 1, STATUS_INVALID_ARGUMENT,
                           "method Count takes no stream of requests");
}

static void a_message_that_is_none_ends_its_stream_only(void **state)
{
        struct harness *h = *state;
        static struct answer answer;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        chat_open(&h->peer, 3, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_data(&h->peer, 1, 0, "\x0a\x7fshort");
        peer_read(&h->peer, &answer);
        assert_int_equal(answer.frame.stream_id, 1);
        assert_int_equal(answer.code, STATUS_INTERNAL);
        assert_int_equal(chat_log.n_cancelled, 1);
        send_data(&h->peer, 3, 0, "\x0a\x02hi");
        expect_frame(&h->peer, 3, TTRPC_FRAME_DATA, 0, "\x0a\x02hi");
}

static void a_failure_ends_the_stream_with_a_status(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_data(&h->peer, 1, 0, "\x0a\x02no\x18\x09");
        peer_expect_status(&h->peer, 1, STATUS_FAILED_PRECONDITION, "no");
}

static void a_lost_connection_cancels_its_streams(void **state)
{
        struct harness *h = *state;

        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        chat_open(&h->peer, 3, TTRPC_FLAG_REMOTE_OPEN, "Sum", "");
        harness_settle(h);
        assert_int_equal(chat_log.n_live, 2);
        peer_deinit(&h->peer);
        harness_settle(h);
        assert_int_equal(chat_log.n_cancelled, 2);
}

static void a_connection_carries_so_many_streams_and_no_more(void **state)
{
        struct harness *h = *state;
        uint32_t id = 1;

        for (int i = 0; i < TTRPC_STREAMS_PER_CONNECTION_MAX; i++, id += 2)
                chat_open(&h->peer, id, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        chat_open(&h->peer, id, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        peer_expect_status(&h->peer, id, STATUS_RESOURCE_EXHAUSTED,
                           "ttrpc: the connection carries 32 streams already");
        peer_call(&h->peer, id + 2, "Echo", "unary calls go on", 0);
        peer_expect_echo(&h->peer, id + 2, "unary calls go on");
        send_data(&h->peer, 1, closed, "");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
        chat_open(&h->peer, id + 4, TTRPC_FLAG_REMOTE_OPEN, "Talk", "\x0a\x01x");
        expect_frame(&h->peer, id + 4, TTRPC_FRAME_DATA, 0, "\x0a\x01x");
}

/* A reader that pauses costs no more than the stream's room, and misses nothing. */
static void a_slow_reader_gets_everything_in_order(void **state)
{
        struct harness *h = *state;
        Test__Ttrpc__EchoResponse *response;
        size_t len = 0;

        peer_pause(&h->peer, true);
        chat_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Count", "\x18\x88\x27"); /* 5000 */
        harness_settle(h);
        assert_int_equal(chat_log.n_live, 1);
        peer_pause(&h->peer, false);
        for (uint64_t i = 0; i < 5000; i++) {
                uint8_t *bytes = peer_read_bytes(&h->peer, &len);

                response = test__ttrpc__echo_response__unpack(NULL, len - TTRPC_HEADER_SIZE,
                                                              bytes + TTRPC_HEADER_SIZE);
                assert_non_null(response);
                assert_int_equal(response->number, i);
                test__ttrpc__echo_response__free_unpacked(response, NULL);
                free(bytes);
        }
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
        assert_true(chat_log.n_rooms > 5000 * 1000 / TTRPC_STREAM_QUEUED_MAX / 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, chat_setup, chat_teardown)
        const struct CMUnitTest tests[] = {
                T(a_conversation_has_the_bytes_of_the_protocol),
                T(an_empty_message_is_a_message),
                T(the_last_message_may_close_the_stream),
                T(a_request_that_carries_all_is_a_whole_stream),
                T(what_comes_with_the_first_frame_is_a_message),
                T(data_for_no_stream_is_refused),
                T(a_second_request_to_a_method_that_takes_one_is_refused),
                T(a_stream_of_requests_to_a_method_that_takes_none_is_refused),
                T(a_message_that_is_none_ends_its_stream_only),
                T(a_failure_ends_the_stream_with_a_status),
                T(a_lost_connection_cancels_its_streams),
                T(a_connection_carries_so_many_streams_and_no_more),
                T(a_slow_reader_gets_everything_in_order),
        };
#undef T
        return cmocka_run_group_tests(tests, NULL, NULL);
}
