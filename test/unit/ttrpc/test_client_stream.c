/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that stream, between the library's own client and its server. The service is chat.h's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pkg/base/cleanup.h"
#include "pkg/ttrpc/limits.h"

#include "test/unit/ttrpc/chat.h"
#include "test/unit/unit.h"

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
                                 chat_kinds[method], method == CHAT_COUNT ? &request.base : NULL,
                                 &options, &caller_ops, c, &err),
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
        caller_open(&c, CHAT_COUNT, 20000, 0);
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
        caller_open(&c, CHAT_COUNT, 5000, 0);
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
        caller_open(&c, CHAT_SUM, 0, 0);
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
        caller_open(&c, CHAT_SUM, 0, 0);
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
        caller_open(&c, CHAT_TALK, 0, 0);
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
        caller_open(&c, CHAT_COUNT, 1000, 0);
        while (c.stream)
                assert_int_equal(loop_run(h->loop, NULL), 0);
        harness_settle(h);
        assert_int_equal(c.n_messages, 3);
        assert_int_equal(c.n_ends, 0);
        c.free_after = 0;
        caller_open(&c, CHAT_COUNT, 5, 0);
        caller_run(&c);
        assert_int_equal(c.n_messages, 8);
        ttrpc_client_free(c.client);
}

static void a_freed_client_ends_its_streams(void **state)
{
        struct harness *h = *state;
        struct caller c;

        caller_init(&c, h);
        caller_open(&c, CHAT_TALK, 0, 0);
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
        caller_open(&c, CHAT_TALK, 0, 0);
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
        caller_open(&c, CHAT_TALK, 0, 20 * 1000 * 1000);
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
                caller_open(&c, CHAT_COUNT, 0, 0);
                harness_settle(h);
                assert_null(c.stream);
        }
        assert_int_equal(c.n_ends, TTRPC_STREAMS_PER_CONNECTION_MAX + 1);
        ttrpc_client_free(c.client);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, chat_setup, chat_teardown)
        const struct CMUnitTest tests[] = {
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
