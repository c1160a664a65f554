/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream of a log, whose reader is the test, on a host that has no memory for what the reader has
 * said: each entry comes once, and then the end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/log/log.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/log_stream.h"
#include "shim/server_impl.h"
#include "test/unit/shim/harness.h"

enum { METHOD = 1 /* Logs */, ENTRIES = 3 };

static struct {
        int fd;     /* of the stream */
        int flags;  /* of the calls that fail */
        int errnum; /* with it */
        unsigned n; /* how many do */
} faults;

ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
        if (faults.n > 0 && fd == faults.fd && flags == faults.flags) {
                faults.n--;
                errno = faults.errnum;
                return -1;
        }
        return __real_recv(fd, buf, len, flags);
}

/* ---- The service: Logs, without a process of its own that reads ---- */

static int reader = -1; /* our end */

static void on_room(struct ttrpc_call *call, void *userdata)
{
        (void)call;
        log_stream_pump(userdata);
}

static void on_cancel(struct ttrpc_call *call, void *userdata)
{
        (void)call;
        log_stream_free(userdata);
}

static void handle_logs(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        static const struct ttrpc_stream_ops ops = {.on_room = on_room};
        struct log_stream *s = log_stream_new(call, userdata);
        int fds[2];

        (void)message;
        assert_non_null(s);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        s->fd = fds[0];
        reader = fds[1];
        faults.fd = s->fd;
        assert_int_equal(log_stream_begin(s, NULL, NULL), 0);
        ttrpc_call_on_stream(call, &ops, s);
        ttrpc_call_on_cancel(call, on_cancel, s);
}

static ProtobufCServiceDescriptor service;
static const ttrpc_handler handlers[] = {NULL, handle_logs, NULL, NULL, NULL, NULL, NULL, NULL};
static const enum ttrpc_kind kinds[] = {TTRPC_UNARY, TTRPC_SERVER_STREAM, TTRPC_UNARY, TTRPC_UNARY,
                                        TTRPC_UNARY, TTRPC_UNARY,         TTRPC_UNARY, TTRPC_UNARY};

/* ---- The client ---- */

struct seen {
        struct loop *loop;
        char text[64];
        bool has_ended;
        int code;
};

static void on_message(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                       void *userdata)
{
        const Belay__V1__LogsResponse *response = (const void *)message;
        struct seen *seen = userdata;

        (void)stream;
        for (size_t i = 0; i < response->n_entries; i++)
                (void)strncat(seen->text, (const char *)response->entries[i]->output->data.data,
                              response->entries[i]->output->data.len);
}

static void on_end(struct ttrpc_client_stream *stream, const struct error *err, void *userdata)
{
        struct seen *seen = userdata;

        (void)stream;
        seen->has_ended = true;
        seen->code = err ? err->code : STATUS_OK;
        loop_quit(seen->loop);
}

static void say(enum log_frame_kind kind, const char *text)
{
        char bytes[sizeof(struct log_frame) + 16] = "";
        const struct log_frame frame = {
                .n = (uint32_t)strlen(text), .kind = (uint8_t)kind, .stream = LOG_STDOUT};
        size_t n = sizeof(frame) + frame.n;

        memcpy(bytes, &frame, sizeof(frame));
        memcpy(bytes + sizeof(frame), text, frame.n);
        assert_int_equal(send(reader, bytes, n, 0), n);
}

static void check(struct harness *h, int flags, int errnum)
{
        static const struct ttrpc_client_stream_ops ops = {.on_message = on_message,
                                                           .on_end = on_end};
        Belay__V1__LogsRequest request = BELAY__V1__LOGS_REQUEST__INIT;
        struct seen seen = {.loop = h->loop};
        struct ttrpc_client_stream *stream = NULL;
        struct error err = ERROR_INIT;

        service = belay__v1__belay__descriptor;
        service.name = "test.Logs";
        assert_string_equal(service.methods[METHOD].name, "Logs");
        assert_in_range(service.n_methods, METHOD + 1, sizeof(handlers) / sizeof(*handlers));
        assert_int_equal(ttrpc_server_register_streaming(h->server->ttrpc, &service, kinds,
                                                         handlers, h->server, &err),
                         0);
        faults.flags = flags;
        faults.errnum = errnum;
        faults.n = 2;
        assert_int_equal(ttrpc_client_stream_open(&stream, h->client, &service, METHOD,
                                                  TTRPC_SERVER_STREAM, &request.base, NULL, &ops,
                                                  &seen, &err),
                         0);
        harness_settle(h);
        for (int i = 0; i < ENTRIES; i++)
                say(LOG_FRAME_ENTRY, (const char *[]){"one ", "two ", "three "}[i]);
        say(LOG_FRAME_END, "");
        harness_run_until(h, &seen.has_ended);
        assert_int_equal(seen.code, STATUS_OK);
        assert_string_equal(seen.text, "one two three ");
        assert_int_equal(faults.n, 0);
        ttrpc_client_stream_free(stream);
        close(reader);
}

static void what_cannot_be_looked_at_is_looked_at_later(void **state)
{
        check(*state, MSG_PEEK | MSG_DONTWAIT, ENOMEM);
}

static void what_cannot_be_dropped_does_not_come_twice(void **state)
{
        check(*state, MSG_DONTWAIT, ENOMEM);
}

static void nor_when_the_drop_is_interrupted(void **state)
{
        check(*state, MSG_DONTWAIT, EINTR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(what_cannot_be_looked_at_is_looked_at_later),
                TEST(what_cannot_be_dropped_does_not_come_twice),
                TEST(nor_when_the_drop_is_interrupted),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
