/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that stream: first against a peer of raw bytes, then the library's client and server with
 * each other. The service counts, sums up, and sends back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pkg/base/cleanup.h"
#include "pkg/ttrpc/limits.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

enum { COUNT, SUM, TALK };

/* ---- The service ---- */

struct chat {
        struct ttrpc_call *call;
        struct chat_log *log;
        uint64_t next, end, sum;
};

/* What the tests ask for afterwards. */
struct chat_log {
        size_t n_cancelled, n_messages, n_half_closed, n_rooms, n_live;
};

static struct chat_log chat_log;

static void chat_free(struct chat *chat)
{
        chat->log->n_live--;
        free(chat);
}

static void chat_on_cancel(struct ttrpc_call *call, void *userdata)
{
        struct chat *chat = userdata;

        chat->log->n_cancelled++;
        chat_free(chat);
}

static struct chat *chat_new(struct ttrpc_call *call)
{
        struct chat *chat = calloc(1, sizeof(*chat));

        assert_non_null(chat);
        chat->call = call;
        chat->log = &chat_log;
        chat->log->n_live++;
        ttrpc_call_on_cancel(call, chat_on_cancel, chat);
        return chat;
}

/* Counts as far as there is room. */
static void count_on(struct ttrpc_call *call, void *userdata)
{
        static uint8_t padding[1000];
        struct chat *chat = userdata;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct error err = ERROR_INIT;

        chat->log->n_rooms++;
        response.data.data = padding;
        response.data.len = sizeof(padding);
        while (chat->next < chat->end) {
                response.number = chat->next;
                if (test__ttrpc__echo_response__get_packed_size(&response) + TTRPC_FRAME_COST >
                    ttrpc_call_room(call))
                        return;
                assert_int_equal(ttrpc_call_send(call, &response.base, &err), 0);
                chat->next++;
        }
        ttrpc_call_end(call);
        chat_free(chat);
}

static const struct ttrpc_stream_ops count_ops = {.on_room = count_on};

static void handle_count(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct chat *chat = chat_new(call);

        chat->end = request->number;
        ttrpc_call_on_stream(call, &count_ops, chat);
        count_on(call, chat);
}

static void sum_on_message(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct chat *chat = userdata;

        chat->log->n_messages++;
        chat->sum += request->number;
}

static void sum_on_half_close(struct ttrpc_call *call, void *userdata)
{
        struct chat *chat = userdata;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        chat->log->n_half_closed++;
        response.number = chat->sum;
        ttrpc_call_reply(call, &response.base);
        chat_free(chat);
}

static const struct ttrpc_stream_ops sum_ops = {
        .on_message = sum_on_message,
        .on_half_close = sum_on_half_close,
};

static void handle_sum(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        assert_null(message);
        ttrpc_call_on_stream(call, &sum_ops, chat_new(call));
}

static void talk_on_message(struct ttrpc_call *call, const ProtobufCMessage *message,
                            void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct chat *chat = userdata;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct error err = ERROR_INIT;

        chat->log->n_messages++;
        if (request->number != 0) {
                ttrpc_call_fail(call, (int)request->number, "%s", request->text);
                chat_free(chat);
                return;
        }
        response.text = request->text;
        assert_int_equal(ttrpc_call_send(call, &response.base, &err), 0);
}

static void talk_on_half_close(struct ttrpc_call *call, void *userdata)
{
        struct chat *chat = userdata;

        chat->log->n_half_closed++;
        ttrpc_call_end(call);
        chat_free(chat);
}

static const struct ttrpc_stream_ops talk_ops = {
        .on_message = talk_on_message,
        .on_half_close = talk_on_half_close,
};

static void handle_talk(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        ttrpc_call_on_stream(call, &talk_ops, chat_new(call));
}

static const enum ttrpc_kind kinds[] = {TTRPC_SERVER_STREAM, TTRPC_CLIENT_STREAM,
                                        TTRPC_BIDI_STREAM};
static const ttrpc_handler handlers[] = {handle_count, handle_sum, handle_talk};

static int setup(void **state)
{
        static struct harness h;
        struct error err = ERROR_INIT;

        memset(&chat_log, 0, sizeof(chat_log));
        harness_init(&h, NULL);
        assert_int_equal(ttrpc_server_register_streaming(h.server, &test__ttrpc__chat__descriptor,
                                                         kinds, handlers, &h, &err),
                         0);
        *state = &h;
        return 0;
}

