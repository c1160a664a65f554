/* SPDX-License-Identifier: Apache-2.0
 *
 * The client: one connection, calls by stream id. A call is pending from the moment its request is
 * queued until its callback runs, which takes it off the connection first: so a callback may start
 * further calls or free the client. What comes for a stream that is not pending is ignored, since
 * the peer does not know that we have given up on a call.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/ttrpc/conn.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/ttrpc.h"
#include "pkg/ttrpc/unpack.h"
#include "pkg/ttrpc/wire.h"

struct pending {
        struct ttrpc_stream stream;
        struct ttrpc_client *client;
        const ProtobufCMessageDescriptor *output;
        struct loop_timer *timer;
        ttrpc_response_fn fn;
        void *userdata;
};

struct ttrpc_client {
        unsigned n_refs; /* the owner's, and one for each callback on the stack */
        struct loop *loop;
        struct ttrpc_pool *pool;
        struct ttrpc_conn *conn;
        uint32_t next_id;
        const ProtobufCMessageDescriptor *checked; /* the last output type that was found sound */
        bool closed;                               /* lost, or being freed */
        bool freed;
        void (*on_close)(struct ttrpc_client *client, const struct error *err, void *userdata);
        void *on_close_userdata;
};

static struct ttrpc_client *client_unref(struct ttrpc_client *client)
{
        if (!client || --client->n_refs > 0)
                return NULL;
        ttrpc_conn_unref(client->conn);
        ttrpc_pool_unref(client->pool);
        free(client);
        return NULL;
}

CLEANUP_DEFINE(struct ttrpc_client, client_unref)

static struct ttrpc_client *client_ref(struct ttrpc_client *client)
{
        client->n_refs++;
        return client;
}

static struct pending *pending_free(struct pending *pending)
{
        if (!pending)
                return NULL;
        loop_timer_free(pending->timer);
        free(pending);
        return NULL;
}

CLEANUP_DEFINE(struct pending, pending_free)

/* Ends a pending call. It may be the end of the client, too. */
static void pending_end(struct pending *ended, const struct error *err,
                        const ProtobufCMessage *response)
{
        _cleanup_(pending_free_p) struct pending *pending = ended;

        ttrpc_streams_remove(&pending->client->conn->streams, &pending->stream);
        pending->fn(err, response, pending->userdata);
}

static void pending_fail(struct pending *pending, int code, const char *text)
{
        struct error err = ERROR_INIT;

        (void)error_set(&err, code, "%s", text);
        pending_end(pending, &err, NULL);
}

static void client_fail_pending(struct ttrpc_client *client, int code, const char *text)
{
        for (;;) {
                struct ttrpc_stream *stream = ttrpc_streams_any(&client->conn->streams);

                if (!stream)
                        return;
                pending_fail(container_of(stream, struct pending, stream), code, text);
        }
}

