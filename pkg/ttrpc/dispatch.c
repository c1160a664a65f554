/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames into calls, on the server's side. Whatever a peer sends, the worst that it gets is a
 * status on the stream that it named; the connection and all other calls go on.
 *
 * The texts are those of the Go server, since people search for them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/base/str.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/server.h"
#include "pkg/ttrpc/unpack.h"

enum { REFUSAL_MAX = 512 };

/* Answers a stream for which there is no call. */
__attribute__((format(printf, 4, 5))) static void refuse(struct ttrpc_conn *conn, uint32_t id,
                                                         int code, const char *fmt, ...)
{
        char text[REFUSAL_MAX];
        struct ttrpc_out *out;
        va_list ap;

        va_start(ap, fmt);
        if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
                text[0] = '\0';
        va_end(ap);
        str_make_utf8(text);
        out = ttrpc_out_status(id, code, text);
        if (out) {
                out->ends = conn->taken;
                conn->taken = KEEP_NONE;
        }
        ttrpc_conn_send_consume(conn, out);
}

static bool span_equals(struct ttrpc_span span, const char *name)
{
        return strlen(name) == span.len && memcmp(name, span.data, span.len) == 0;
}

/* For the %.*s of a text; names that are longer than the text are cut anyway. */
static int span_print_len(struct ttrpc_span span)
{
        return span.len < REFUSAL_MAX ? (int)span.len : REFUSAL_MAX;
}

static const char *span_print_data(struct ttrpc_span span)
{
        return span.len > 0 ? (const char *)span.data : "";
}

static const struct ttrpc_service *find_service(const struct ttrpc_server *server,
                                                struct ttrpc_span name)
{
        list_for_each(service, &server->services, struct ttrpc_service, node) {
                if (span_equals(name, service->descriptor->name))
                        return service;
        }
        return NULL;
}

static bool find_method(const ProtobufCServiceDescriptor *service, struct ttrpc_span name,
                        unsigned *ret)
{
        for (unsigned i = 0; i < service->n_methods; i++) {
                if (span_equals(name, service->methods[i].name)) {
                        *ret = i;
                        return true;
                }
        }
        return false;
}

/* Unpacks the payload into the call and runs the handler, or answers why not. */
static void call_start(struct ttrpc_call *call, const struct ttrpc_service *service,
                       ttrpc_handler handler, const struct ttrpc_wire_request *request)
{
        struct ttrpc_server *server = call->server;
        struct error err = ERROR_INIT;
        const ProtobufCMessage *message = ttrpc_unpack(call->method->input, request->payload.data,
                                                       request->payload.len, call->arena, &err);

        if (!message) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        call->n_bytes = arena_used(call->arena);
        server->n_call_bytes += call->n_bytes;
        if (server->n_call_bytes > TTRPC_CALL_BYTES_MAX)
                ttrpc_call_refuse(call, STATUS_RESOURCE_EXHAUSTED,
                                  "ttrpc: calls without an answer hold too much memory");
        else if (request->timeout_ns < 0)
                ttrpc_call_refuse(call, STATUS_DEADLINE_EXCEEDED, ttrpc_deadline_text);
        else
                ttrpc_call_run(call, handler, message, service->userdata);
}

/* A stream of requests: what comes with the first frame is a message like any other. */
static void stream_start(struct ttrpc_call *call, const struct ttrpc_service *service,
                         ttrpc_handler handler, const struct ttrpc_wire_request *request,
                         const struct ttrpc_frame *frame)
{
        struct ttrpc_conn *conn = call->conn;
        struct keep_call *kept =
                call->stream.unit >= 0 ? ttrpc_kept_call(conn->kept, call->stream.unit) : NULL;
        bool heard = kept && kept->flags & KEEP_CALL_HEARD;

        if (request->timeout_ns < 0) {
                ttrpc_call_refuse(call, STATUS_DEADLINE_EXCEEDED, ttrpc_deadline_text);
                return;
        }
        ttrpc_call_enter(call);
        ttrpc_call_run(call, handler, NULL, service->userdata);
        if (call->conn) {
                if (kept)
                        ttrpc_kept_call_heard(conn->kept, call->stream.unit);
                if (heard)
                        ttrpc_call_resume(call, kept->half_closed);
                else
                        ttrpc_call_take_first(call, frame, request->payload);
        }
        ttrpc_call_leave(call);
}

