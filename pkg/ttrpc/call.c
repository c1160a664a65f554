/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a call on the server's side. It leaves the "open" state exactly once, by an answer or
 * by a cancellation, and that is where its stream ends: so a peer never gets two answers, and an
 * answer to a call that is no longer open goes nowhere.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/server.h"

const char ttrpc_deadline_text[] = "context deadline exceeded";

static void call_free(struct ttrpc_call *call)
{
        struct ttrpc_pool *pool = call->pool;

        loop_deferred_cancel(&call->cancel_late);
        loop_deferred_cancel(&call->room_late);
        loop_timer_free(call->deadline_timer);
        if (call->server) {
                call->server->n_call_bytes -= call->n_bytes;
                call->server->n_detached -= !list_is_empty(&call->detached);
                list_remove(&call->detached);
        }
        ttrpc_pool_arena_give(pool, call->arena); /* the call itself goes with it */
        ttrpc_pool_unref(pool);
}

/* The handler's own code may still look at its request. */
void ttrpc_call_release(struct ttrpc_call *call)
{
        if (call->n_entered > 0)
                call->done = true;
        else
                call_free(call);
}

/* Takes the call off its connection; nothing is sent to its peer from now on. */
static void call_close(struct ttrpc_call *call)
{
        struct ttrpc_conn *conn = call->conn;

        call->deadline_timer = loop_timer_free(call->deadline_timer);
        ttrpc_streams_remove(&conn->streams, &call->stream);
        conn->n_streaming -= call->kind != TTRPC_UNARY;
        loop_deferred_cancel(&call->room_late);
        ttrpc_turn_end(conn, call);
        call->conn = NULL;
        ttrpc_conn_stream_ended(conn);
}

/* Before it is queued: whose answer a frame is. */
static void call_answers(struct ttrpc_call *call, struct ttrpc_out *out)
{
        if (!out)
                return;
        out->ends = call->stream.unit;
        call->stream.unit = KEEP_NONE;
}

static void call_tell_keeper(struct ttrpc_call *call)
{
        call->cancelling = true;
        call->on_cancel(call, call->on_cancel_userdata);
        call->cancelling = false;
        ttrpc_call_release(call);
}

void ttrpc_call_cancel(struct ttrpc_call *call, int code, const char *text)
{
        if (code != STATUS_OK) {
                struct ttrpc_out *out = ttrpc_out_status(call->stream.id, code, text);

                call_answers(call, out);
                ttrpc_conn_send_consume(call->conn, out);
        }
        call_close(call);
        if (call->server->freed)
                call->server = NULL;
        if (call->on_cancel) {
                call_tell_keeper(call);
                return;
        }
        if (!call->server)
                return;
        list_append(&call->server->detached, &call->detached);
        call->server->n_detached++;
}

static void call_on_deadline(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        ttrpc_call_cancel(userdata, STATUS_DEADLINE_EXCEEDED, ttrpc_deadline_text);
}

static void call_on_cancel_late(struct loop_deferred *deferred)
{
        call_tell_keeper(container_of(deferred, struct ttrpc_call, cancel_late));
}

static const char *span_strdup(struct arena *arena, struct ttrpc_span span)
{
        return arena_memdup(arena, span.data, span.len);
}

static int call_copy_metadata(struct ttrpc_call *call, const struct ttrpc_wire_request *request)
{
        if (request->n_metadata == 0)
                return 0;
        call->metadata = arena_calloc(call->arena, request->n_metadata, sizeof(*call->metadata));
        if (!call->metadata)
                return -1;
        for (size_t i = 0; i < request->n_metadata; i++) {
                struct ttrpc_metadata *pair = &call->metadata[i];

                pair->key = span_strdup(call->arena, request->metadata[i].key);
                pair->value = span_strdup(call->arena, request->metadata[i].value);
                if (!pair->key || !pair->value)
                        return -1;
        }
        call->n_metadata = request->n_metadata;
        return 0;
}

