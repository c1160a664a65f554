/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server says to whatever a peer sends, byte by byte if need be. The statuses and texts are
 * the protocol's; see harness.h for how a test runs.
 */
#include <stdlib.h>
#include <string.h>

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

static int setup(void **state)
{
        static struct harness h;

        harness_init(&h, NULL);
        *state = &h;
        return 0;
}

static int teardown(void **state)
{
        harness_deinit(*state);
        return 0;
}

/* The server is well, and the last request got exactly the answers that were read. */
static void expect_alive(struct harness *h, uint32_t id)
{
        peer_call(&h->peer, id, "Echo", "alive", 0);
        peer_expect_echo(&h->peer, id, "alive");
        assert_int_equal(h->peer.n_in, 0);
}

static void send_request_bytes(struct harness *h, uint32_t id, const char *body, size_t len)
{
        peer_send_frame(&h->peer, id, TTRPC_FRAME_REQUEST, 0, body, len);
}

/* ---- Good requests, in any cut ---- */

static void a_call_is_answered(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 1, "Echo", "hello", 7);
        peer_expect_echo(&h->peer, 1, "hello");
        peer_call(&h->peer, 3, "Echo", "again", 7);
        peer_expect_echo(&h->peer, 3, "again");
}

static void an_answer_has_exactly_the_bytes_of_the_protocol(void **state)
{
        struct harness *h = *state;
        static const char expected[] = "\0\0\0\x06\0\0\0\x01\x02\0"
                                       "\x12\x04\x0a\x02hi";
        size_t len = 0;
        uint8_t *bytes;

        peer_call(&h->peer, 1, "Echo", "hi", 0);
        bytes = peer_read_bytes(&h->peer, &len);
        assert_int_equal(len, sizeof(expected) - 1);
        assert_memory_equal(bytes, expected, len);
        free(bytes);
}

static void calls_may_be_answered_out_of_order(void **state)
{
        struct harness *h = *state;

        for (uint32_t id = 1; id <= 9; id += 2)
                peer_call(&h->peer, id, "Keep", "", 0);
        peer_call(&h->peer, 11, "Echo", "between", 0);
        peer_expect_echo(&h->peer, 11, "between");
        assert_int_equal(h->n_kept, 5);
        kept_reply(h, 3, "d");
        kept_reply(h, 0, "a");
        kept_reply(h, 4, "e");
        peer_expect_echo(&h->peer, 7, "d");
        peer_expect_echo(&h->peer, 1, "a");
        peer_expect_echo(&h->peer, 9, "e");
        kept_reply(h, 1, "b");
        kept_reply(h, 2, "c");
        peer_expect_echo(&h->peer, 3, "b");
        peer_expect_echo(&h->peer, 5, "c");
}

static uint8_t *two_requests(size_t *ret_len)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        size_t n1 = 0;
        size_t n2 = 0;
        uint8_t *one;
        uint8_t *two;

        request.text = (char *)"first";
        one = request_new(1, "Echo", &request, 0, &n1);
        request.text = (char *)"second";
        two = request_new(3, "Echo", &request, 0, &n2);
        one = realloc(one, n1 + n2);
        assert_non_null(one);
        memcpy(one + n1, two, n2);
        free(two);
        *ret_len = n1 + n2;
        return one;
}

static void requests_may_come_byte_by_byte(void **state)
{
        struct harness *h = *state;
        size_t len = 0;
        uint8_t *bytes = two_requests(&len);

        for (size_t i = 0; i < len; i++) {
                peer_write(&h->peer, bytes + i, 1);
                harness_settle(h);
        }
        peer_expect_echo(&h->peer, 1, "first");
        peer_expect_echo(&h->peer, 3, "second");
        free(bytes);
}

static void requests_may_be_cut_anywhere(void **state)
{
        struct harness *h = *state;
        size_t len = 0;
        uint8_t *bytes = two_requests(&len);

        for (size_t cut = 0; cut <= len; cut++) {
                struct peer p;

                peer_init(&p, h);
                peer_write(&p, bytes, cut);
                harness_settle(h);
                peer_write(&p, bytes + cut, len - cut);
                peer_expect_echo(&p, 1, "first");
                peer_expect_echo(&p, 3, "second");
                peer_deinit(&p);
        }
        free(bytes);
}

