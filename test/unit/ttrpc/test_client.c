/* SPDX-License-Identifier: Apache-2.0
 *
 * The client against the real server over a real socket, and against a peer that answers whatever
 * the test tells it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

enum { METHOD_ECHO, METHOD_KEEP, METHOD_FAIL, METHOD_GROW, METHOD_HOOK, METHOD_NOBODY };

struct test {
        struct harness h;
        struct ttrpc_client *client; /* of the harness's server */
        struct ttrpc_client *raw;    /* of peer */
        struct peer peer;

        size_t n_done; /* calls that have ended, and how the last one did */
        struct error err;
        char text[64];
        size_t n_data;
        size_t wait_done;
        size_t n_closed;
        bool free_in_callback;
};

static const ProtobufCServiceDescriptor *const service = &test__ttrpc__echo__descriptor;

static struct ttrpc_client *client_on_pair(struct test *t, int *ret_fd)
{
        struct ttrpc_client *client = NULL;
        struct error err = ERROR_INIT;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(ttrpc_client_new_take(&client, t->h.loop, fds[0], &err), 0);
        *ret_fd = fds[1];
        return client;
}

static int setup(void **state)
{
        static struct test t;
        int fd = -1;

        memset(&t, 0, sizeof(t));
        harness_init(&t.h, NULL);
        t.client = client_on_pair(&t, &fd);
        assert_int_equal(ttrpc_server_adopt_consume(t.h.server, fd, NULL), 0);
        t.raw = client_on_pair(&t, &fd);
        peer_init_fd(&t.peer, t.h.loop, fd);
        *state = &t;
        return 0;
}

static int teardown(void **state)
{
        struct test *t = *state;

        ttrpc_client_free(t->client);
        ttrpc_client_free(t->raw);
        peer_deinit(&t->peer);
        harness_deinit(&t->h);
        return 0;
}

static void on_response(const struct error *err, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoResponse *response = (const void *)message;
        struct test *t = userdata;

        assert_true(!err == !!message);
        t->n_done++;
        t->err = err ? *err : ERROR_INIT;
        t->text[0] = '\0';
        if (response) {
                (void)snprintf(t->text, sizeof(t->text), "%s", response->text);
                t->n_data = response->data.len;
        }
        if (t->free_in_callback) {
                /* Freeing ends calls, which gets here again. */
                ttrpc_client_free(TAKE_PTR(t->raw));
                ttrpc_client_free(TAKE_PTR(t->client));
        }
        if (t->n_done >= t->wait_done)
                loop_quit(t->h.loop);
}

static int start_call(struct test *t, struct ttrpc_client *client, unsigned method,
                      const char *text, uint64_t number, const struct ttrpc_call_options *options,
                      struct error *err)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;

        request.text = (char *)text;
        request.number = number;
        return ttrpc_client_call(client, service, method, &request.base, options, on_response, t,
                                 err);
}

static void must_call(struct test *t, struct ttrpc_client *client, unsigned method,
                      const char *text)
{
        struct error err = ERROR_INIT;
        size_t n_done = t->n_done;

        assert_int_equal(start_call(t, client, method, text, 0, NULL, &err), 0);
        assert_int_equal(t->n_done, n_done);
}

static void wait_for(struct test *t, size_t n_done)
{
        t->wait_done = n_done;
        while (t->n_done < n_done)
                assert_int_equal(loop_run(t->h.loop, NULL), 0);
        t->wait_done = 0;
}

static void answer_raw(struct test *t, uint32_t id, uint8_t type, const char *body, size_t len)
{
        peer_send_frame(&t->peer, id, type, 0, body, len);
}

#define BYTES(text) (text), sizeof(text) - 1

/* ---- Against the server ---- */

static void a_call_brings_back_its_answer(void **state)
{
        struct test *t = *state;

        must_call(t, t->client, METHOD_ECHO, "hello");
        wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_OK);
        assert_string_equal(t->text, "hello");
}