/* A call that comes once more has the deadline that it had. */
static void call_keep_deadline(struct ttrpc_call *call, const struct ttrpc_conn *conn)
{
        struct keep_call *kept;

        if (call->stream.unit < 0)
                return;
        kept = ttrpc_kept_call(conn->kept, call->stream.unit);
        if (kept->deadline_ns != 0)
                call->deadline_ns = kept->deadline_ns;
        kept->deadline_ns = call->deadline_ns;
        call->resumed = conn->again && conn->again_state != KEEP_CALL_NEW;
}

struct ttrpc_call *ttrpc_call_new(struct ttrpc_conn *conn, const struct ttrpc_service *service,
                                  unsigned method, const struct ttrpc_wire_request *request,
                                  uint32_t stream_id)
{
        struct ttrpc_server *server = conn->owner;
        struct arena *arena = ttrpc_pool_arena_take(conn->pool);
        struct ttrpc_call *call = arena ? arena_alloc(arena, sizeof(*call)) : NULL;

        if (!call) {
                arena_free(arena);
                return NULL;
        }
        call->arena = arena;
        call->server = server;
        call->service = service->descriptor;
        call->method = &service->descriptor->methods[method];
        call->kind = service->kinds ? service->kinds[method] : TTRPC_UNARY;
        list_init(&call->detached);
        loop_deferred_init(&call->cancel_late, call_on_cancel_late);
        loop_deferred_init(&call->room_late, ttrpc_call_on_room_late);
        loop_deferred_init(&call->turn_over, ttrpc_turn_on_over);
        if (call_copy_metadata(call, request) < 0) {
                ttrpc_pool_arena_give(conn->pool, arena);
                return NULL;
        }
        call->begun_ns = clock_monotonic_ns();
        if (request->timeout_ns > 0)
                call->deadline_ns = call->begun_ns + (uint64_t)request->timeout_ns;
        call->stream.unit = conn->taken;
        conn->taken = KEEP_NONE;
        call_keep_deadline(call, conn);
        call->pool = ttrpc_pool_ref(conn->pool);
        call->conn = conn;
        call->stream.id = stream_id;
        ttrpc_streams_add(&conn->streams, &call->stream);
        conn->n_streaming += call->kind != TTRPC_UNARY;
        return call;
}

/* Without memory for a timer the peer's own clock still ends the call for the peer. */
static void call_start_deadline(struct ttrpc_call *call)
{
        uint64_t now = clock_monotonic_ns();

        call->deadline_timer = loop_timer_new(call->server->loop, call_on_deadline, call);
        if (call->deadline_timer)
                (void)loop_timer_set(call->deadline_timer,
                                     call->deadline_ns > now ? call->deadline_ns - now : 0);
}

void ttrpc_call_run(struct ttrpc_call *call, ttrpc_handler handler, const ProtobufCMessage *message,
                    void *userdata)
{
        ttrpc_call_enter(call);
        CHAOS_POINT("handler");
        handler(call, message, userdata);
        if (call->conn && call->deadline_ns != 0)
                call_start_deadline(call);
        ttrpc_call_leave(call);
}

/* It still counts as running, so what is half written is never read. */
static void call_take_note(struct ttrpc_call *call)
{
        struct ttrpc_kept *kept = call->conn->kept;
        size_t len = 0;
        uint8_t *note;

        if (!call->stream_ops || !call->stream_ops->on_note)
                return;
        note = ttrpc_kept_note_begin(kept, call->stream.unit);
        if (!note)
                return;
        len = call->stream_ops->on_note(call, note, TTRPC_NOTE_MAX, call->stream_userdata);
        ttrpc_kept_note_end(kept, call->stream.unit, len);
}

void ttrpc_call_enter(struct ttrpc_call *call)
{
        if (call->n_entered++ == 0 && call->conn && call->stream.unit >= 0)
                ttrpc_kept_call_set(call->conn->kept, call->stream.unit, KEEP_CALL_RUNNING);
}

