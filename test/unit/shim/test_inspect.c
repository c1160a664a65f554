/* SPDX-License-Identifier: Apache-2.0
 *
 * What the shim prints of its state: any message as JSON, and the vault through it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/state/vault.h"

#include "belay/state/v1/inspect.pb-c.h"
#include "belay/v1/belay.pb-c.h"
#include "shim/inspect.h"
#include "shim/log.h"
#include "shim/message_json.h"
#include "test/unit/shim/harness.h"

enum { ROOM = 1 << 20, ALL_LINES = 100 };

/* ---- Messages ---- */

static void expect_json(const ProtobufCMessage *m, unsigned one_line_from, const char *expected)
{
        char *json = NULL;
        size_t len = 0;

        assert_int_equal(message_json(m, one_line_from, ROOM, &json, &len, NULL), 0);
        assert_string_equal(json, expected);
        assert_int_equal(len, strlen(expected));
        free(json);
}

static void a_message_is_shown_by_its_descriptor(void **state)
{
        Belay__State__V1__Process p = BELAY__STATE__V1__PROCESS__INIT;
        Belay__State__V1__Exit e = BELAY__STATE__V1__EXIT__INIT;
        uint32_t outputs[] = {7, 0, 9};

        (void)state;
        p.exec_id = (char *)"e1";
        p.state = BELAY__STATE__V1__PROCESS_STATE__PROCESS_STATE_RUNNING;
        p.pid = 42;
        p.start_ticks = UINT64_MAX;
        p.started_at_ns = INT64_C(1500000000123456789);
        e.known = 1;
        e.signal = -9;
        p.exit = &e;
        p.stream_outputs = outputs;
        p.n_stream_outputs = 3;
        expect_json(&p.base, ALL_LINES,
                    "{\n"
                    "  \"exec_id\": \"e1\",\n"
                    "  \"state\": \"running\",\n"
                    "  \"pid\": 42,\n"
                    "  \"start_ticks\": 18446744073709551615,\n"
                    "  \"started_at_ns\": \"2017-07-14T02:40:00.123456789Z\",\n"
                    "  \"exit\": {\n"
                    "    \"known\": true,\n"
                    "    \"signal\": -9\n"
                    "  },\n"
                    "  \"stream_outputs\": [7, 0, 9]\n"
                    "}\n");
        expect_json(&p.base, 1,
                    "{\n"
                    "  \"exec_id\": \"e1\",\n"
                    "  \"state\": \"running\",\n"
                    "  \"pid\": 42,\n"
                    "  \"start_ticks\": 18446744073709551615,\n"
                    "  \"started_at_ns\": \"2017-07-14T02:40:00.123456789Z\",\n"
                    "  \"exit\": { \"known\": true, \"signal\": -9 },\n"
                    "  \"stream_outputs\": [7, 0, 9]\n"
                    "}\n");
}

static void defaults_are_left_out(void **state)
{
        Belay__State__V1__Process p = BELAY__STATE__V1__PROCESS__INIT;

        (void)state;
        expect_json(&p.base, ALL_LINES, "{}\n");
}

static void a_value_without_a_name_is_its_number(void **state)
{
        Belay__State__V1__Exit e = BELAY__STATE__V1__EXIT__INIT;

        (void)state;
        e.reason = (Belay__State__V1__ExitReason)99;
        expect_json(&e.base, 0, "{ \"reason\": 99 }\n");
}

static void bytes_are_not_shown(void **state)
{
        Belay__State__V1__Process p = BELAY__STATE__V1__PROCESS__INIT;

        (void)state;
        p.spec.data = (uint8_t *)"{\"env\":[\"PASSWORD=1\"]}";
        p.spec.len = 22;
        expect_json(&p.base, 0, "{ \"spec\": \"<22 bytes, not shown>\" }\n");
}

static void any_string_becomes_one_of_json(void **state)
{
        Belay__State__V1__Shim s = BELAY__STATE__V1__SHIM__INIT;

        (void)state;
        s.bundle = (char *)"\"\\\n\x7f"
                           "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80|\xff|\xc3|\xe2\x82";
        expect_json(&s.base, 0,
                    "{ \"bundle\": \"\\\"\\\\\\u000a\\u007f"
                    "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80|\xef\xbf\xbd|\xef\xbf\xbd|"
                    "\xef\xbf\xbd\xef\xbf\xbd\" }\n");
}