/* Ids only grow, but for those that come once more. */
static bool take_id(struct ttrpc_conn *conn, uint32_t id)
{
        if (conn->again ? ttrpc_streams_find(&conn->streams, id) != NULL : id <= conn->last_id)
                return false;
        if (id > conn->last_id) {
                conn->last_id = id;
                if (conn->kept)
                        ttrpc_kept_last_id(conn->kept, id);
        }
        return true;
}

/* Whether the owner wants it dispatched again; else it is answered. */
static bool is_wanted_again(struct ttrpc_conn *conn, uint32_t id,
                            const struct ttrpc_service *service, unsigned method,
                            enum ttrpc_kind kind)
{
        const struct ttrpc_server *server = conn->owner;
        size_t n_note;
        struct ttrpc_restored_call call = {
                .service = service->descriptor->name,
                .method = service->descriptor->methods[method].name,
                .kind = kind,
                .in_handler = conn->again_state == KEEP_CALL_RUNNING,
                .was_tried = conn->again_state == KEEP_CALL_RUNNING &&
                             conn->again->flags & KEEP_CALL_TRIED,
                .has_note = ttrpc_kept_note(conn->kept, conn->taken, &n_note) != NULL,
        };
        const char *text = server->restore->refuse(&call, server->restore->userdata);

        if (text)
                refuse(conn, id, STATUS_UNAVAILABLE, "%s", text);
        else if (call.in_handler)
                conn->again->flags |= KEEP_CALL_TRIED;
        return !text;
}

/* Who has heard what was in it needs it no more, and only streams go on without. */
static bool has_lost_request(const struct ttrpc_conn *conn, const struct ttrpc_frame *frame)
{
        return conn->again && conn->again->flags & KEEP_CALL_BRIEF &&
               (!(conn->again->flags & KEEP_CALL_HEARD) || frame->length == 0);
}

static void on_request(struct ttrpc_conn *conn, const struct ttrpc_frame *frame,
                       const uint8_t *body)
{
        struct ttrpc_server *server = conn->owner;
        struct ttrpc_wire_request request;
        const struct ttrpc_service *service;
        struct ttrpc_call *call;
        uint32_t id = frame->stream_id;
        const char *why = NULL;
        enum ttrpc_kind kind;
        unsigned method = 0;

        if (!take_id(conn, id)) {
                refuse(conn, id, STATUS_INVALID_ARGUMENT,
                       "StreamID cannot be re-used and must increment");
                return;
        }
        if (has_lost_request(conn, frame)) {
                refuse(conn, id, STATUS_UNAVAILABLE,
                       "ttrpc: the server was restarted while a large request was under way");
                return;
        }
        if (ttrpc_wire_request_decode(&request, body, frame->length, &why) < 0) {
                refuse(conn, id, STATUS_INVALID_ARGUMENT, "unmarshal request error: %s", why);
                return;
        }
        service = find_service(server, request.service);
        if (!service) {
                refuse(conn, id, STATUS_UNIMPLEMENTED, "service %.*s",
                       span_print_len(request.service), span_print_data(request.service));
                return;
        }
        if (!find_method(service->descriptor, request.method, &method) ||
            !service->handlers[method]) {
                refuse(conn, id, STATUS_UNIMPLEMENTED, "method %.*s",
                       span_print_len(request.method), span_print_data(request.method));
                return;
        }
        kind = service->kinds ? service->kinds[method] : TTRPC_UNARY;
        if (frame->flags & TTRPC_FLAG_REMOTE_OPEN && !(kind & TTRPC_CLIENT_STREAM)) {
                refuse(conn, id, STATUS_INVALID_ARGUMENT, "method %s takes no stream of requests",
                       service->descriptor->methods[method].name);
                return;
        }
        if (conn->streams.n + server->n_detached >= TTRPC_CALLS_PER_CONNECTION_MAX) {
                refuse(conn, id, STATUS_RESOURCE_EXHAUSTED,
                       "ttrpc: %u calls are without an answer already",
                       TTRPC_CALLS_PER_CONNECTION_MAX);
                return;
        }
        if (kind != TTRPC_UNARY && conn->n_streaming >= TTRPC_STREAMS_PER_CONNECTION_MAX) {
                refuse(conn, id, STATUS_RESOURCE_EXHAUSTED,
                       "ttrpc: the connection carries %u streams already",
                       TTRPC_STREAMS_PER_CONNECTION_MAX);
                return;
        }
        if (conn->again && conn->again_state != KEEP_CALL_NEW &&
            !is_wanted_again(conn, id, service, method, kind))
                return;
        CHAOS_POINT("call");
        call = ttrpc_call_new(conn, service, method, &request, id);
        if (!call)
                refuse(conn, id, STATUS_RESOURCE_EXHAUSTED, "ttrpc: no memory for a call");
        else if (kind & TTRPC_CLIENT_STREAM)
                stream_start(call, service, service->handlers[method], &request, frame);
        else
                call_start(call, service, service->handlers[method], &request);
}

