/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of a client. A stream is pending (client.h) until its end; after that it is no more than
 * memory that waits for its owner to free it. Its owner may do so from any of its callbacks: then
 * the last one on the stack frees it.
 */
#include <assert.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/ttrpc/client.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/unpack.h"

struct ttrpc_client_stream {
        struct ttrpc_pending pending;
        struct ttrpc_client *client; /* held until the end, NULL after it */
        const ProtobufCMethodDescriptor *method;
        enum ttrpc_kind kind;
        const struct ttrpc_client_stream_ops *ops;
        void *userdata;
        struct loop_timer *timer;
        struct loop_deferred room_late;
        size_t n_queued;
        bool half_closed;
        unsigned n_callbacks; /* on the stack */
        bool freed;
};

static struct ttrpc_client_stream *stream_of(struct ttrpc_pending *pending)
{
        return container_of(pending, struct ttrpc_client_stream, pending);
}

static void stream_enter(struct ttrpc_client_stream *stream)
{
        stream->n_callbacks++;
}

static void stream_leave(struct ttrpc_client_stream *stream)
{
        if (--stream->n_callbacks == 0 && stream->freed)
                free(stream);
}

/* Takes it off its client; the caller holds the client if that must outlive it. */
static void stream_detach(struct ttrpc_client_stream *stream)
{
        struct ttrpc_client *client = TAKE_PTR(stream->client);

        if (!client)
                return;
        stream->timer = loop_timer_free(stream->timer);
        loop_deferred_cancel(&stream->room_late);
        ttrpc_pending_remove(&stream->pending);
        client->conn->n_streaming--;
        ttrpc_client_unref(client);
}

static void stream_end(struct ttrpc_client_stream *stream, const struct error *err)
{
        stream_enter(stream);
        stream_detach(stream);
        if (!stream->freed)
                stream->ops->on_end(stream, err, stream->userdata);
        stream_leave(stream);
}

static void stream_fail(struct ttrpc_pending *pending, const struct error *err)
{
        stream_end(stream_of(pending), err);
}

/* ---- From the peer ---- */

static void stream_take_message(struct ttrpc_client_stream *stream, const uint8_t *data, size_t len)
{
        struct ttrpc_pool *pool = ttrpc_pool_ref(stream->client->pool);
        struct arena *arena = ttrpc_pool_arena_take(pool);
        struct error err = ERROR_INIT;
        const ProtobufCMessage *message = NULL;

        if (arena)
                message = ttrpc_unpack(stream->method->output, data, len, arena, &err);
        else
                (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED, "ttrpc: no memory for a message");
        if (message)
                stream->ops->on_message(stream, message, stream->userdata);
        else
                stream_end(stream, &err);
        if (arena)
                ttrpc_pool_arena_give(pool, arena);
        ttrpc_pool_unref(pool);
}

/* The only answer to a stream of requests, or a status. */
static void stream_take_response(struct ttrpc_client_stream *stream,
                                 const struct ttrpc_frame *frame, const uint8_t *body)
{
        struct ttrpc_span payload = {0};
        struct error err = ERROR_INIT;

        if (ttrpc_response_check(frame, body, &payload, &err) < 0) {
                stream_end(stream, &err);
                return;
        }
        if (!(stream->kind & TTRPC_SERVER_STREAM) || payload.len > 0)
                stream_take_message(stream, payload.data, payload.len);
        if (stream->client)
                stream_end(stream, NULL);
}

static void stream_on_frame(struct ttrpc_pending *pending, const struct ttrpc_frame *frame,
                            const uint8_t *body)
{
        struct ttrpc_client_stream *stream = stream_of(pending);
        _cleanup_(ttrpc_client_unref_p) struct ttrpc_client *client =
                ttrpc_client_ref(stream->client);

        (void)client; /* only held */
        stream_enter(stream);
        if (frame->type == TTRPC_FRAME_RESPONSE) {
                stream_take_response(stream, frame, body);
        } else if (frame->type == TTRPC_FRAME_DATA) {
                if (frame->length > 0 || !(frame->flags & TTRPC_FLAG_NO_DATA))
                        stream_take_message(stream, body, frame->length);
                if (frame->flags & TTRPC_FLAG_REMOTE_CLOSED && stream->client)
                        stream_end(stream, NULL);
        }
        stream_leave(stream);
}

/* ---- To the peer ---- */

static void stream_on_sent(struct ttrpc_pending *pending, const struct ttrpc_out *out)
{
        struct ttrpc_client_stream *stream = stream_of(pending);
        const size_t half = TTRPC_STREAM_QUEUED_MAX / 2;
        bool was_above = stream->n_queued > half;

        stream->n_queued -= ttrpc_out_cost(out);
        if (was_above && stream->n_queued <= half)
                loop_defer(stream->client->loop, &stream->room_late);
}

static void stream_on_room_late(struct loop_deferred *deferred)
{
        struct ttrpc_client_stream *stream =
                container_of(deferred, struct ttrpc_client_stream, room_late);

        if (!stream->ops->on_room)
                return;
        stream_enter(stream);
        stream->ops->on_room(stream, stream->userdata);
        stream_leave(stream);
}

