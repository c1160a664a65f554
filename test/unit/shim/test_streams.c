/* SPDX-License-Identifier: Apache-2.0
 *
 * Attach and ExecStream with a fake executor: who is told what, in which order, and that nothing is
 * left of a stream, however it ends. The output is that of a terminal whose slave the test has.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "belay/v1/belay.pb-c.h"
#include "test/unit/fds.h"
#include "test/unit/shim/harness.h"

enum { TEXT_MAX = 1024 };

/* What came on a stream, in letters: s started, o output (once for all in a row), g grant, e exit.
 */
struct seen {
        struct loop *loop; /* ends its run when something has come */
        struct ttrpc_client_stream *stream;
        char letters[64];
        char output[TEXT_MAX];
        size_t n_output;
        size_t granted;
        uint32_t exit_status;
        char reason[32];
        char error[256];
        bool got_output;
        bool ended;
        struct error err;
};

static void note(struct seen *s, char letter)
{
        size_t n = strlen(s->letters);

        if (n > 0 && s->letters[n - 1] == letter && letter == 'o')
                return;
        assert_true(n + 1 < sizeof(s->letters));
        s->letters[n] = letter;
}

static void note_output(struct seen *s, const Belay__V1__Output *output)
{
        note(s, 'o');
        assert_true(s->n_output + output->data.len < sizeof(s->output));
        memcpy(s->output + s->n_output, output->data.data, output->data.len);
        s->n_output += output->data.len;
        s->got_output = true;
        loop_quit(s->loop);
}

static void note_exit(struct seen *s, const Belay__V1__Exit *exit)
{
        note(s, 'e');
        s->exit_status = exit->exit_status;
        (void)snprintf(s->reason, sizeof(s->reason), "%s", exit->reason);
        (void)snprintf(s->error, sizeof(s->error), "%s", exit->error);
}

static void on_attach_message(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                              void *userdata)
{
        const Belay__V1__AttachResponse *r = (const void *)message;
        struct seen *s = userdata;

        if (r->response_case == BELAY__V1__ATTACH_RESPONSE__RESPONSE_STARTED)
                note(s, 's');
        else if (r->response_case == BELAY__V1__ATTACH_RESPONSE__RESPONSE_OUTPUT)
                note_output(s, r->output);
        else if (r->response_case == BELAY__V1__ATTACH_RESPONSE__RESPONSE_STDIN_GRANTED)
                note(s, 'g');
        else if (r->response_case == BELAY__V1__ATTACH_RESPONSE__RESPONSE_EXIT)
                note_exit(s, r->exit);
}

static void on_exec_message(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                            void *userdata)
{
        const Belay__V1__ExecStreamResponse *r = (const void *)message;
        struct seen *s = userdata;

        if (r->response_case == BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_STARTED)
                note(s, 's');
        else if (r->response_case == BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_OUTPUT)
                note_output(s, r->output);
        else if (r->response_case == BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_STDIN_GRANTED)
                note(s, 'g');
        else if (r->response_case == BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_EXIT)
                note_exit(s, r->exit);
}

static void on_end(struct ttrpc_client_stream *stream, const struct error *err, void *userdata)
{
        struct seen *s = userdata;

        s->ended = true;
        if (err)
                s->err = *err;
        loop_quit(s->loop);
}

static const struct ttrpc_client_stream_ops attach_ops = {.on_message = on_attach_message,
                                                          .on_end = on_end};
static const struct ttrpc_client_stream_ops exec_ops = {.on_message = on_exec_message,
                                                        .on_end = on_end};

static unsigned method_number(const char *name)
{
        const ProtobufCServiceDescriptor *service = &belay__v1__belay__descriptor;

        for (unsigned i = 0; i < service->n_methods; i++) {
                if (strcmp(service->methods[i].name, name) == 0)
                        return i;
        }
        fail_msg("no method %s", name);
        return 0;
}

static void open_stream(struct harness *h, struct seen *s, struct ttrpc_client *client,
                        const char *method, const struct ttrpc_client_stream_ops *ops,
                        const ProtobufCMessage *first)
{
        struct error err = ERROR_INIT;

        *s = (struct seen){.loop = h->loop, .err = ERROR_INIT};
        if (ttrpc_client_stream_open(&s->stream, client, &belay__v1__belay__descriptor,
                                     method_number(method), TTRPC_BIDI_STREAM, NULL, NULL, ops, s,
                                     &err) < 0 ||
            ttrpc_client_stream_send(s->stream, first, &err) < 0)
                fail_msg("%s", err.msg);
}

static void attach(struct harness *h, struct seen *s, uint64_t replay, bool with_stdin)
{
        Belay__V1__AttachStart start = BELAY__V1__ATTACH_START__INIT;
        Belay__V1__AttachRequest request = BELAY__V1__ATTACH_REQUEST__INIT;

        start.id = (char *)"c1";
        start.replay_bytes = replay;
        start.stdin = with_stdin;
        request.request_case = BELAY__V1__ATTACH_REQUEST__REQUEST_START;
        request.start = &start;
        open_stream(h, s, h->client, "Attach", &attach_ops, &request.base);
        harness_settle(h);
}