static int teardown(void **state)
{
        harness_deinit(*state);
        assert_int_equal(chat_log.n_live, 0);
        return 0;
}

/* ---- A peer of raw bytes ---- */

/* A Request of the service Chat whose payload is given; short names, so one byte of length each. */
static void send_open(struct peer *p, uint32_t id, uint8_t flags, const char *method,
                      const char *payload)
{
        char body[256];
        int n = snprintf(body, sizeof(body), "\x0a%c%s\x12%c%s\x1a%c%s",
                         (int)strlen("test.ttrpc.Chat"), "test.ttrpc.Chat", (int)strlen(method),
                         method, (int)strlen(payload), payload);

        if (payload[0] == '\0')
                n -= 1; /* the %c of its length has ended the text */
        peer_send_frame(p, id, TTRPC_FRAME_REQUEST, flags, body, (size_t)n - (payload[0] == '\0'));
}

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

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
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

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
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

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Sum", "");
        send_data(&h->peer, 1, 0, "\x18\x05");
        send_data(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "\x18\x07");
        expect_frame(&h->peer, 1, TTRPC_FRAME_RESPONSE, 0, "\x12\x02\x18\x0c");
}

static void a_request_that_carries_all_is_a_whole_stream(void **state)
{
        struct harness *h = *state;

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Sum", "\x18\x05");
        expect_frame(&h->peer, 1, TTRPC_FRAME_RESPONSE, 0, "\x12\x02\x18\x05");
}

static void what_comes_with_the_first_frame_is_a_message(void **state)
{
        struct harness *h = *state;

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "\x0a\x01x");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, 0, "\x0a\x01x");
        send_data(&h->peer, 1, closed, "");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
}

static void data_for_no_stream_is_refused(void **state)
{
        struct harness *h = *state;

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Count", "\x18\x0b");
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
        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Count", "\x18\xff\x7f");
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

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Count", "\x18\x01");
        peer_expect_status(&h->peer, 1, STATUS_INVALID_ARGUMENT,
                           "method Count takes no stream of requests");
}