static void many_requests_may_come_in_one_write(void **state)
{
        struct harness *h = *state;
        enum { N = 1000 };
        uint8_t *all = NULL;
        size_t n_all = 0;

        for (uint32_t i = 0; i < N; i++) {
                Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
                size_t len = 0;
                uint8_t *bytes;

                request.text = (char *)"x";
                bytes = request_new(2 * i + 1, "Echo", &request, 0, &len);
                all = realloc(all, n_all + len);
                assert_non_null(all);
                memcpy(all + n_all, bytes, len);
                n_all += len;
                free(bytes);
        }
        peer_write(&h->peer, all, n_all);
        for (uint32_t i = 0; i < N; i++)
                peer_expect_echo(&h->peer, 2 * i + 1, "x");
        free(all);
}

static void half_frames_of_two_peers_do_not_mix(void **state)
{
        struct harness *h = *state;
        struct peer other;
        size_t len = 0;
        uint8_t *bytes = two_requests(&len);

        peer_init(&other, h);
        for (size_t i = 0; i < len; i += 7) {
                size_t n = len - i < 7 ? len - i : 7;

                peer_write(&h->peer, bytes + i, n);
                harness_settle(h);
                peer_write(&other, bytes + i, n);
                harness_settle(h);
        }
        peer_expect_echo(&h->peer, 1, "first");
        peer_expect_echo(&other, 1, "first");
        peer_expect_echo(&h->peer, 3, "second");
        peer_expect_echo(&other, 3, "second");
        peer_deinit(&other);
        free(bytes);
}

static void a_large_message_comes_and_goes_whole(void **state)
{
        struct harness *h = *state;
        enum { N = 3 << 20 };
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        Test__Ttrpc__EchoResponse *response;
        static struct answer answer;
        uint8_t *data = malloc(N);
        size_t len = 0;
        uint8_t *bytes;

        assert_non_null(data);
        for (size_t i = 0; i < N; i++)
                data[i] = (uint8_t)(i * 31 + i / 256);
        request.data.data = data;
        request.data.len = N;
        bytes = request_new(1, "Echo", &request, 0, &len);
        peer_write(&h->peer, bytes, len);
        peer_read(&h->peer, &answer);
        response = test__ttrpc__echo_response__unpack(NULL, answer.n_payload, answer.payload);
        assert_non_null(response);
        assert_int_equal(response->data.len, N);
        assert_memory_equal(response->data.data, data, N);
        test__ttrpc__echo_response__free_unpacked(response, NULL);
        free(bytes);
        free(data);
        expect_alive(h, 3);
}

static void a_payload_may_be_empty_or_absent(void **state)
{
        static const char absent[] = "\x0a\x0ftest.ttrpc.Echo\x12\x04"
                                     "Echo";
        static const char empty[] = "\x0a\x0ftest.ttrpc.Echo\x12\x04"
                                    "Echo\x1a\x00";
        struct harness *h = *state;

        send_request_bytes(h, 1, absent, sizeof(absent) - 1);
        peer_expect_echo(&h->peer, 1, "");
        send_request_bytes(h, 3, empty, sizeof(empty) - 1);
        peer_expect_echo(&h->peer, 3, "");
}

static void ids_may_skip(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 101, "Echo", "a", 0);
        peer_expect_echo(&h->peer, 101, "a");
        peer_call(&h->peer, 0xffffffff, "Echo", "b", 0);
        peer_expect_echo(&h->peer, 0xffffffff, "b");
}

static void hook_metadata(struct harness *h, struct ttrpc_call *call)
{
        assert_string_equal(ttrpc_call_metadata(call, "k"), "v1");
        assert_string_equal(ttrpc_call_metadata(call, ""), "");
        assert_null(ttrpc_call_metadata(call, "other"));
        assert_string_equal(ttrpc_call_service(call), "test.ttrpc.Echo");
        assert_string_equal(ttrpc_call_method(call), "Hook");
        assert_true(ttrpc_call_deadline_ns(call) == 0);
        assert_non_null(arena_strdup(ttrpc_call_arena(call), "scratch"));
        ttrpc_call_fail(call, STATUS_ABORTED, "seen");
}