static void what_is_too_long_is_refused(void **state)
{
        Belay__State__V1__Shim s = BELAY__STATE__V1__SHIM__INIT;
        struct error err = ERROR_INIT;
        char *text = malloc(10001);
        char *json = NULL;
        size_t len = 0;

        (void)state;
        memset(text, 'x', 10000);
        text[10000] = '\0';
        s.bundle = text;
        assert_int_equal(message_json(&s.base, 0, 9000, &json, &len, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        assert_int_equal(message_json(&s.base, 0, 11000, &json, &len, &err), 0);
        free(json);
        free(text);
}

/* ---- A shim with a vault ---- */

struct fixture {
        struct harness *h;
        struct reaper *reaper;
        struct vault *vault;
};

static void on_finished(void *userdata)
{
        ((struct harness *)userdata)->finished = true;
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct shim_server_options options = {
                .runtime_namespace = "testing",
                .id = "c1",
                .version = "1.2.3 abc",
                .on_finished = on_finished,
        };

        assert_non_null(f);
        f->h = harness_new(NULL);
        ttrpc_client_free(f->h->client);
        shim_server_free(f->h->server);
        assert_int_equal(vault_new(&f->vault, NULL), 0);
        assert_int_equal(reaper_new(&f->reaper, f->h->loop, NULL), 0);
        options.loop = f->h->loop;
        options.executor = &f->h->fake.executor;
        options.bundle = f->h->dir;
        options.ttrpc_address = f->h->events.path;
        options.reaper = f->reaper;
        options.vault = f->vault;
        options.userdata = f->h;
        assert_int_equal(shim_server_new(&f->h->server, &options, NULL), 0);
        f->h->client = harness_connect(f->h);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        ttrpc_client_free(f->h->client);
        shim_server_free(f->h->server);
        f->h->client = NULL;
        f->h->server = NULL;
        reaper_free(f->reaper);
        vault_free(f->vault);
        harness_free(f->h);
        free(f);
        return 0;
}

/* Each behind the one before it. */
static void expect_in_order(const char *text, const char *const *wanted, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                const char *found = strstr(text, wanted[i]);

                if (!found) {
                        fail_msg("no %s in %s", wanted[i], text);
                        return;
                }
                text = found;
        }
}

static void inspect_shows_the_vault_and_what_is_under_way(void **state)
{
        static const char *const wanted[] = {
                "\"version\": \"1.2.3 abc\"",
                "\"connections\": 1",
                "\"calls\": 2",
                "\"id\": \"c1\"",
                "\"container\": {",
                "\"state\": \"running\"",
                "\"exec_id\": \"e1\"",
                "\"spec\": \"<15 bytes, not shown>\"",
                "\"version\": \"1.2.3 abc\"",
                "\"waits\": 1",
        };
        struct fixture *f = *state;
        Belay__V1__InspectRequest request = BELAY__V1__INSPECT_REQUEST__INIT;
        struct reply *reply;
        struct reply *wait;

        harness_run(f->h);
        assert_int_equal(rpc_exec_do(f->h, "e1").code, 0);
        wait = rpc_begin(f->h, "Wait", NULL);
        harness_settle(f->h);
        reply = call_begin(f->h, f->h->client, &belay__v1__belay__descriptor, "Inspect",
                           &request.base, 0);
        harness_run_until(f->h, &reply->done);
        assert_int_equal(reply->err.code, STATUS_OK);
        expect_in_order(((const Belay__V1__InspectResponse *)reply->message)->json, wanted,
                        UNIT_COUNT(wanted));
        reply_free(reply);
        fake_exit(f->h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_end(f->h, wait).code, 0);
}

static void an_exit_that_is_in_no_state_yet_is_shown(void **state)
{
        struct fixture *f = *state;
        struct reaper_expectation expected = {.from = 0};
        char pid_text[32];
        const char *const wanted[] = {"\"exits\": [", pid_text, "\"status\": 5"};
        siginfo_t info;
        size_t size = 0;
        void *notes = vault_region(f->vault, VAULT_EXITS, &size);
        char *json = NULL;
        pid_t pid;

        assert_int_equal(reaper_set_notes(f->reaper, notes, size, NULL), 0);
        reaper_restored(f->reaper);
        reaper_expect(f->reaper, &expected);
        pid = fork();
        if (pid == 0)
                _exit(5);
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
        reaper_poll(f->reaper);
        (void)snprintf(pid_text, sizeof(pid_text), "\"pid\": %d,", (int)pid);
        assert_int_equal(inspect_json(f->h->server, ALL_LINES, ROOM, &json, &size, NULL), 0);
        expect_in_order(json, wanted, UNIT_COUNT(wanted));
        free(json);
        reaper_unexpect(f->reaper, &expected);
}

static void the_dump_is_the_same_between_its_markers(void **state)
{
        static const char *const wanted[] = {
                "=== BEGIN state dump ===",    "\\\"id\\\": \\\"c1\\\"",
                "\\\"container\\\": {",        "\\\"state\\\": \\\"running\\\"",
                "\\\"exec_id\\\": \\\"e1\\\"", "\\\"waits\\\": 1",
                "=== END state dump ===",
        };
        struct fixture *f = *state;
        static char text[16384];
        struct reply *wait;
        int fds[2];
        ssize_t n;

        harness_run(f->h);
        assert_int_equal(rpc_exec_do(f->h, "e1").code, 0);
        wait = rpc_begin(f->h, "Wait", NULL);
        harness_settle(f->h);
        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        log_open(fds[1], LOG_INFO, "c1", "testing", NULL);
        shim_server_dump(f->h->server);
        log_open(-1, LOG_INFO, NULL, NULL, NULL);
        n = read(fds[0], text, sizeof(text) - 1);
        assert_true(n > 0);
        text[n] = '\0';
        expect_in_order(text, wanted, UNIT_COUNT(wanted));
        (void)close(fds[0]);
        (void)close(fds[1]);
        fake_exit(f->h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_end(f->h, wait).code, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_message_is_shown_by_its_descriptor),
                cmocka_unit_test(defaults_are_left_out),
                cmocka_unit_test(a_value_without_a_name_is_its_number),
                cmocka_unit_test(bytes_are_not_shown),
                cmocka_unit_test(any_string_becomes_one_of_json),
                cmocka_unit_test(what_is_too_long_is_refused),
                TEST(inspect_shows_the_vault_and_what_is_under_way),
                TEST(an_exit_that_is_in_no_state_yet_is_shown),
                TEST(the_dump_is_the_same_between_its_markers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