static void exec_stream(struct harness *h, struct seen *s, struct ttrpc_client *client,
                        bool with_stdin)
{
        Belay__V1__ExecStart start = BELAY__V1__EXEC_START__INIT;
        Belay__V1__ExecStreamRequest request = BELAY__V1__EXEC_STREAM_REQUEST__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;

        spec.value = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)"{}"};
        start.id = (char *)"c1";
        start.exec_id = (char *)"e1";
        start.spec = &spec;
        start.stdin = with_stdin;
        request.request_case = BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_START;
        request.start = &start;
        open_stream(h, s, client, "ExecStream", &exec_ops, &request.base);
        harness_settle(h);
}

static void run_terminal(struct harness *h)
{
        h->terminal = true;
        harness_run(h);
        assert_true(h->fake.slave >= 0);
}

static void say(struct harness *h, const char *text)
{
        assert_int_equal(write(h->fake.slave, text, strlen(text)), (ssize_t)strlen(text));
        harness_settle(h);
}

/* ---- Attach ---- */

static void attach_replays_and_follows_and_ends_with_the_exit(void **state)
{
        struct harness *h = *state;
        struct seen first;
        struct seen a;
        struct seen b;

        run_terminal(h);
        attach(h, &first, 0, false);
        say(h, "one ");
        harness_run_until(h, &first.got_output);
        attach(h, &a, 1000, false);
        attach(h, &b, 0, false);
        say(h, "two");
        harness_run_until(h, &b.got_output);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        harness_run_until(h, &a.ended);
        harness_run_until(h, &b.ended);
        harness_run_until(h, &first.ended);
        assert_string_equal(first.output, "one two");
        assert_string_equal(a.output, "one two");
        assert_string_equal(b.output, "two");
        assert_string_equal(a.letters, "soe");
        assert_int_equal(a.exit_status, 3);
        assert_string_equal(a.reason, "exited");
        assert_int_equal(a.err.code, STATUS_OK);
        ttrpc_client_stream_free(first.stream);
        ttrpc_client_stream_free(a.stream);
        ttrpc_client_stream_free(b.stream);
}

static void attach_after_the_exit_replays(void **state)
{
        struct harness *h = *state;
        struct seen a;

        run_terminal(h);
        say(h, "said");
        fake_exit(h->fake.init, CLD_KILLED, SIGTERM);
        harness_settle(h);
        attach(h, &a, 1000, false);
        harness_run_until(h, &a.ended);
        assert_string_equal(a.letters, "soe");
        assert_string_equal(a.output, "said");
        assert_int_equal(a.exit_status, 128 + SIGTERM);
        ttrpc_client_stream_free(a.stream);
}

static void attach_without_anything_to_show_is_refused(void **state)
{
        struct harness *h = *state;
        struct seen a;

        harness_run(h);
        attach(h, &a, 0, false);
        harness_run_until(h, &a.ended);
        assert_int_equal(a.err.code, STATUS_FAILED_PRECONDITION);
        assert_non_null(strstr(a.err.msg, "log://"));
        assert_string_equal(a.letters, "");
        ttrpc_client_stream_free(a.stream);
}

static void attach_to_a_stdin_that_is_none_is_refused(void **state)
{
        struct harness *h = *state;
        struct seen a;

        run_terminal(h);
        attach(h, &a, 0, true);
        harness_run_until(h, &a.ended);
        assert_int_equal(a.err.code, STATUS_FAILED_PRECONDITION);
        assert_non_null(strstr(a.err.msg, "stdin"));
        ttrpc_client_stream_free(a.stream);
}

static void a_detach_ends_the_stream_and_nothing_else(void **state)
{
        struct harness *h = *state;
        int n_fds = 0;

        run_terminal(h);
        for (int i = 0; i < 300; i++) {
                struct seen a;

                if (i == 1)
                        n_fds = count_fds();
                attach(h, &a, 0, false);
                ttrpc_client_stream_half_close(a.stream);
                harness_run_until(h, &a.ended);
                assert_int_equal(a.err.code, STATUS_OK);
                assert_string_equal(a.letters, "s");
                ttrpc_client_stream_free(a.stream);
        }
        assert_int_equal(count_fds(), n_fds);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_OK);
}

static void delete_while_attached_ends_with_the_exit(void **state)
{
        struct harness *h = *state;
        struct seen a;

        h->terminal = true;
        harness_create(h);
        attach(h, &a, 0, false);
        /* A created container is killed by its Delete. */
        struct reply *reply = rpc_begin(h, "Delete", NULL);

        harness_settle(h);
        assert_int_equal(h->fake.last_signal, SIGKILL);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_end(h, reply).code, STATUS_OK);
        harness_run_until(h, &a.ended);
        assert_string_equal(a.letters, "se");
        assert_int_equal(a.exit_status, 137);
        ttrpc_client_stream_free(a.stream);
}