static void a_handler_sees_service_method_and_metadata(void **state)
{
        static const char body[] = "\x0a\x0ftest.ttrpc.Echo\x12\x04"
                                   "Hook\x2a\x07\x0a\x01k\x12\x02v1\x2a\x07\x0a\x01k\x12\x02v2\x2a"
                                   "\x00";
        struct harness *h = *state;

        h->hook = hook_metadata;
        send_request_bytes(h, 1, body, sizeof(body) - 1);
        peer_expect_status(&h->peer, 1, STATUS_ABORTED, "seen");
}

/* ---- Failures of a handler ---- */

static void a_failure_carries_code_and_text(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 1, "Fail", "no such thing", STATUS_NOT_FOUND);
        peer_expect_status(&h->peer, 1, STATUS_NOT_FOUND, "no such thing");
}

static void a_failure_without_a_code_is_still_a_failure(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 1, "Fail", "what", STATUS_OK);
        peer_expect_status(&h->peer, 1, STATUS_UNKNOWN, "what");
}

static void the_text_of_a_failure_is_made_valid_utf8(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 1, "Fail", "gr\xc3\xbc\xc3\xdf \xff", STATUS_INTERNAL);
        peer_expect_status(&h->peer, 1, STATUS_INTERNAL, "gr\xc3\xbc?? ?");
}

static void a_long_text_is_cut(void **state)
{
        struct harness *h = *state;
        static char text[TTRPC_STATUS_TEXT_MAX * 2 + 1];

        memset(text, 'x', sizeof(text) - 1);
        peer_call(&h->peer, 1, "Fail", text, STATUS_INTERNAL);
        text[TTRPC_STATUS_TEXT_MAX - 1] = '\0';
        peer_expect_status(&h->peer, 1, STATUS_INTERNAL, text);
}

static void hook_fail_error(struct harness *h, struct ttrpc_call *call)
{
        struct error err = ERROR_INIT;

        (void)error_errno(&err, 2, "open \xfe");
        ttrpc_call_fail_error(call, &err);
}

static void an_error_value_becomes_a_status(void **state)
{
        struct harness *h = *state;

        h->hook = hook_fail_error;
        peer_call(&h->peer, 1, "Hook", "", 0);
        peer_expect_status(&h->peer, 1, STATUS_UNKNOWN, "open ?: No such file or directory");
}

/* ---- Bad requests ---- */

static void an_even_id_is_refused(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 2, "Echo", "x", 0);
        peer_expect_status(&h->peer, 2, STATUS_INVALID_ARGUMENT,
                           "StreamID must be odd for client initiated streams");
        peer_send_frame(&h->peer, 0, TTRPC_FRAME_DATA, 0, "x", 1);
        peer_expect_status(&h->peer, 0, STATUS_INVALID_ARGUMENT,
                           "StreamID must be odd for client initiated streams");
        assert_int_equal(h->n_echoed, 0);
        expect_alive(h, 1);
}

static void an_id_that_does_not_increase_is_refused(void **state)
{
        struct harness *h = *state;

        expect_alive(h, 5);
        for (uint32_t id = 5; id >= 1 && id <= 5; id -= 2) {
                peer_call(&h->peer, id, "Echo", "x", 0);
                peer_expect_status(&h->peer, id, STATUS_INVALID_ARGUMENT,
                                   "StreamID cannot be re-used and must increment");
        }
        expect_alive(h, 7);
}

static void an_undecodable_envelope_is_refused(void **state)
{
        struct harness *h = *state;

        send_request_bytes(h, 1, "\x0a\x7f", 2);
        peer_expect_status(&h->peer, 1, STATUS_INVALID_ARGUMENT,
                           "unmarshal request error: unexpected end of message");
        expect_alive(h, 3);
}