static void calls_end_in_the_order_of_their_answers(void **state)
{
        struct test *t = *state;

        must_call(t, t->client, METHOD_KEEP, "");
        must_call(t, t->client, METHOD_KEEP, "");
        must_call(t, t->client, METHOD_ECHO, "echo");
        wait_for(t, 1);
        assert_string_equal(t->text, "echo");
        kept_reply(&t->h, 1, "second");
        wait_for(t, 2);
        assert_string_equal(t->text, "second");
        kept_reply(&t->h, 0, "first");
        wait_for(t, 3);
        assert_string_equal(t->text, "first");
}

static void a_failure_brings_code_and_text(void **state)
{
        struct test *t = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(
                start_call(t, t->client, METHOD_FAIL, "gone", STATUS_NOT_FOUND, NULL, &err), 0);
        wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_NOT_FOUND);
        assert_string_equal(t->err.msg, "gone");
        must_call(t, t->client, METHOD_NOBODY, "");
        wait_for(t, 2);
        assert_int_equal(t->err.code, STATUS_UNIMPLEMENTED);
        assert_string_equal(t->err.msg, "method Nobody");
}

static void a_large_answer_arrives_whole(void **state)
{
        struct test *t = *state;

        assert_int_equal(start_call(t, t->client, METHOD_GROW, "", 3 << 20, NULL, NULL), 0);
        wait_for(t, 1);
        assert_int_equal(t->n_data, 3 << 20);
}

static void hook_options(struct harness *h, struct ttrpc_call *call)
{
        uint64_t now = clock_monotonic_ns();

        assert_string_equal(ttrpc_call_metadata(call, "containerd-namespace-ttrpc"), "k8s.io");
        assert_in_range(ttrpc_call_deadline_ns(call), now + 3000 * NSEC_PER_SEC,
                        now + 3600 * NSEC_PER_SEC);
        ttrpc_call_fail(call, STATUS_ABORTED, "seen");
}

static void metadata_and_timeout_reach_the_handler(void **state)
{
        static const struct ttrpc_metadata metadata[] = {
                {.key = "containerd-namespace-ttrpc", .value = "k8s.io"}};
        static const struct ttrpc_call_options options = {
                .timeout_ns = 3600 * NSEC_PER_SEC, .metadata = metadata, .n_metadata = 1};
        struct test *t = *state;

        t->h.hook = hook_options;
        assert_int_equal(start_call(t, t->client, METHOD_HOOK, "", 0, &options, NULL), 0);
        wait_for(t, 1);
        assert_string_equal(t->err.msg, "seen");
}

static void the_end_of_the_server_ends_all_calls(void **state)
{
        struct test *t = *state;
        struct error err = ERROR_INIT;

        for (int i = 0; i < 10; i++)
                must_call(t, t->client, METHOD_KEEP, "");
        harness_settle(&t->h);
        t->h.server = ttrpc_server_free(t->h.server);
        wait_for(t, 10);
        assert_int_equal(t->err.code, STATUS_UNAVAILABLE);
        assert_string_equal(t->err.msg, "ttrpc: closed");
        assert_int_equal(start_call(t, t->client, METHOD_ECHO, "", 0, NULL, &err), -1);
        assert_int_equal(err.code, STATUS_UNAVAILABLE);
        assert_int_equal(t->n_done, 10);
}

