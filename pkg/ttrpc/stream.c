/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that stream, on the server's side. A stream is a call (call.c) that says and hears more
 * than once: it is open, cancelled and ended as any other. Messages are unpacked one at a time into
 * an arena that is given back when the keeper has seen them, so that a stream holds no memory for
 * what has gone through it.
 */
#include <assert.h>

#include "pkg/base/clock.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/server.h"
#include "pkg/ttrpc/unpack.h"

void ttrpc_call_on_stream(struct ttrpc_call *call, const struct ttrpc_stream_ops *ops,
                          void *userdata)
{
        assert(call->kind != TTRPC_UNARY);
        assert(ops->on_message || !(call->kind & TTRPC_CLIENT_STREAM));
        call->stream_ops = ops;
        call->stream_userdata = userdata;
}

/* ---- From the peer ---- */

/* False when the call was ended meanwhile, and may be gone. */
static bool call_take_message(struct ttrpc_call *call, const uint8_t *data, size_t len)
{
        struct ttrpc_pool *pool = ttrpc_pool_ref(call->pool);
        struct arena *arena = ttrpc_pool_arena_take(pool);
        struct error err = ERROR_INIT;
        const ProtobufCMessage *message = NULL;
        bool is_open = false;

        if (arena)
                message = ttrpc_unpack(call->method->input, data, len, arena, &err);
        else
                (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED, "ttrpc: no memory for a message");
        if (message) {
                ttrpc_call_enter(call);
                call->stream_ops->on_message(call, message, call->stream_userdata);
                is_open = call->conn != NULL;
                ttrpc_call_leave(call);
        } else {
                ttrpc_call_cancel(call, err.code, err.msg);
        }
        if (arena)
                ttrpc_pool_arena_give(pool, arena);
        ttrpc_pool_unref(pool);
        return is_open;
}

static void call_take_close(struct ttrpc_call *call)
{
        call->half_closed = true;
        if (call->stream.unit >= 0)
                ttrpc_kept_call(call->conn->kept, call->stream.unit)->half_closed = 1;
        if (!call->stream_ops->on_half_close)
                return;
        ttrpc_call_enter(call);
        call->stream_ops->on_half_close(call, call->stream_userdata);
        ttrpc_call_leave(call);
}

void ttrpc_call_take_data(struct ttrpc_call *call, const struct ttrpc_frame *frame,
                          const uint8_t *body)
{
        bool is_message = frame->length > 0 || !(frame->flags & TTRPC_FLAG_NO_DATA);

        if (call->kind == TTRPC_UNARY) {
                ttrpc_call_cancel(call, STATUS_INVALID_ARGUMENT, "unary call takes no stream data");
                return;
        }
        if (!(call->kind & TTRPC_CLIENT_STREAM)) {
                /* A half-close after the only request says nothing new. */
                if (is_message)
                        ttrpc_call_cancel(call, STATUS_INVALID_ARGUMENT,
                                          "the method takes one request only");
                return;
        }
        if (call->half_closed) {
                ttrpc_call_cancel(call, STATUS_INVALID_ARGUMENT,
                                  "stream data after the end of the stream");
                return;
        }
        if (is_message && !call_take_message(call, body, frame->length))
                return;
        if (frame->flags & TTRPC_FLAG_REMOTE_CLOSED)
                call_take_close(call);
}

void ttrpc_call_take_first(struct ttrpc_call *call, const struct ttrpc_frame *frame,
                           struct ttrpc_span payload)
{
        assert(call->stream_ops);
        if (payload.len > 0 && !call_take_message(call, payload.data, payload.len))
                return;
        if (!(frame->flags & TTRPC_FLAG_REMOTE_OPEN))
                call_take_close(call);
}

void ttrpc_call_resume(struct ttrpc_call *call, bool half_closed)
{
        assert(call->stream_ops);
        if (half_closed)
                call_take_close(call);
}

/* ---- To the peer ---- */

static size_t room_of(size_t max, size_t n)
{
        return n < max ? max - n : 0;
}

/* What the image before has queued counts against each stream of its: it may be of any. */
static size_t own_room(const struct ttrpc_call *call)
{
        size_t n_restored = call->resumed && call->conn ? call->conn->n_restored : 0;

        return room_of(TTRPC_STREAM_QUEUED_MAX, call->n_queued + n_restored);
}

size_t ttrpc_call_room(struct ttrpc_call *call)
{
        size_t own = own_room(call);
        size_t shared = ttrpc_turn_room(call);

        return shared < own ? shared : own;
}

/* ---- Without memory for a message ---- */

static void call_is_short(struct ttrpc_call *call)
{
        call->is_short = true;
        if (!loop_timer_is_set(call->server->shortage) &&
            loop_timer_set(call->server->shortage, LOOP_REST_NS) < 0)
                loop_defer(call->server->loop, &call->room_late);
}

static void conn_shortage_over(struct ttrpc_conn *conn)
{
        for (size_t i = 0; i < TTRPC_STREAM_CHAINS; i++) {
                for (struct ttrpc_stream *stream = conn->streams.chains[i]; stream;
                     stream = stream->next) {
                        struct ttrpc_call *call = container_of(stream, struct ttrpc_call, stream);

                        if (call->is_short)
                                loop_defer(conn->loop, &call->room_late);
                }
        }
}

void ttrpc_call_on_shortage_over(struct loop_timer *timer, void *userdata)
{
        const struct ttrpc_server *server = userdata;

        (void)timer;
        list_for_each(conn, &server->conns, struct ttrpc_conn, node)
                conn_shortage_over(conn);
}

/* ---- Sending ---- */

int ttrpc_call_send(struct ttrpc_call *call, const ProtobufCMessage *message, struct error *err)
{
        struct ttrpc_out *out;

        assert(!call->done && call->kind & TTRPC_SERVER_STREAM);
        assert(message->descriptor == call->method->output);
        if (!call->conn)
                return 0;
        if (ttrpc_out_data(&out, call->conn->pool, call->stream.id, message, err) < 0) {
                if (protobuf_c_message_get_packed_size(message) <= TTRPC_MESSAGE_MAX)
                        call_is_short(call);
                return -1;
        }
        if (ttrpc_out_cost(out) > own_room(call)) {
                (void)ttrpc_out_free(out);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: the peer does not read its stream");
        }
        call->n_queued += ttrpc_out_cost(out);
        ttrpc_turn_use(call, ttrpc_out_cost(out));
        ttrpc_conn_send_consume(call->conn, out);
        return 0;
}

void ttrpc_call_sent(struct ttrpc_call *call, const struct ttrpc_out *out)
{
        const size_t half = TTRPC_STREAM_QUEUED_MAX / 2;
        bool was_above = call->n_queued > half;

        call->n_queued -= ttrpc_out_cost(out);
        if (was_above && call->n_queued <= half)
                ttrpc_turn_wants(call);
}

void ttrpc_call_on_room_late(struct loop_deferred *deferred)
{
        struct ttrpc_call *call = container_of(deferred, struct ttrpc_call, room_late);

        call->is_short = false;
        ttrpc_turn_begin(call);
        if (!call->stream_ops || !call->stream_ops->on_room)
                return;
        ttrpc_call_enter(call);
        call->stream_ops->on_room(call, call->stream_userdata);
        ttrpc_call_leave(call);
}

void ttrpc_call_end(struct ttrpc_call *call)
{
        assert(!call->done && !call->cancelling && call->kind & TTRPC_SERVER_STREAM);
        if (call->conn)
                ttrpc_call_finish(call, ttrpc_out_close(call->stream.id));
        else
                ttrpc_call_release(call);
}