static void an_undecodable_payload_is_refused(void **state)
{
        static const char body[] = "\x0a\x0ftest.ttrpc.Echo\x12\x04"
                                   "Echo\x1a\x02\x0a\x7f";
        struct harness *h = *state;

        send_request_bytes(h, 1, body, sizeof(body) - 1);
        peer_expect_status(&h->peer, 1, STATUS_INTERNAL,
                           "ttrpc: error unmarshalling payload: 2 bytes are no valid "
                           "test.ttrpc.EchoRequest");
        expect_alive(h, 3);
}

static void unknown_services_and_methods_are_unimplemented(void **state)
{
        struct harness *h = *state;

        send_request_bytes(h, 1, "\x0a\x03x.Y\x12\x01Z", 8);
        peer_expect_status(&h->peer, 1, STATUS_UNIMPLEMENTED, "service x.Y");
        send_request_bytes(h, 3, "", 0);
        peer_expect_status(&h->peer, 3, STATUS_UNIMPLEMENTED, "service ");
        peer_call(&h->peer, 5, "Ech", "", 0);
        peer_expect_status(&h->peer, 5, STATUS_UNIMPLEMENTED, "method Ech");
        peer_call(&h->peer, 7, "Nobody", "", 0);
        peer_expect_status(&h->peer, 7, STATUS_UNIMPLEMENTED, "method Nobody");
        peer_call(&h->peer, 9, "\xff\n", "", 0);
        peer_expect_status(&h->peer, 9, STATUS_UNIMPLEMENTED, "method ?\n");
        expect_alive(h, 11);
}

static void unknown_frames_are_ignored(void **state)
{
        struct harness *h = *state;

        for (unsigned type = 0; type <= 255; type++) {
                if (type != TTRPC_FRAME_REQUEST && type != TTRPC_FRAME_DATA)
                        peer_send_frame(&h->peer, type, (uint8_t)type, 0xff, "body", 4);
        }
        expect_alive(h, 1);
}

static void data_without_a_stream_is_refused(void **state)
{
        struct harness *h = *state;

        peer_send_frame(&h->peer, 1, TTRPC_FRAME_DATA, 0, "x", 1);
        peer_expect_status(&h->peer, 1, STATUS_INVALID_ARGUMENT, "StreamID is no longer active");
        peer_call(&h->peer, 1, "Echo", "x", 0);
        peer_expect_echo(&h->peer, 1, "x");
        peer_send_frame(&h->peer, 1, TTRPC_FRAME_DATA, TTRPC_FLAG_REMOTE_CLOSED, NULL, 0);
        peer_expect_status(&h->peer, 1, STATUS_INVALID_ARGUMENT, "StreamID is no longer active");
        expect_alive(h, 3);
}

static void data_on_a_unary_call_ends_it_once(void **state)
{
        struct harness *h = *state;

        h->cancellable = true;
        peer_call(&h->peer, 1, "Keep", "", 0);
        harness_settle(h);
        h->cancellable = false;
        peer_call(&h->peer, 3, "Keep", "", 0);
        for (uint32_t id = 1; id <= 3; id += 2) {
                peer_send_frame(&h->peer, id, TTRPC_FRAME_DATA, 0, "x", 1);
                peer_expect_status(&h->peer, id, STATUS_INVALID_ARGUMENT,
                                   "unary call takes no stream data");
        }
        assert_int_equal(h->n_cancelled, 1);
        assert_null(h->kept[0]);
        kept_reply(h, 1, "too late");
        expect_alive(h, 5);
}

static uint8_t *flagged_request(uint32_t id, uint8_t flags, size_t *ret_len)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        uint8_t *bytes;

        request.text = (char *)"flagged";
        bytes = request_new(id, "Echo", &request, 0, ret_len);
        bytes[9] = flags;
        return bytes;
}

static void a_stream_of_requests_to_a_unary_method_is_refused(void **state)
{
        struct harness *h = *state;
        size_t len = 0;
        uint8_t *bytes = flagged_request(1, TTRPC_FLAG_REMOTE_OPEN, &len);

        peer_write(&h->peer, bytes, len);
        peer_expect_status(&h->peer, 1, STATUS_INVALID_ARGUMENT,
                           "method Echo takes no stream of requests");
        assert_int_equal(h->n_echoed, 0);
        free(bytes);
        bytes = flagged_request(3, TTRPC_FLAG_REMOTE_CLOSED, &len);
        peer_write(&h->peer, bytes, len);
        peer_expect_echo(&h->peer, 3, "flagged");
        free(bytes);
}