static void a_message_that_is_none_ends_its_stream_only(void **state)
{
        struct harness *h = *state;
        static struct answer answer;

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_open(&h->peer, 3, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
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

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_data(&h->peer, 1, 0, "\x0a\x02no\x18\x09");
        peer_expect_status(&h->peer, 1, STATUS_FAILED_PRECONDITION, "no");
}

static void a_lost_connection_cancels_its_streams(void **state)
{
        struct harness *h = *state;

        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_open(&h->peer, 3, TTRPC_FLAG_REMOTE_OPEN, "Sum", "");
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
                send_open(&h->peer, id, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        send_open(&h->peer, id, TTRPC_FLAG_REMOTE_OPEN, "Talk", "");
        peer_expect_status(&h->peer, id, STATUS_RESOURCE_EXHAUSTED,
                           "ttrpc: the connection carries 32 streams already");
        peer_call(&h->peer, id + 2, "Echo", "unary calls go on", 0);
        peer_expect_echo(&h->peer, id + 2, "unary calls go on");
        send_data(&h->peer, 1, closed, "");
        expect_frame(&h->peer, 1, TTRPC_FRAME_DATA, closed, "");
        send_open(&h->peer, id + 4, TTRPC_FLAG_REMOTE_OPEN, "Talk", "\x0a\x01x");
        expect_frame(&h->peer, id + 4, TTRPC_FRAME_DATA, 0, "\x0a\x01x");
}

/* A reader that pauses costs no more than the stream's room, and misses nothing. */
static void a_slow_reader_gets_everything_in_order(void **state)
{
        struct harness *h = *state;
        Test__Ttrpc__EchoResponse *response;
        size_t len = 0;

        peer_pause(&h->peer, true);
        send_open(&h->peer, 1, TTRPC_FLAG_REMOTE_CLOSED, "Count", "\x18\x88\x27"); /* 5000 */
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

/* ---- The library's own client ---- */

struct caller {
        struct harness *h;
        struct ttrpc_client *client;
        struct ttrpc_client_stream *stream;
        size_t n_messages;
        uint64_t last;
        char text[64];
        size_t n_ends;
        int code;
        char why[512];
        size_t free_after; /* frees its stream in this message */
};

static void caller_on_message(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                              void *userdata)
{
        const Test__Ttrpc__EchoResponse *response = (const void *)message;
        struct caller *c = userdata;

        assert_ptr_equal(stream, c->stream);
        c->n_messages++;
        c->last = response->number;
        (void)snprintf(c->text, sizeof(c->text), "%s", response->text);
        if (c->n_messages == c->free_after) {
                c->stream = ttrpc_client_stream_free(c->stream);
                loop_quit(c->h->loop);
        }
}

static void caller_on_end(struct ttrpc_client_stream *stream, const struct error *err,
                          void *userdata)
{
        struct caller *c = userdata;

        c->n_ends++;
        c->code = err ? err->code : STATUS_OK;
        (void)snprintf(c->why, sizeof(c->why), "%s", err ? err->msg : "");
        c->stream = ttrpc_client_stream_free(stream);
        loop_quit(c->h->loop);
}

static const struct ttrpc_client_stream_ops caller_ops = {
        .on_message = caller_on_message,
        .on_end = caller_on_end,
};

static void caller_init(struct caller *c, struct harness *h)
{
        struct error err = ERROR_INIT;
        int fds[2];

        *c = (struct caller){.h = h};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(ttrpc_server_adopt_consume(h->server, fds[1], &err), 0);
        assert_int_equal(ttrpc_client_new_take(&c->client, h->loop, fds[0], &err), 0);
}

static void caller_open(struct caller *c, unsigned method, uint64_t number, uint64_t timeout_ns)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        const struct ttrpc_call_options options = {.timeout_ns = timeout_ns};
        struct error err = ERROR_INIT;

        request.number = number;
        assert_int_equal(ttrpc_client_stream_open(
                                 &c->stream, c->client, &test__ttrpc__chat__descriptor, method,
                                 kinds[method], method == COUNT ? &request.base : NULL, &options,
                                 &caller_ops, c, &err),
                         0);
}

static int caller_send(struct caller *c, const char *text, uint64_t number, struct error *err)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;

        request.text = (char *)text;
        request.number = number;
        return ttrpc_client_stream_send(c->stream, &request.base, err);
}

static void caller_run(struct caller *c)
{
        while (c->n_ends == 0)
                assert_int_equal(loop_run(c->h->loop, NULL), 0);
}

static void a_client_counts_along(void **state)
{
        struct caller c;

        caller_init(&c, *state);
        caller_open(&c, COUNT, 20000, 0);
        caller_run(&c);
        assert_int_equal(c.code, STATUS_OK);
        assert_int_equal(c.n_messages, 20000);
        assert_int_equal(c.last, 19999);
        ttrpc_client_free(c.client);
}

/* The server goes on as far as the stream has room, and has the rest when the client reads again.
 */
static void a_client_that_pauses_holds_the_server_back(void **state)
{
        struct harness *h = *state;
        struct caller c;

        caller_init(&c, h);
        caller_open(&c, COUNT, 5000, 0);
        ttrpc_client_pause(c.client, true);
        harness_settle(h);
        assert_int_equal(c.n_messages, 0);
        assert_int_equal(chat_log.n_live, 1);
        ttrpc_client_pause(c.client, false);
        caller_run(&c);
        assert_int_equal(c.code, STATUS_OK);
        assert_int_equal(c.n_messages, 5000);
        ttrpc_client_free(c.client);
}

static void a_client_streams_its_requests(void **state)
{
        struct error err = ERROR_INIT;
        struct caller c;

        caller_init(&c, *state);
        caller_open(&c, SUM, 0, 0);
        for (uint64_t i = 1; i <= 100; i++)
                assert_int_equal(caller_send(&c, "", i, &err), 0);
        ttrpc_client_stream_half_close(c.stream);
        ttrpc_client_stream_half_close(c.stream);
        caller_run(&c);
        assert_int_equal(c.code, STATUS_OK);
        assert_int_equal(c.n_messages, 1);
        assert_int_equal(c.last, 5050);
        ttrpc_client_free(c.client);
}

static void a_client_without_room_is_told_so_and_loses_nothing(void **state)
{
        struct error err = ERROR_INIT;
        struct caller c;
        uint64_t n = 0;

        caller_init(&c, *state);
        caller_open(&c, SUM, 0, 0);
        while (caller_send(&c, "some text that takes room", 1, &err) == 0)
                n++;
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        assert_true(n > TTRPC_STREAM_QUEUED_MAX / 128);
        ttrpc_client_stream_half_close(c.stream);
        caller_run(&c);
        assert_int_equal(c.last, n);
        ttrpc_client_free(c.client);
}

static void a_client_gets_the_status_that_ends_a_stream(void **state)
{
        struct error err = ERROR_INIT;
        struct caller c;

        caller_init(&c, *state);
        caller_open(&c, TALK, 0, 0);
        assert_int_equal(caller_send(&c, "fine", 0, &err), 0);
        assert_int_equal(caller_send(&c, "not so", STATUS_ABORTED, &err), 0);
        caller_run(&c);
        assert_int_equal(c.n_messages, 1);
        assert_string_equal(c.text, "fine");
        assert_int_equal(c.code, STATUS_ABORTED);
        assert_string_equal(c.why, "not so");
        ttrpc_client_free(c.client);
}

static void a_client_may_free_its_stream_in_a_message(void **state)
{
        struct harness *h = *state;
        struct caller c;

        caller_init(&c, h);
        c.free_after = 3;
        caller_open(&c, COUNT, 1000, 0);
        while (c.stream)
                assert_int_equal(loop_run(h->loop, NULL), 0);
        harness_settle(h);
        assert_int_equal(c.n_messages, 3);
        assert_int_equal(c.n_ends, 0);
        c.free_after = 0;
        caller_open(&c, COUNT, 5, 0);
        caller_run(&c);
        assert_int_equal(c.n_messages, 8);
        ttrpc_client_free(c.client);
}

static void a_freed_client_ends_its_streams(void **state)
{
        struct harness *h = *state;
        struct caller c;

        caller_init(&c, h);
        caller_open(&c, TALK, 0, 0);
        harness_settle(h);
        ttrpc_client_free(c.client);
        assert_int_equal(c.n_ends, 1);
        assert_int_equal(c.code, STATUS_CANCELED);
        harness_settle(h);
        assert_int_equal(chat_log.n_cancelled, 1);
}

static void a_lost_server_ends_the_streams_of_a_client(void **state)
{
        struct error err = ERROR_INIT;
        struct peer p;
        struct caller c = {.h = *state};
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(ttrpc_client_new_take(&c.client, c.h->loop, fds[0], &err), 0);
        peer_init_fd(&p, c.h->loop, fds[1]);
        caller_open(&c, TALK, 0, 0);
        harness_settle(c.h);
        peer_deinit(&p);
        caller_run(&c);
        assert_int_equal(c.code, STATUS_UNAVAILABLE);
        ttrpc_client_free(c.client);
}

static void a_deadline_ends_a_stream_on_both_sides(void **state)
{
        struct caller c;

        caller_init(&c, *state);
        caller_open(&c, TALK, 0, 20 * 1000 * 1000);
        caller_run(&c);
        assert_int_equal(c.code, STATUS_DEADLINE_EXCEEDED);
        while (chat_log.n_cancelled == 0)
                harness_settle(*state);
        ttrpc_client_free(c.client);
}

static void a_freed_stream_frees_its_place(void **state)
{
        struct harness *h = *state;
        struct caller c;

        caller_init(&c, h);
        for (int i = 0; i < TTRPC_STREAMS_PER_CONNECTION_MAX + 1; i++) {
                caller_open(&c, COUNT, 0, 0);
                harness_settle(h);
                assert_null(c.stream);
        }
        assert_int_equal(c.n_ends, TTRPC_STREAMS_PER_CONNECTION_MAX + 1);
        ttrpc_client_free(c.client);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
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
                T(a_client_counts_along),
                T(a_client_that_pauses_holds_the_server_back),
                T(a_client_streams_its_requests),
                T(a_client_without_room_is_told_so_and_loses_nothing),
                T(a_client_gets_the_status_that_ends_a_stream),
                T(a_client_may_free_its_stream_in_a_message),
                T(a_freed_client_ends_its_streams),
                T(a_lost_server_ends_the_streams_of_a_client),
                T(a_deadline_ends_a_stream_on_both_sides),
                T(a_freed_stream_frees_its_place),
        };
#undef T
        return cmocka_run_group_tests(tests, NULL, NULL);
}
