/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the answers of a server to three pending calls, and two that stream (ids 7 and 9).
 * Each ends exactly once, by its answer or by the end of the client.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/ttrpc.h"

#include "test/unit/ttrpc/echo.pb-c.h"

enum { N_CALLS = 3, N_STREAMS = 2, COUNT = 0, TALK = 2 };

static void count_end(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        int *n_ended = userdata;

        if (!err == !response)
                abort();
        if (response && protobuf_c_message_get_packed_size(response) > TTRPC_MESSAGE_MAX)
                abort();
        (*n_ended)++;
}

static void stream_on_message(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                              void *userdata)
{
        if (protobuf_c_message_get_packed_size(message) > TTRPC_MESSAGE_MAX)
                abort();
}

static void stream_on_end(struct ttrpc_client_stream *stream, const struct error *err,
                          void *userdata)
{
        int *n_ended = userdata;

        (*n_ended)++;
        ttrpc_client_stream_free(stream);
}

static const struct ttrpc_client_stream_ops stream_ops = {
        .on_message = stream_on_message,
        .on_end = stream_on_end,
};

static void open_streams(struct ttrpc_client *client, int *n_ended)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct ttrpc_client_stream *stream = NULL;

        if (ttrpc_client_stream_open(&stream, client, &test__ttrpc__chat__descriptor, COUNT,
                                     TTRPC_SERVER_STREAM, &request.base, NULL, &stream_ops, n_ended,
                                     NULL) < 0 ||
            ttrpc_client_stream_open(&stream, client, &test__ttrpc__chat__descriptor, TALK,
                                     TTRPC_BIDI_STREAM, NULL, NULL, &stream_ops, n_ended,
                                     NULL) < 0 ||
            ttrpc_client_stream_send(stream, &request.base, NULL) < 0)
                abort();
}

static void quit_on_close(struct ttrpc_client *client, const struct error *err, void *userdata)
{
        loop_quit(userdata);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct ttrpc_client *client = NULL;
        struct loop *loop = NULL;
        int n_ended = 0;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
            loop_new(&loop, NULL) < 0 || ttrpc_client_new_take(&client, loop, fds[0], NULL) < 0)
                abort();
        for (int i = 0; i < N_CALLS; i++) {
                if (ttrpc_client_call(client, &test__ttrpc__echo__descriptor, 0, &request.base,
                                      NULL, count_end, &n_ended, NULL) < 0)
                        abort();
        }
        open_streams(client, &n_ended);
        ttrpc_client_on_close(client, quit_on_close, loop);
        /* What does not fit into the socket is not part of the game. */
        (void)!send(fds[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)shutdown(fds[1], SHUT_WR);
        if (loop_run(loop, NULL) < 0)
                abort();
        ttrpc_client_free(client);
        loop_free(loop);
        (void)close(fds[1]);
        if (n_ended != N_CALLS + N_STREAMS)
                abort();
        return 0;
}
