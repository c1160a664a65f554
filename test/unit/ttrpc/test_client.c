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

#include "test/unit/ttrpc/client.h"
#include "test/unit/unit.h"

#define BYTES(text) (text), sizeof(text) - 1

/* ---- Against the server ---- */

static void a_call_brings_back_its_answer(void **state)
{
        struct client_test *t = *state;

        client_must_call(t, t->client, METHOD_ECHO, "hello");
        client_wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_OK);
        assert_string_equal(t->text, "hello");
}

static void calls_end_in_the_order_of_their_answers(void **state)
{
        struct client_test *t = *state;

        client_must_call(t, t->client, METHOD_KEEP, "");
        client_must_call(t, t->client, METHOD_KEEP, "");
        client_must_call(t, t->client, METHOD_ECHO, "echo");
        client_wait_for(t, 1);
        assert_string_equal(t->text, "echo");
        kept_reply(&t->h, 1, "second");
        client_wait_for(t, 2);
        assert_string_equal(t->text, "second");
        kept_reply(&t->h, 0, "first");
        client_wait_for(t, 3);
        assert_string_equal(t->text, "first");
}

static void a_failure_brings_code_and_text(void **state)
{
        struct client_test *t = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(
                client_start_call(t, t->client, METHOD_FAIL, "gone", STATUS_NOT_FOUND, NULL, &err),
                0);
        client_wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_NOT_FOUND);
        assert_string_equal(t->err.msg, "gone");
        client_must_call(t, t->client, METHOD_NOBODY, "");
        client_wait_for(t, 2);
        assert_int_equal(t->err.code, STATUS_UNIMPLEMENTED);
        assert_string_equal(t->err.msg, "method Nobody");
}

static void a_large_answer_arrives_whole(void **state)
{
        struct client_test *t = *state;

        assert_int_equal(client_start_call(t, t->client, METHOD_GROW, "", 3 << 20, NULL, NULL), 0);
        client_wait_for(t, 1);
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
        struct client_test *t = *state;

        t->h.hook = hook_options;
        assert_int_equal(client_start_call(t, t->client, METHOD_HOOK, "", 0, &options, NULL), 0);
        client_wait_for(t, 1);
        assert_string_equal(t->err.msg, "seen");
}

static void the_end_of_the_server_ends_all_calls(void **state)
{
        struct client_test *t = *state;
        struct error err = ERROR_INIT;

        for (int i = 0; i < 10; i++)
                client_must_call(t, t->client, METHOD_KEEP, "");
        harness_settle(&t->h);
        t->h.server = ttrpc_server_free(t->h.server);
        client_wait_for(t, 10);
        assert_int_equal(t->err.code, STATUS_UNAVAILABLE);
        assert_string_equal(t->err.msg, "ttrpc: closed");
        assert_int_equal(client_start_call(t, t->client, METHOD_ECHO, "", 0, NULL, &err), -1);
        assert_int_equal(err.code, STATUS_UNAVAILABLE);
        assert_int_equal(t->n_done, 10);
}

static void a_client_connects_to_a_path(void **state)
{
        struct client_test *t = *state;
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
                client_must_call(t, client, METHOD_ECHO, "path");
                client_wait_for(t, t->n_done + 1);
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
        struct client_test *t = *state;

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
        struct client_test *t = *state;

        for (uint32_t id = 1; id <= 5; id += 2) {
                size_t len = 0;
                uint8_t *bytes;

                client_must_call(t, t->raw, METHOD_ECHO, "x");
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
        struct client_test *t = *state;
        uint64_t start = clock_monotonic_ns();

        assert_int_equal(client_start_call(t, t->raw, METHOD_ECHO, "", 0, &options, NULL), 0);
        client_wait_for(t, 1);
        assert_true(clock_monotonic_ns() - start >= options.timeout_ns);
        assert_int_equal(t->err.code, STATUS_DEADLINE_EXCEEDED);
        /* The answer comes all the same, and then one to a call of now. */
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x06\x0a\x04late"));
        client_answer_raw(t, 3, TTRPC_FRAME_RESPONSE, BYTES("\x12\x05\x0a\x03now"));
        client_wait_for(t, 2);
        assert_string_equal(t->text, "now");
        harness_settle(&t->h);
        assert_int_equal(t->n_done, 2);
}

static void answers_that_nobody_waits_for_are_ignored(void **state)
{
        struct client_test *t = *state;

        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_answer_raw(t, 0, TTRPC_FRAME_RESPONSE, BYTES(""));
        client_answer_raw(t, 2, TTRPC_FRAME_RESPONSE, BYTES("garbage"));
        client_answer_raw(t, 65, TTRPC_FRAME_DATA, BYTES("garbage"));
        client_answer_raw(t, 129, 99, BYTES("garbage"));
        client_answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02me"));
        client_wait_for(t, 1);
        assert_string_equal(t->text, "me");
}

static void an_empty_answer_is_an_empty_message(void **state)
{
        struct client_test *t = *state;

        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_answer_raw(t, 1, TTRPC_FRAME_RESPONSE, NULL, 0);
        client_wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_OK);
        assert_string_equal(t->text, "");
}