static void on_data(struct ttrpc_conn *conn, const struct ttrpc_frame *frame, const uint8_t *body)
{
        struct ttrpc_stream *stream = ttrpc_streams_find(&conn->streams, frame->stream_id);

        struct ttrpc_call *call;

        if (!stream) {
                refuse(conn, frame->stream_id, STATUS_INVALID_ARGUMENT,
                       "StreamID is no longer active");
                return;
        }
        call = container_of(stream, struct ttrpc_call, stream);
        ttrpc_call_enter(call);
        ttrpc_call_take_data(call, frame, body);
        ttrpc_call_leave(call);
}

static void server_on_frame(struct ttrpc_conn *conn, const struct ttrpc_frame *frame,
                            const uint8_t *body)
{
        if (frame->type != TTRPC_FRAME_REQUEST && frame->type != TTRPC_FRAME_DATA)
                return;
        if (frame->stream_id % 2 == 0)
                refuse(conn, frame->stream_id, STATUS_INVALID_ARGUMENT,
                       "StreamID must be odd for client initiated streams");
        else if (frame->type == TTRPC_FRAME_REQUEST)
                on_request(conn, frame, body);
        else
                on_data(conn, frame, body);
}

void ttrpc_dispatch_again(struct ttrpc_conn *ours, int unit)
{
        _cleanup_(ttrpc_conn_unref_p) struct ttrpc_conn *conn = ttrpc_conn_ref(ours);
        struct keep_call *call = ttrpc_kept_call(conn->kept, unit);
        struct ttrpc_frame frame = ttrpc_frame_decode(call->frame);

        conn->again = call;
        conn->again_state = ttrpc_kept_call_state(conn->kept, unit);
        conn->taken = unit;
        server_on_frame(conn, &frame, call->frame + TTRPC_HEADER_SIZE);
        conn->again = NULL;
        ttrpc_conn_taken_over(conn);
}

static void server_on_oversized(struct ttrpc_conn *conn, const struct ttrpc_frame *frame)
{
        refuse(conn, frame->stream_id, STATUS_RESOURCE_EXHAUSTED,
               "message length %u exceed maximum message size of %u", frame->length,
               TTRPC_MESSAGE_MAX);
}

static void server_on_sent(struct ttrpc_conn *conn, const struct ttrpc_out *out)
{
        struct ttrpc_stream *stream = ttrpc_streams_find(&conn->streams, out->stream_id);

        if (out->is_restored) {
                conn->n_restored = 0;
                ttrpc_turn_restored_sent(conn);
                return;
        }
        if (stream)
                ttrpc_call_sent(container_of(stream, struct ttrpc_call, stream), out);
        ttrpc_turn_try(conn);
}

static void server_on_lost(struct ttrpc_conn *conn, const struct error *err)
{
        (void)err;
        ttrpc_server_conn_lost(conn->owner, conn);
}

const struct ttrpc_conn_ops ttrpc_server_conn_ops = {
        .half_close = true,
        .on_frame = server_on_frame,
        .on_oversized = server_on_oversized,
        .on_sent = server_on_sent,
        .on_lost = server_on_lost,
};