void ttrpc_call_leave(struct ttrpc_call *call)
{
        assert(call->n_entered > 0);
        if (--call->n_entered > 0)
                return;
        if (call->conn && call->stream.unit >= 0) {
                call_take_note(call);
                ttrpc_kept_call_set(call->conn->kept, call->stream.unit, KEEP_CALL_OPEN);
        }
        if (call->done)
                call_free(call);
}

void ttrpc_call_finish(struct ttrpc_call *call, struct ttrpc_out *out)
{
        assert(call->conn);
        call_answers(call, out);
        ttrpc_conn_send_consume(call->conn, out);
        call_close(call);
        ttrpc_call_release(call);
}

void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *response)
{
        struct error err = ERROR_INIT;
        struct ttrpc_out *out;

        assert(!call->done && !call->cancelling && !(call->kind & TTRPC_SERVER_STREAM));
        if (!call->conn) {
                ttrpc_call_release(call);
                return;
        }
        assert(response->descriptor == call->method->output);
        if (ttrpc_out_response(&out, call->stream.id, response, &err) < 0)
                out = ttrpc_out_status(call->stream.id, err.code, err.msg);
        ttrpc_call_finish(call, out);
}

/* A failure that claims to be none must not look like an empty answer. */
void ttrpc_call_refuse(struct ttrpc_call *call, int code, const char *text)
{
        assert(!call->done && !call->cancelling);
        if (!call->conn)
                ttrpc_call_release(call);
        else
                ttrpc_call_finish(call, ttrpc_out_status(call->stream.id,
                                                         code == STATUS_OK ? STATUS_UNKNOWN : code,
                                                         text));
}

void ttrpc_call_fail(struct ttrpc_call *call, int code, const char *fmt, ...)
{
        char text[TTRPC_STATUS_TEXT_MAX];
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (n < 0)
                text[0] = '\0';
        str_make_utf8(text);
        ttrpc_call_refuse(call, code, text);
}

void ttrpc_call_fail_error(struct ttrpc_call *call, const struct error *err)
{
        char text[sizeof(err->msg)];

        memcpy(text, err->msg, sizeof(text));
        str_make_utf8(text);
        ttrpc_call_refuse(call, err->code, text);
}

void ttrpc_call_on_cancel(struct ttrpc_call *call,
                          void (*fn)(struct ttrpc_call *call, void *userdata), void *userdata)
{
        call->on_cancel = fn;
        call->on_cancel_userdata = userdata;
        if (call->conn || !call->server)
                return;
        if (fn)
                loop_defer(call->server->loop, &call->cancel_late);
        else
                loop_deferred_cancel(&call->cancel_late);
}

struct arena *ttrpc_call_arena(struct ttrpc_call *call)
{
        return call->arena;
}

const char *ttrpc_call_service(const struct ttrpc_call *call)
{
        return call->service->name;
}

const char *ttrpc_call_method(const struct ttrpc_call *call)
{
        return call->method->name;
}

bool ttrpc_call_is_resumed(const struct ttrpc_call *call)
{
        return call->resumed;
}

const void *ttrpc_call_note(const struct ttrpc_call *call, size_t *ret_len)
{
        if (!call->resumed || !call->conn || call->stream.unit < 0)
                return NULL;
        return ttrpc_kept_note(call->conn->kept, call->stream.unit, ret_len);
}

uint64_t ttrpc_call_begun_ns(const struct ttrpc_call *call)
{
        return call->begun_ns;
}

uint64_t ttrpc_call_deadline_ns(const struct ttrpc_call *call)
{
        return call->deadline_ns;
}

const char *ttrpc_call_metadata(const struct ttrpc_call *call, const char *key)
{
        for (size_t i = 0; i < call->n_metadata; i++) {
                if (strcmp(call->metadata[i].key, key) == 0)
                        return call->metadata[i].value;
        }
        return NULL;
}