static const struct ttrpc_pending_ops stream_ops = {
        .on_frame = stream_on_frame,
        .on_sent = stream_on_sent,
        .fail = stream_fail,
};

size_t ttrpc_client_stream_room(const struct ttrpc_client_stream *stream)
{
        return stream->n_queued < TTRPC_STREAM_QUEUED_MAX
                       ? TTRPC_STREAM_QUEUED_MAX - stream->n_queued
                       : 0;
}

int ttrpc_client_stream_send(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                             struct error *err)
{
        struct ttrpc_out *out = NULL;

        assert(stream->kind & TTRPC_CLIENT_STREAM && !stream->half_closed);
        assert(message->descriptor == stream->method->input);
        if (!stream->client)
                return error_set(err, STATUS_UNAVAILABLE, "ttrpc: the stream has ended");
        if (ttrpc_out_data(&out, stream->client->pool, stream->pending.stream.id, message, err) < 0)
                return -1;
        if (ttrpc_out_cost(out) > ttrpc_client_stream_room(stream)) {
                (void)ttrpc_out_free(out);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: the peer does not read its stream");
        }
        stream->n_queued += ttrpc_out_cost(out);
        ttrpc_conn_send_consume(stream->client->conn, out);
        return 0;
}

void ttrpc_client_stream_half_close(struct ttrpc_client_stream *stream)
{
        struct ttrpc_out *out;

        if (stream->half_closed || !(stream->kind & TTRPC_CLIENT_STREAM))
                return;
        stream->half_closed = true;
        if (!stream->client)
                return;
        out = ttrpc_out_close(stream->pending.stream.id);
        if (out)
                stream->n_queued += ttrpc_out_cost(out);
        ttrpc_conn_send_consume(stream->client->conn, out);
}

/* ---- Life ---- */

struct ttrpc_client_stream *ttrpc_client_stream_free(struct ttrpc_client_stream *stream)
{
        if (!stream)
                return NULL;
        assert(!stream->freed);
        stream_enter(stream);
        stream->freed = true;
        stream_detach(stream);
        stream_leave(stream);
        return NULL;
}

CLEANUP_DEFINE(struct ttrpc_client_stream, ttrpc_client_stream_free)

static void stream_on_timer(struct loop_timer *timer, void *userdata)
{
        struct ttrpc_client_stream *stream = userdata;
        _cleanup_(ttrpc_client_unref_p) struct ttrpc_client *client =
                ttrpc_client_ref(stream->client);

        (void)timer;
        (void)client; /* only held */
        ttrpc_pending_fail(&stream->pending, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
}

static int stream_start_timer(struct ttrpc_client_stream *stream, struct loop *loop,
                              const struct ttrpc_call_options *options, struct error *err)
{
        if (!options || options->timeout_ns == 0)
                return 0;
        stream->timer = loop_timer_new(loop, stream_on_timer, stream);
        if (!stream->timer || loop_timer_set(stream->timer, options->timeout_ns) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc stream: no memory");
        return 0;
}

int ttrpc_client_stream_open(struct ttrpc_client_stream **ret, struct ttrpc_client *client,
                             const ProtobufCServiceDescriptor *service, unsigned method,
                             enum ttrpc_kind kind, const ProtobufCMessage *request,
                             const struct ttrpc_call_options *options,
                             const struct ttrpc_client_stream_ops *ops, void *userdata,
                             struct error *err)
{
        const ProtobufCMethodDescriptor *descriptor = &service->methods[method];
        _cleanup_(ttrpc_client_stream_free_p) struct ttrpc_client_stream *stream = NULL;
        uint8_t flags =
                kind & TTRPC_CLIENT_STREAM ? TTRPC_FLAG_REMOTE_OPEN : TTRPC_FLAG_REMOTE_CLOSED;
        struct ttrpc_out *out = NULL;

        assert(kind != TTRPC_UNARY && method < service->n_methods);
        assert(!request == !!(kind & TTRPC_CLIENT_STREAM));
        if (ttrpc_client_check(client, descriptor, err) < 0)
                return -1;
        if (client->conn->n_streaming >= TTRPC_STREAMS_PER_CONNECTION_MAX)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: the connection carries %u streams already",
                                 TTRPC_STREAMS_PER_CONNECTION_MAX);
        stream = calloc(1, sizeof(*stream));
        if (!stream)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc stream: no memory");
        stream->method = descriptor;
        stream->kind = kind;
        stream->ops = ops;
        stream->userdata = userdata;
        loop_deferred_init(&stream->room_late, stream_on_room_late);
        if (ttrpc_out_request(&out, client->next_id, flags, service->name, descriptor->name,
                              request, options, err) < 0)
                return error_prefix(err, "ttrpc: request");
        if (ttrpc_pending_send_consume(&stream->pending, client, &stream_ops, out, err) < 0)
                return -1;
        stream->client = ttrpc_client_ref(client);
        client->conn->n_streaming++;
        if (stream_start_timer(stream, client->loop, options, err) < 0)
                return -1;
        *ret = TAKE_PTR(stream);
        return 0;
}