static void pending_on_timer(struct loop_timer *timer, void *userdata)
{
        struct pending *pending = userdata;
        _cleanup_(client_unref_p) struct ttrpc_client *client = client_ref(pending->client);

        (void)timer;
        (void)client; /* only held */
        pending_fail(pending, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
}

/* ---- Answers ---- */

static void pending_unpack(struct pending *pending, struct ttrpc_span payload)
{
        /* pending goes away with its callback; what it holds on to must not. */
        _cleanup_(client_unref_p) struct ttrpc_client *client = client_ref(pending->client);
        struct arena *arena = ttrpc_pool_arena_take(client->pool);
        struct error err = ERROR_INIT;
        const ProtobufCMessage *response;

        if (!arena) {
                pending_fail(pending, STATUS_RESOURCE_EXHAUSTED, "ttrpc: no memory for an answer");
                return;
        }
        response = ttrpc_unpack(pending->output, payload.data, payload.len, arena, &err);
        pending_end(pending, response ? NULL : &err, response);
        ttrpc_pool_arena_give(client->pool, arena);
}

static void pending_answer(struct pending *pending, const struct ttrpc_frame *frame,
                           const uint8_t *body)
{
        struct ttrpc_wire_response response;
        struct error err = ERROR_INIT;
        const char *why = NULL;

        if (frame->type != TTRPC_FRAME_RESPONSE) {
                pending_fail(pending, STATUS_INTERNAL,
                             "ttrpc: protocol error: a unary call was answered with stream data");
                return;
        }
        if (ttrpc_wire_response_decode(&response, body, frame->length, &why) < 0) {
                (void)error_set(&err, STATUS_INTERNAL, "ttrpc: error unmarshalling response: %s",
                                why);
                pending_end(pending, &err, NULL);
        } else if (response.code != STATUS_OK) {
                int len = response.message.len < sizeof(err.msg) ? (int)response.message.len
                                                                 : (int)sizeof(err.msg);

                (void)error_set(&err, response.code, "%.*s", len,
                                len > 0 ? (const char *)response.message.data : "");
                pending_end(pending, &err, NULL);
        } else {
                pending_unpack(pending, response.payload);
        }
}

static struct pending *client_find(struct ttrpc_conn *conn, uint32_t id)
{
        struct ttrpc_stream *stream = ttrpc_streams_find(&conn->streams, id);

        return stream ? container_of(stream, struct pending, stream) : NULL;
}

static void client_on_frame(struct ttrpc_conn *conn, const struct ttrpc_frame *frame,
                            const uint8_t *body)
{
        struct pending *pending = client_find(conn, frame->stream_id);

        if (pending)
                pending_answer(pending, frame, body);
}

static void client_on_oversized(struct ttrpc_conn *conn, const struct ttrpc_frame *frame)
{
        struct pending *pending = client_find(conn, frame->stream_id);
        struct error err = ERROR_INIT;

        if (!pending)
                return;
        (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                        "message length %u exceed maximum message size of %u", frame->length,
                        TTRPC_MESSAGE_MAX);
        pending_end(pending, &err, NULL);
}

static void client_on_lost(struct ttrpc_conn *conn, const struct error *err)
{
        _cleanup_(client_unref_p) struct ttrpc_client *client = client_ref(conn->owner);

        client->closed = true;
        client_fail_pending(client, STATUS_UNAVAILABLE, "ttrpc: closed");
        if (!client->freed && client->on_close)
                client->on_close(client, err, client->on_close_userdata);
}

static const struct ttrpc_conn_ops client_conn_ops = {
        .read_to_end = true,
        .on_frame = client_on_frame,
        .on_oversized = client_on_oversized,
        .on_lost = client_on_lost,
};

/* ---- Life ---- */

int ttrpc_client_new_take(struct ttrpc_client **ret, struct loop *loop, int fd, struct error *err)
{
        _cleanup_(client_unref_p) struct ttrpc_client *client = calloc(1, sizeof(*client));

        if (!client)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc client: no memory");
        client->n_refs = 1;
        client->loop = loop;
        client->next_id = 1;
        client->pool = ttrpc_pool_new(loop);
        if (!client->pool)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc client: no memory");
        if (ttrpc_conn_new_take(&client->conn, loop, fd, client->pool, &client_conn_ops, client,
                                err) < 0)
                return -1;
        *ret = TAKE_PTR(client);
        return 0;
}

int ttrpc_client_connect(struct ttrpc_client **ret, struct loop *loop, const char *address,
                         struct error *err)
{
        static const char scheme[] = "unix://";
        const char *path = str_has_prefix(address, scheme) ? address + strlen(scheme) : address;
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        _cleanup_close_ int fd = -1;

        if (path[0] != '/' || strlen(path) >= sizeof(sun.sun_path))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "ttrpc address '%s': not an absolute path of a unix socket of at "
                                 "most %zu bytes",
                                 address, sizeof(sun.sun_path) - 1);
        memcpy(sun.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(err, errno, "connect to '%s': socket", path);
        if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0) {
                (void)error_errno(err, errno, "connect to '%s'", path);
                if (err)
                        err->code = STATUS_UNAVAILABLE;
                return -1;
        }
        if (ttrpc_client_new_take(ret, loop, fd, err) < 0)
                return -1;
        fd = -1;
        return 0;
}

