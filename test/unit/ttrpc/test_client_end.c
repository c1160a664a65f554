/* SPDX-License-Identifier: Apache-2.0
 *
 * How a client ends: its connection is lost, or it is freed, while calls are open and from inside
 * their callbacks.
 */
#include <string.h>

#include "pkg/base/error.h"

#include "test/unit/ttrpc/client.h"
#include "test/unit/unit.h"

#define BYTES(text) (text), sizeof(text) - 1

/* ---- Ends ---- */

static void on_close(struct ttrpc_client *client, const struct error *err, void *userdata)
{
        struct client_test *t = userdata;

        t->n_closed++;
        t->err = *err;
        assert_int_equal(client_start_call(t, client, METHOD_ECHO, "", 0, NULL, NULL), -1);
        if (t->free_in_callback)
                t->raw = ttrpc_client_free(t->raw);
        loop_quit(t->h.loop);
}

static void a_lost_connection_is_told_after_its_calls(void **state)
{
        struct client_test *t = *state;

        ttrpc_client_on_close(t->raw, on_close, t);
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_must_call(t, t->raw, METHOD_ECHO, "");
        harness_settle(&t->h);
        peer_deinit(&t->peer);
        t->wait_done = 100;
        assert_int_equal(loop_run(t->h.loop, NULL), 0);
        assert_int_equal(t->n_done, 2);
        assert_int_equal(t->n_closed, 1);
        assert_int_equal(t->err.code, STATUS_UNAVAILABLE);
        assert_non_null(strstr(t->err.msg, "ttrpc connection lost"));
}

static void an_answer_that_came_before_the_end_is_not_lost(void **state)
{
        struct client_test *t = *state;

        client_must_call(t, t->raw, METHOD_ECHO, "");
        harness_settle(&t->h);
        client_answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02me"));
        peer_deinit(&t->peer);
        /* Sending this fails before the answer above is read. */
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_wait_for(t, 1);
        assert_int_equal(t->n_done, 1);
        assert_string_equal(t->text, "me");
        client_wait_for(t, 2);
        assert_int_equal(t->err.code, STATUS_UNAVAILABLE);
}

static void a_client_may_be_freed_when_its_connection_is_lost(void **state)
{
        struct client_test *t = *state;

        t->free_in_callback = true;
        ttrpc_client_on_close(t->raw, on_close, t);
        peer_deinit(&t->peer);
        assert_int_equal(loop_run(t->h.loop, NULL), 0);
        assert_int_equal(t->n_closed, 1);
        assert_null(t->raw);
}

static void a_client_may_be_freed_by_an_answer(void **state)
{
        struct client_test *t = *state;

        client_must_call(t, t->client, METHOD_ECHO, "x");
        client_must_call(t, t->client, METHOD_ECHO, "y");
        client_must_call(t, t->raw, METHOD_ECHO, "z");
        t->free_in_callback = true;
        /* The first answer frees both clients, which cancels the other two calls within. */
        client_wait_for(t, 3);
        assert_null(t->client);
        assert_null(t->raw);
        harness_settle(&t->h);
        assert_int_equal(t->n_done, 3);
}

static void a_client_may_be_freed_by_a_timeout(void **state)
{
        static const struct ttrpc_call_options options = {.timeout_ns = 1};
        struct client_test *t = *state;

        t->free_in_callback = true;
        assert_int_equal(client_start_call(t, t->raw, METHOD_ECHO, "", 0, &options, NULL), 0);
        client_wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_DEADLINE_EXCEEDED);
        assert_null(t->raw);
}

static void freeing_a_client_cancels_its_calls(void **state)
{
        struct client_test *t = *state;

        for (int i = 0; i < 5; i++)
                client_must_call(t, t->client, METHOD_KEEP, "");
        t->wait_done = 100;
        harness_settle(&t->h);
        t->client = ttrpc_client_free(t->client);
        assert_int_equal(t->n_done, 5);
        assert_int_equal(t->err.code, STATUS_CANCELED);
}

static void call_from_callback(const struct error *err, const ProtobufCMessage *message,
                               void *userdata)
{
        struct client_test *t = userdata;

        t->n_done++;
        assert_int_equal(client_start_call(t, t->client, METHOD_ECHO, "next", 0, NULL, NULL),
                         err ? -1 : 0);
}

static void a_callback_may_start_the_next_call(void **state)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct client_test *t = *state;

        assert_int_equal(ttrpc_client_call(t->client, client_service, METHOD_ECHO, &request.base,
                                           NULL, call_from_callback, t, NULL),
                         0);
        client_wait_for(t, 2);
        assert_string_equal(t->text, "next");
        /* But not while the client is being freed. */
        assert_int_equal(ttrpc_client_call(t->client, client_service, METHOD_KEEP, &request.base,
                                           NULL, call_from_callback, t, NULL),
                         0);
        t->client = ttrpc_client_free(t->client);
        assert_int_equal(t->n_done, 3);
}

#define CLIENT_TEST(fn) cmocka_unit_test_setup_teardown(fn, client_setup, client_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CLIENT_TEST(a_lost_connection_is_told_after_its_calls),
                CLIENT_TEST(an_answer_that_came_before_the_end_is_not_lost),
                CLIENT_TEST(a_client_may_be_freed_when_its_connection_is_lost),
                CLIENT_TEST(a_client_may_be_freed_by_an_answer),
                CLIENT_TEST(a_client_may_be_freed_by_a_timeout),
                CLIENT_TEST(freeing_a_client_cancels_its_calls),
                CLIENT_TEST(a_callback_may_start_the_next_call),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