static void garbage_costs_only_its_sender(void **state)
{
        struct harness *h = *state;
        uint64_t seed = 1;

        for (int round = 0; round < 200; round++) {
                uint8_t bytes[300];
                struct peer p;

                for (size_t i = 0; i < sizeof(bytes); i++) {
                        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
                        bytes[i] = (uint8_t)(seed >> 56);
                }
                /* Half of them look like small requests on a good stream. */
                if (round % 2 == 0)
                        memcpy(bytes, "\0\0\0\x40\0\0\0\1\1\0", 10);
                peer_init(&p, h);
                peer_write(&p, bytes, sizeof(bytes));
                harness_settle(h);
                peer_deinit(&p);
                harness_settle(h);
        }
        assert_int_equal(ttrpc_server_n_connections(h->server), 1);
        expect_alive(h, 1);
}

/* ---- Registration ---- */

static void a_service_is_registered_once(void **state)
{
        static const ttrpc_handler none[8] = {0};
        struct harness *h = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(
                ttrpc_server_register(h->server, &test__ttrpc__echo__descriptor, none, h, &err),
                -1);
        assert_int_equal(err.code, STATUS_ALREADY_EXISTS);
}

static void walk(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
        ttrpc_call_fail(call, STATUS_INTERNAL, "walked");
}

static void a_method_whose_request_contains_itself_is_refused(void **state)
{
        static const ttrpc_handler some[] = {walk, NULL};
        static const ttrpc_handler none[] = {NULL, NULL};
        struct harness *h = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(
                ttrpc_server_register(h->server, &test__ttrpc__forest__descriptor, some, h, &err),
                -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        assert_string_equal(err.msg, "ttrpc service test.ttrpc.Forest: method Walk: message type "
                                     "test.ttrpc.Tree is recursive at test.ttrpc.Tree");
        assert_int_equal(
                ttrpc_server_register(h->server, &test__ttrpc__forest__descriptor, none, h, &err),
                0);
}

#define SERVER_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                SERVER_TEST(a_call_is_answered),
                SERVER_TEST(an_answer_has_exactly_the_bytes_of_the_protocol),
                SERVER_TEST(calls_may_be_answered_out_of_order),
                SERVER_TEST(requests_may_come_byte_by_byte),
                SERVER_TEST(requests_may_be_cut_anywhere),
                SERVER_TEST(many_requests_may_come_in_one_write),
                SERVER_TEST(half_frames_of_two_peers_do_not_mix),
                SERVER_TEST(a_large_message_comes_and_goes_whole),
                SERVER_TEST(a_payload_may_be_empty_or_absent),
                SERVER_TEST(ids_may_skip),
                SERVER_TEST(a_handler_sees_service_method_and_metadata),
                SERVER_TEST(a_failure_carries_code_and_text),
                SERVER_TEST(a_failure_without_a_code_is_still_a_failure),
                SERVER_TEST(the_text_of_a_failure_is_made_valid_utf8),
                SERVER_TEST(a_long_text_is_cut),
                SERVER_TEST(an_error_value_becomes_a_status),
                SERVER_TEST(an_even_id_is_refused),
                SERVER_TEST(an_id_that_does_not_increase_is_refused),
                SERVER_TEST(an_undecodable_envelope_is_refused),
                SERVER_TEST(an_undecodable_payload_is_refused),
                SERVER_TEST(unknown_services_and_methods_are_unimplemented),
                SERVER_TEST(unknown_frames_are_ignored),
                SERVER_TEST(data_without_a_stream_is_refused),
                SERVER_TEST(data_on_a_unary_call_ends_it_once),
                SERVER_TEST(a_stream_of_requests_to_a_unary_method_is_refused),
                SERVER_TEST(garbage_costs_only_its_sender),
                SERVER_TEST(a_service_is_registered_once),
                SERVER_TEST(a_method_whose_request_contains_itself_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
