/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes, in two cuts, into a connection of a server, as if a socket had brought them. Whatever
 * they are, the answers are whole frames with valid envelopes.
 */
#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/ttrpc/server.h"

#include "test/unit/ttrpc/echo.pb-c.h"

static void handle_echo(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        response.text = request->text;
        response.data = request->data;
        ttrpc_call_reply(call, &response.base);
}

static void handle_keep(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        ttrpc_call_on_cancel(call, userdata, NULL);
}

static void cancelled(struct ttrpc_call *call, void *userdata)
{
        assert(ttrpc_call_method(call));
}

static void handle_fail(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;

        ttrpc_call_fail(call, (int)request->number, "%s", request->text);
}

static const ttrpc_handler handlers[] = {
        handle_echo, handle_keep, handle_fail, handle_echo, handle_keep, NULL,
};

/* A conversation that ends when its peer says so, or with a message that names a code. */
static void talk_on_message(struct ttrpc_call *call, const ProtobufCMessage *message,
                            void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        if (request->number != 0) {
                ttrpc_call_fail(call, (int)request->number, "%s", request->text);
                return;
        }
        response.data = request->data;
        (void)ttrpc_call_send(call, &response.base, NULL);
}

static void talk_on_half_close(struct ttrpc_call *call, void *userdata)
{
        ttrpc_call_end(call);
}

static void sum_on_half_close(struct ttrpc_call *call, void *userdata)
{
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        ttrpc_call_reply(call, &response.base);
}

static void ignore_message(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        if (!message->descriptor)
                abort();
}

static void handle_count(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;

        if (request->number == 0)
                ttrpc_call_end(call);
        else
                ttrpc_call_on_cancel(call, userdata, NULL);
}

static void handle_sum(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        static const struct ttrpc_stream_ops ops = {
                .on_message = ignore_message,
                .on_half_close = sum_on_half_close,
        };

        ttrpc_call_on_cancel(call, userdata, NULL);
        ttrpc_call_on_stream(call, &ops, NULL);
}

static void handle_talk(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        static const struct ttrpc_stream_ops ops = {
                .on_message = talk_on_message,
                .on_half_close = talk_on_half_close,
        };

        ttrpc_call_on_cancel(call, userdata, NULL);
        ttrpc_call_on_stream(call, &ops, NULL);
}

static const enum ttrpc_kind kinds[] = {TTRPC_SERVER_STREAM, TTRPC_CLIENT_STREAM,
                                        TTRPC_BIDI_STREAM};
static const ttrpc_handler chat_handlers[] = {handle_count, handle_sum, handle_talk};

struct stop {
        struct loop_deferred deferred;
        struct loop *loop;
        int rounds;
};

static void quit(struct loop_deferred *deferred)
{
        struct stop *stop = container_of(deferred, struct stop, deferred);

        if (--stop->rounds == 0)
                loop_quit(stop->loop);
        else
                loop_defer(stop->loop, deferred);
}

static void run_rounds(struct loop *loop)
{
        struct stop stop = {.loop = loop, .rounds = 3};

        loop_deferred_init(&stop.deferred, quit);
        loop_defer(loop, &stop.deferred);
        if (loop_run(loop, NULL) < 0)
                abort();
}

static void check_answers(const uint8_t *data, size_t len)
{
        while (len >= TTRPC_HEADER_SIZE) {
                struct ttrpc_frame frame = ttrpc_frame_decode(data);
                struct ttrpc_wire_response response;
                const char *why = NULL;

                data += TTRPC_HEADER_SIZE;
                len -= TTRPC_HEADER_SIZE;
                if (frame.length > TTRPC_MESSAGE_MAX)
                        abort();
                if (frame.type != TTRPC_FRAME_RESPONSE && frame.type != TTRPC_FRAME_DATA)
                        abort();
                if (frame.length > len)
                        return; /* the rest did not fit into the test's buffer */
                if (frame.type == TTRPC_FRAME_RESPONSE &&
                    ttrpc_wire_response_decode(&response, data, frame.length, &why) < 0)
                        abort();
                data += frame.length;
                len -= frame.length;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static uint8_t answers[1 << 18];
        struct ttrpc_server *server = NULL;
        struct ttrpc_conn *conn;
        struct loop *loop = NULL;
        size_t cut = size > 0 ? data[0] % size : 0;
        ssize_t n;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
            loop_new(&loop, NULL) < 0 || ttrpc_server_new(&server, loop, NULL, NULL) < 0 ||
            ttrpc_server_register(server, &test__ttrpc__echo__descriptor, handlers, cancelled,
                                  NULL) < 0 ||
            ttrpc_server_register_streaming(server, &test__ttrpc__chat__descriptor, kinds,
                                            chat_handlers, cancelled, NULL) < 0 ||
            ttrpc_server_adopt_consume(server, fds[1], NULL) < 0)
                abort();
        conn = ttrpc_conn_ref(list_first(&server->conns, struct ttrpc_conn, node));
        ttrpc_conn_feed(conn, data, cut);
        ttrpc_conn_feed(conn, data + cut, size - cut);
        run_rounds(loop);
        n = recv(fds[0], answers, sizeof(answers), MSG_DONTWAIT);
        if (n > 0)
                check_answers(answers, (size_t)n);
        ttrpc_server_free(server);
        ttrpc_conn_unref(conn);
        loop_free(loop);
        (void)close(fds[0]);
        return 0;
}