static void bad_answers_fail_their_call_only(void **state)
{
        struct client_test *t = *state;

        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_answer_raw(t, 1, TTRPC_FRAME_RESPONSE, BYTES("\x12\x7f"));
        client_wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_INTERNAL);
        client_answer_raw(t, 3, TTRPC_FRAME_RESPONSE, BYTES("\x12\x02\x0a\x7f"));
        client_wait_for(t, 2);
        assert_int_equal(t->err.code, STATUS_INTERNAL);
        client_answer_raw(t, 5, TTRPC_FRAME_DATA, BYTES("\x0a\x01x"));
        client_wait_for(t, 3);
        assert_int_equal(t->err.code, STATUS_INTERNAL);
        client_answer_raw(t, 7, TTRPC_FRAME_RESPONSE, BYTES("\x0a\x04\x08\x05\x12\x00"));
        client_wait_for(t, 4);
        assert_int_equal(t->err.code, STATUS_NOT_FOUND);
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_answer_raw(t, 9, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02ok"));
        client_wait_for(t, 5);
        assert_string_equal(t->text, "ok");
}

static void an_answer_that_is_too_large_fails_its_call_only(void **state)
{
        struct client_test *t = *state;
        char *body = calloc(1, TTRPC_MESSAGE_MAX + 1);

        assert_non_null(body);
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_must_call(t, t->raw, METHOD_ECHO, "");
        client_answer_raw(t, 1, TTRPC_FRAME_RESPONSE, body, TTRPC_MESSAGE_MAX + 1);
        client_wait_for(t, 1);
        assert_int_equal(t->err.code, STATUS_RESOURCE_EXHAUSTED);
        client_answer_raw(t, 3, TTRPC_FRAME_RESPONSE, BYTES("\x12\x04\x0a\x02ok"));
        client_wait_for(t, 2);
        assert_string_equal(t->text, "ok");
        free(body);
}

static void a_request_that_is_too_large_is_not_sent(void **state)
{
        struct client_test *t = *state;
        struct error err = ERROR_INIT;
        char *text = malloc(TTRPC_MESSAGE_MAX + 1);

        assert_non_null(text);
        memset(text, 'x', TTRPC_MESSAGE_MAX);
        text[TTRPC_MESSAGE_MAX] = '\0';
        assert_int_equal(client_start_call(t, t->client, METHOD_ECHO, text, 0, NULL, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        free(text);
        client_must_call(t, t->client, METHOD_ECHO, "small");
        client_wait_for(t, 1);
        assert_string_equal(t->text, "small");
}

static void requests_to_a_peer_that_does_not_read_are_refused(void **state)
{
        struct client_test *t = *state;
        struct error err = ERROR_INIT;
        char *text = malloc(TTRPC_MESSAGE_MAX);
        int n = 0;

        assert_non_null(text);
        memset(text, 'x', TTRPC_MESSAGE_MAX);
        text[TTRPC_MESSAGE_MAX / 2] = '\0';
        peer_pause(&t->peer, true);
        while (client_start_call(t, t->raw, METHOD_ECHO, text, 0, NULL, &err) == 0)
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
        struct client_test *t = *state;
        struct error err = ERROR_INIT;

        for (int i = 0; i < TTRPC_CALLS_PER_CONNECTION_MAX; i++)
                client_must_call(t, t->raw, METHOD_ECHO, "");
        assert_int_equal(client_start_call(t, t->raw, METHOD_ECHO, "", 0, NULL, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
}

static void a_type_that_contains_itself_is_refused(void **state)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct client_test *t = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(ttrpc_client_call(t->client, &test__ttrpc__forest__descriptor, 1,
                                           &request.base, NULL, client_on_response, t, &err),
                         -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
}

#define CLIENT_TEST(fn) cmocka_unit_test_setup_teardown(fn, client_setup, client_teardown)

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
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