static void a_stop_of_the_shim_ends_attachments_with_a_text(void **state)
{
        struct harness *h = *state;
        struct seen a;

        run_terminal(h);
        attach(h, &a, 0, false);
        shim_server_stop(h->server, "test");
        harness_run_until(h, &a.ended);
        assert_int_equal(a.err.code, STATUS_UNAVAILABLE);
        ttrpc_client_stream_free(a.stream);
}

static void a_server_that_is_freed_with_streams_leaks_nothing(void **state)
{
        struct harness *h = *state;
        static struct seen a; /* it lives until the client is freed */
        static struct seen e;

        run_terminal(h);
        attach(h, &a, 0, false);
        exec_stream(h, &e, h->client, true);
        assert_string_equal(e.letters, "sg");
        ttrpc_client_stream_free(a.stream);
        ttrpc_client_stream_free(e.stream);
}

/* ---- ExecStream ---- */

static void exec_stream_starts_ends_and_is_deleted(void **state)
{
        struct harness *h = *state;
        struct seen e;

        harness_run(h);
        exec_stream(h, &e, h->client, true);
        assert_string_equal(e.letters, "sg");
        assert_int_equal(rpc_do(h, "State", "e1").status, 2);
        fake_exit(h->fake.exec, CLD_EXITED, 7);
        harness_run_until(h, &e.ended);
        assert_string_equal(e.letters, "sge");
        assert_int_equal(e.exit_status, 7);
        assert_int_equal(e.err.code, STATUS_OK);
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
        harness_await_events(h, 5);
        assert_string_equal(events_topics(&h->events), "create start exec-added exec-started exit");
        ttrpc_client_stream_free(e.stream);
}

static void exec_stream_of_what_cannot_be_started_ends_with_the_reason(void **state)
{
        struct harness *h = *state;
        struct seen e;

        harness_run(h);
        h->fake.fail[FAKE_EXEC] = "no such program";
        exec_stream(h, &e, h->client, false);
        harness_run_until(h, &e.ended);
        assert_string_equal(e.letters, "e");
        assert_string_equal(e.reason, "runtime_error");
        assert_non_null(strstr(e.error, "no such program"));
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
        ttrpc_client_stream_free(e.stream);
}

static void exec_stream_without_a_running_container_is_refused(void **state)
{
        struct harness *h = *state;
        struct seen e;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        harness_settle(h);
        exec_stream(h, &e, h->client, false);
        harness_run_until(h, &e.ended);
        assert_int_equal(e.err.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(e.letters, "");
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
        ttrpc_client_stream_free(e.stream);
}

static void an_exec_whose_client_goes_away_is_deleted_after_its_end(void **state)
{
        struct harness *h = *state;
        struct seen e;
        struct ttrpc_client *other;

        harness_run(h);
        other = harness_connect(h);
        exec_stream(h, &e, other, true);
        ttrpc_client_stream_free(e.stream);
        ttrpc_client_free(other);
        harness_settle(h);
        assert_int_equal(rpc_do(h, "State", "e1").status, 2);
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        harness_settle(h);
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
}

static void a_client_that_goes_away_during_the_start_leaves_nothing(void **state)
{
        struct harness *h = *state;
        struct seen e;
        struct ttrpc_client *other;

        harness_run(h);
        other = harness_connect(h);
        h->fake.hold[FAKE_EXEC] = true;
        exec_stream(h, &e, other, true);
        ttrpc_client_stream_free(e.stream);
        ttrpc_client_free(other);
        harness_settle(h);
        fake_release(&h->fake, FAKE_EXEC);
        harness_settle(h);
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        harness_settle(h);
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
}

#define WITH_HARNESS(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                WITH_HARNESS(attach_replays_and_follows_and_ends_with_the_exit),
                WITH_HARNESS(attach_after_the_exit_replays),
                WITH_HARNESS(attach_without_anything_to_show_is_refused),
                WITH_HARNESS(attach_to_a_stdin_that_is_none_is_refused),
                WITH_HARNESS(a_detach_ends_the_stream_and_nothing_else),
                WITH_HARNESS(delete_while_attached_ends_with_the_exit),
                WITH_HARNESS(a_stop_of_the_shim_ends_attachments_with_a_text),
                WITH_HARNESS(a_server_that_is_freed_with_streams_leaks_nothing),
                WITH_HARNESS(exec_stream_starts_ends_and_is_deleted),
                WITH_HARNESS(exec_stream_of_what_cannot_be_started_ends_with_the_reason),
                WITH_HARNESS(exec_stream_without_a_running_container_is_refused),
                WITH_HARNESS(an_exec_whose_client_goes_away_is_deleted_after_its_end),
                WITH_HARNESS(a_client_that_goes_away_during_the_start_leaves_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