struct ttrpc_client *ttrpc_client_free(struct ttrpc_client *client)
{
        if (!client)
                return NULL;
        assert(!client->freed);
        client->freed = true;
        client->closed = true;
        ttrpc_conn_close(client->conn);
        client_fail_pending(client, STATUS_CANCELED, "ttrpc: client closed");
        ttrpc_pool_close(client->pool);
        return client_unref(client);
}

void ttrpc_client_on_close(struct ttrpc_client *client,
                           void (*fn)(struct ttrpc_client *client, const struct error *err,
                                      void *userdata),
                           void *userdata)
{
        client->on_close = fn;
        client->on_close_userdata = userdata;
}

/* ---- Calls ---- */

static int client_check(struct ttrpc_client *client, const ProtobufCMethodDescriptor *method,
                        struct error *err)
{
        if (client->closed || client->conn->doomed)
                return error_set(err, STATUS_UNAVAILABLE, "ttrpc: closed");
        if (client->next_id > INT32_MAX) {
                ttrpc_conn_doom(client->conn, "stream ids are used up", 0);
                return error_set(err, STATUS_UNAVAILABLE, "ttrpc: stream ids are used up");
        }
        if (client->conn->streams.n >= TTRPC_CALLS_PER_CONNECTION_MAX)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: %u calls are pending already",
                                 TTRPC_CALLS_PER_CONNECTION_MAX);
        if (client->checked != method->output) {
                if (ttrpc_schema_check(method->output, err) < 0)
                        return error_prefix(err, "ttrpc: method %s", method->name);
                client->checked = method->output;
        }
        return 0;
}

static int pending_start_timer(struct pending *pending, struct loop *loop, uint64_t timeout_ns,
                               struct error *err)
{
        pending->timer = loop_timer_new(loop, pending_on_timer, pending);
        if (!pending->timer || loop_timer_set(pending->timer, timeout_ns) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc call: no memory");
        return 0;
}

int ttrpc_client_call(struct ttrpc_client *client, const ProtobufCServiceDescriptor *service,
                      unsigned method, const ProtobufCMessage *request,
                      const struct ttrpc_call_options *options, ttrpc_response_fn fn,
                      void *userdata, struct error *err)
{
        const ProtobufCMethodDescriptor *descriptor = &service->methods[method];
        _cleanup_(pending_free_p) struct pending *pending = NULL;
        struct ttrpc_out *out = NULL;

        assert(method < service->n_methods && request->descriptor == descriptor->input);
        if (client_check(client, descriptor, err) < 0)
                return -1;
        pending = calloc(1, sizeof(*pending));
        if (!pending)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc call: no memory");
        pending->client = client;
        pending->output = descriptor->output;
        pending->fn = fn;
        pending->userdata = userdata;
        pending->stream.id = client->next_id;
        if (options && options->timeout_ns > 0 &&
            pending_start_timer(pending, client->loop, options->timeout_ns, err) < 0)
                return -1;
        if (ttrpc_out_request(&out, client->next_id, service->name, descriptor->name, request,
                              options, err) < 0)
                return error_prefix(err, "ttrpc: request");
        if (client->conn->n_queued + out->len > TTRPC_QUEUED_BYTES_MAX) {
                (void)ttrpc_out_free(out);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: the peer does not read its requests");
        }
        client->next_id += 2;
        ttrpc_conn_send_consume(client->conn, out);
        ttrpc_streams_add(&client->conn->streams, &TAKE_PTR(pending)->stream);
        return 0;
}