static void a_client_connects_to_a_path(void **state)
{
        struct test *t = *state;
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        char dir[] = "/tmp/belay-ttrpc-XXXXXX";
        struct ttrpc_client *client = NULL;
        struct error err = ERROR_INIT;
        char address[128];
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_non_null(mkdtemp(dir));
        (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", dir);
        (void)snprintf(address, sizeof(address), "unix://%s", sun.sun_path);
        assert_int_equal(ttrpc_client_connect(&client, t->h.loop, address, &err), -1);
        assert_int_equal(err.code, STATUS_UNAVAILABLE);
        assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(ttrpc_server_listen_take(t->h.server, fd, &err), 0);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(ttrpc_client_connect(&client, t->h.loop,
                                                      i == 0 ? address : sun.sun_path, &err),
                                 0);
                must_call(t, client, METHOD_ECHO, "path");
                wait_for(t, t->n_done + 1);
                assert_string_equal(t->text, "path");
                ttrpc_client_free(client);
        }
        assert_int_equal(unlink(sun.sun_path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static void bad_addresses_are_refused(void **state)
{
        static const char *const bad[] = {
                "", "relative", "unix://relative", "vsock://1:2",
                "unix:///a/path/that/is/so/long/that/it/does/not/fit/into/"
                "the/address/of/a/unix/socket/which/holds/one/hundred/"
                "and/eight/bytes/only/and/not/one/more"};
        struct test *t = *state;

        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                struct ttrpc_client *client = NULL;
                struct error err = ERROR_INIT;

                assert_int_equal(ttrpc_client_connect(&client, t->h.loop, bad[i], &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        }
}

/* ---- Against a peer that we play ---- */

static void ids_are_odd_and_increase(void **state)
{
        struct test *t = *state;

        for (uint32_t id = 1; id <= 5; id += 2) {
                size_t len = 0;
                uint8_t *bytes;

                must_call(t, t->raw, METHOD_ECHO, "x");
                bytes = peer_read_bytes(&t->peer, &len);
                assert_int_equal(ttrpc_frame_decode(bytes).stream_id, id);
                assert_int_equal(ttrpc_frame_decode(bytes).type, TTRPC_FRAME_REQUEST);
                assert_int_equal(ttrpc_frame_decode(bytes).flags, 0);
                free(bytes);
        }
}

static void a_call_times_out_by_our_own_clock(void **state)
{
        static const struct ttrpc_call_options options = {.timeout_ns = 10 * NSEC_PER_MSEC};
        struct test *t = *state;
        uint64_t start = clock_monotonic_ns();

        assert_int_equal(start_call(t, t->raw, METHOD_ECHO, "", 0, &options, NULL), 0);
        wait_for(t, 1);
        assert_true(clock_monotonic_ns() - start >= options.timeout_ns);
        assert_int_equal(t->err.code, STATUS_DEADLINE_EXCEEDED);
        /* The answer comes all the same, and then one to a call of now. */
        must_call(t, t->raw, METHOD_ECHO, "");
        answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x06\x0a\x04late"));
        answer_raw(t, 3, TTRPC_FRAME_RESPONSE, BYTES("\x12\x05\x0a\x03now"));
        wait_for(t, 2);
        assert_string_equal(t->text, "now");
        harness_settle(&t->h);
        assert_int_equal(t->n_done, 2);
}

static void answers_that_nobody_waits_for_are_ignored(void **state)
{
        struct test *t = *state;

        must_call(t, t->raw, METHOD_ECHO, "");
        answer_raw(t, 0, TTRPC_FRAME_RESPONSE, BYTES(""));
        answer_raw(t, 2, TTRPC_FRAME_RESPONSE, BYTES("garbage"));
        answer_raw(t, 65, TTRPC_FRAME_DATA, BYTES("garbage"));
        answer_raw(t, 129, 99, BYTES("garbage"));
        answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02me"));
        wait_for(t, 1);
        assert_string_equal(t->text, "me");
}

static void an_empty_answer_is_an_empty_message(void **state)
{
        struct test *t = *state;

        must_call(t, t->raw, METHOD_ECHO, "");
        answer_raw(t, 1, TTRPC_FRAME_RESPONSE, NULL, 0);
        wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_OK);
        assert_string_equal(t->text, "");
}

static void bad_answers_fail_their_call_only(void **state)
{
        struct test *t = *state;

        must_call(t, t->raw, METHOD_ECHO, "");
        must_call(t, t->raw, METHOD_ECHO, "");
        must_call(t, t->raw, METHOD_ECHO, "");
        must_call(t, t->raw, METHOD_ECHO, "");
        answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x7f"));
        wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_INTERNAL);
        answer_raw(t, 3, TTRPC_FRAME_RESPONSE, BYTES("\x12\x02\x0a\x7f"));
        wait_for(t, 2);
        assert_int_equal(t->err.code, STATUS_INTERNAL);
        answer_raw(t, 5, TTRPC_FRAME_DATA, BYTES("\x0a\x01x"));
        wait_for(t, 3);
        assert_int_equal(t->err.code, STATUS_INTERNAL);
        answer_raw(t, 7, TTRPC_FRAME_RESPONSE, BYTES("\x0a\x04\x08\x05\x12\x00"));
        wait_for(t, 4);
        assert_int_equal(t->err.code, STATUS_NOT_FOUND);
        must_call(t, t->raw, METHOD_ECHO, "");
        answer_raw(t, 9, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02ok"));
        wait_for(t, 5);
        assert_string_equal(t->text, "ok");
}

static void an_answer_that_is_too_large_fails_its_call_only(void **state)
{
        struct test *t = *state;
        char *body = calloc(1, TTRPC_MESSAGE_MAX + 1);

        assert_non_null(body);
        must_call(t, t->raw, METHOD_ECHO, "");
        must_call(t, t->raw, METHOD_ECHO, "");
        answer_raw(t, 1, TTRPC_FRAME_RESPONSE, body, TTRPC_MESSAGE_MAX + 1);
        wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_RESOURCE_EXHAUSTED);
        answer_raw(t, 3, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02ok"));
        wait_for(t, 2);
        assert_string_equal(t->text, "ok");
        free(body);
}

static void a_request_that_is_too_large_is_not_sent(void **state)
{
        struct test *t = *state;
        struct error err = ERROR_INIT;
        char *text = malloc(TTRPC_MESSAGE_MAX + 1);

        assert_non_null(text);
        memset(text, 'x', TTRPC_MESSAGE_MAX);
        text[TTRPC_MESSAGE_MAX] = '\0';
        assert_int_equal(start_call(t, t->client, METHOD_ECHO, text, 0, NULL, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        free(text);
        must_call(t, t->client, METHOD_ECHO, "small");
        wait_for(t, 1);
        assert_string_equal(t->text, "small");
}

static void requests_to_a_peer_that_does_not_read_are_refused(void **state)
{
        struct test *t = *state;
        struct error err = ERROR_INIT;
        char *text = malloc(TTRPC_MESSAGE_MAX);
        int n = 0;

        assert_non_null(text);
        memset(text, 'x', TTRPC_MESSAGE_MAX);
        text[TTRPC_MESSAGE_MAX / 2] = '\0';
        peer_pause(&t->peer, true);
        while (start_call(t, t->raw, METHOD_ECHO, text, 0, NULL, &err) == 0)
                assert_in_range(++n, 1, 10);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        assert_in_range(n, 3, 5);
        /* Nothing is lost of what was accepted. */
        peer_pause(&t->peer, false);
        for (int i = 0; i < n; i++) {
                size_t len = 0;

                free(peer_read_bytes(&t->peer, &len));
                assert_true(len > TTRPC_MESSAGE_MAX / 2);
        }
        free(text);
}

static void pending_calls_are_limited(void **state)
{
        struct test *t = *state;
        struct error err = ERROR_INIT;

        for (int i = 0; i < TTRPC_CALLS_PER_CONNECTION_MAX; i++)
                must_call(t, t->raw, METHOD_ECHO, "");
        assert_int_equal(start_call(t, t->raw, METHOD_ECHO, "", 0, NULL, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
}

static void a_type_that_contains_itself_is_refused(void **state)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct test *t = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(ttrpc_client_call(t->client, &test__ttrpc__forest__descriptor, 1,
                                           &request.base, NULL, on_response, t, &err),
                         -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
}

/* ---- Ends ---- */

static void on_close(struct ttrpc_client *client, const struct error *err, void *userdata)
{
        struct test *t = userdata;

        t->n_closed++;
        t->err = *err;
        assert_int_equal(start_call(t, client, METHOD_ECHO, "", 0, NULL, NULL), -1);
        if (t->free_in_callback)
                t->raw = ttrpc_client_free(t->raw);
        loop_quit(t->h.loop);
}

static void a_lost_connection_is_told_after_its_calls(void **state)
{
        struct test *t = *state;

        ttrpc_client_on_close(t->raw, on_close, t);
        must_call(t, t->raw, METHOD_ECHO, "");
        must_call(t, t->raw, METHOD_ECHO, "");
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
        struct test *t = *state;

        must_call(t, t->raw, METHOD_ECHO, "");
        harness_settle(&t->h);
        answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02me"));
        peer_deinit(&t->peer);
        /* Sending this fails before the answer above is read. */
        must_call(t, t->raw, METHOD_ECHO, "");
        wait_for(t, 1);
        assert_int_equal(t->n_done, 1);
        assert_string_equal(t->text, "me");
        wait_for(t, 2);
        assert_int_equal(t->err.code, STATUS_UNAVAILABLE);
}

static void a_client_may_be_freed_when_its_connection_is_lost(void **state)
{
        struct test *t = *state;

        t->free_in_callback = true;
        ttrpc_client_on_close(t->raw, on_close, t);
        peer_deinit(&t->peer);
        assert_int_equal(loop_run(t->h.loop, NULL), 0);
        assert_int_equal(t->n_closed, 1);
        assert_null(t->raw);
}

static void a_client_may_be_freed_by_an_answer(void **state)
{
        struct test *t = *state;

        must_call(t, t->client, METHOD_ECHO, "x");
        must_call(t, t->client, METHOD_ECHO, "y");
        must_call(t, t->raw, METHOD_ECHO, "z");
        t->free_in_callback = true;
        /* The first answer frees both clients, which cancels the other two calls within. */
        wait_for(t, 3);
        assert_null(t->client);
        assert_null(t->raw);
        harness_settle(&t->h);
        assert_int_equal(t->n_done, 3);
}

static void a_client_may_be_freed_by_a_timeout(void **state)
{
        static const struct ttrpc_call_options options = {.timeout_ns = 1};
        struct test *t = *state;

        t->free_in_callback = true;
        assert_int_equal(start_call(t, t->raw, METHOD_ECHO, "", 0, &options, NULL), 0);
        wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_DEADLINE_EXCEEDED);
        assert_null(t->raw);
}

static void freeing_a_client_cancels_its_calls(void **state)
{
        struct test *t = *state;

        for (int i = 0; i < 5; i++)
                must_call(t, t->client, METHOD_KEEP, "");
        t->wait_done = 100;
        harness_settle(&t->h);
        t->client = ttrpc_client_free(t->client);
        assert_int_equal(t->n_done, 5);
        assert_int_equal(t->err.code, STATUS_CANCELED);
}

static void call_from_callback(const struct error *err, const ProtobufCMessage *message,
                               void *userdata)
{
        struct test *t = userdata;

        t->n_done++;
        assert_int_equal(start_call(t, t->client, METHOD_ECHO, "next", 0, NULL, NULL),
                         err ? -1 : 0);
}

static void a_callback_may_start_the_next_call(void **state)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct test *t = *state;

        assert_int_equal(ttrpc_client_call(t->client, service, METHOD_ECHO, &request.base, NULL,
                                           call_from_callback, t, NULL),
                         0);
        wait_for(t, 2);
        assert_string_equal(t->text, "next");
        /* But not while the client is being freed. */
        assert_int_equal(ttrpc_client_call(t->client, service, METHOD_KEEP, &request.base, NULL,
                                           call_from_callback, t, NULL),
                         0);
        t->client = ttrpc_client_free(t->client);
        assert_int_equal(t->n_done, 3);
}

#define CLIENT_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CLIENT_TEST(a_call_brings_back_its_answer),
                CLIENT_TEST(calls_end_in_the_order_of_their_answers),
                CLIENT_TEST(a_failure_brings_code_and_text),
                CLIENT_TEST(a_large_answer_arrives_whole),
                CLIENT_TEST(metadata_and_timeout_reach_the_handler),
                CLIENT_TEST(the_end_of_the_server_ends_all_calls),
                CLIENT_TEST(a_client_connects_to_a_path),
                CLIENT_TEST(bad_addresses_are_refused),
                CLIENT_TEST(ids_are_odd_and_increase),
                CLIENT_TEST(a_call_times_out_by_our_own_clock),
                CLIENT_TEST(answers_that_nobody_waits_for_are_ignored),
                CLIENT_TEST(an_empty_answer_is_an_empty_message),
                CLIENT_TEST(bad_answers_fail_their_call_only),
                CLIENT_TEST(an_answer_that_is_too_large_fails_its_call_only),
                CLIENT_TEST(a_request_that_is_too_large_is_not_sent),
                CLIENT_TEST(requests_to_a_peer_that_does_not_read_are_refused),
                CLIENT_TEST(pending_calls_are_limited),
                CLIENT_TEST(a_type_that_contains_itself_is_refused),
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
