/* SPDX-License-Identifier: Apache-2.0
 *
 * How a connection reads when it is kept (keep.h): straight into the memory that outlives the
 * process, where frames are parsed in place. A request leaves it only when it has been noted as a
 * call, so at every instruction it is in one of the two places; where it is in both, they are seen
 * to be the same at the restore. A frame that is large and comes in pieces is read into the annex,
 * and parsed there.
 */
#include <errno.h>
#include <string.h>

#include "pkg/ttrpc/conn.h"
#include "pkg/ttrpc/limits.h"

void ttrpc_conn_taken_over(struct ttrpc_conn *conn)
{
        int unit = conn->taken;

        conn->taken = KEEP_NONE;
        ttrpc_kept_call_end(conn->kept, unit);
}

/*
 * A message for a stream. From before it is taken until it was heard the stream counts as being in
 * its handler, so that it is not taken for one that has heard all and goes on. n_in: bytes of the
 * frame in the area; 0: it is a large one.
 */
static void take_data(struct ttrpc_conn *conn, const uint8_t *body, size_t n_in)
{
        uint32_t id = conn->frame.stream_id;
        const struct ttrpc_stream *stream = ttrpc_streams_find(&conn->streams, id);

        if (stream)
                ttrpc_kept_call_set(conn->kept, stream->unit, KEEP_CALL_RUNNING);
        if (n_in > 0)
                ttrpc_kept_in_take(conn->kept, n_in);
        else
                ttrpc_kept_frame_end(conn->kept);
        ttrpc_conn_frame_done(conn, body);
        stream = stream ? ttrpc_streams_find(&conn->streams, id) : NULL;
        if (stream)
                ttrpc_kept_call_set(conn->kept, stream->unit, KEEP_CALL_OPEN);
}

/* A whole frame, in place: kept as a call if it asks for something. */
static void take_frame(struct ttrpc_conn *conn, const uint8_t *data, size_t len)
{
        if (conn->frame.type == TTRPC_FRAME_DATA) {
                take_data(conn, data + TTRPC_HEADER_SIZE, len);
                return;
        }
        /* An answer that is heard again is one to no request that is pending. */
        if (conn->frame.type == TTRPC_FRAME_RESPONSE) {
                ttrpc_conn_frame_done(conn, data + TTRPC_HEADER_SIZE);
                ttrpc_kept_in_take(conn->kept, len);
                return;
        }
        if (conn->frame.type == TTRPC_FRAME_REQUEST)
                conn->taken = ttrpc_kept_call_add(conn->kept, data, len);
        ttrpc_kept_in_take(conn->kept, len);
        ttrpc_conn_frame_done(conn, data + TTRPC_HEADER_SIZE);
        ttrpc_conn_taken_over(conn);
}

/*
 * It is noted as a call first, as those in the area are, but without what has no room there. What
 * is no request may be heard again after a crash, and is then for no stream that is open.
 */
void ttrpc_conn_take_large(struct ttrpc_conn *conn, const uint8_t *body)
{
        const struct ttrpc_frame *frame = &conn->frame;

        if (frame->type == TTRPC_FRAME_DATA && body) {
                take_data(conn, body, 0);
        } else if (frame->type == TTRPC_FRAME_REQUEST) {
                conn->taken = ttrpc_kept_call_add_brief(conn->kept, frame->stream_id, frame->flags,
                                                        body, frame->length);
                ttrpc_kept_frame_end(conn->kept);
                ttrpc_conn_frame_done(conn, body);
                ttrpc_conn_taken_over(conn);
        } else {
                ttrpc_conn_frame_done(conn, body);
                ttrpc_kept_frame_end(conn->kept);
        }
}

/* What is there of a frame that has no room in the area, or that will be thrown away. */
static void start_large(struct ttrpc_conn *conn, const uint8_t *data, size_t len)
{
        size_t n_body = len - TTRPC_HEADER_SIZE;
        uint8_t *frame = ttrpc_kept_frame_begin(conn->kept, data, len);

        if (conn->frame.length > TTRPC_MESSAGE_MAX) {
                conn->n_skip = conn->frame.length - (uint32_t)n_body;
        } else if (frame) {
                conn->body = frame + TTRPC_HEADER_SIZE;
                conn->n_body = n_body;
        } else if (ttrpc_conn_body_start(conn) == 0) {
                memcpy(conn->body, data + TTRPC_HEADER_SIZE, n_body);
                conn->n_body = n_body;
        }
}

void ttrpc_conn_take_kept(struct ttrpc_conn *conn)
{
        while (!conn->doomed && conn->fd >= 0) {
                size_t len = 0;
                size_t whole;
                const uint8_t *data = ttrpc_kept_in(conn->kept, &len);

                if (len < TTRPC_HEADER_SIZE)
                        return;
                conn->frame = ttrpc_frame_decode(data);
                whole = TTRPC_HEADER_SIZE + (size_t)conn->frame.length;
                if (whole > len) {
                        if (whole > KEEP_FRAME_MAX)
                                start_large(conn, data, len);
                        return;
                }
                take_frame(conn, data, whole);
        }
}

/* ---- In another process image ---- */

/* What was queued; NULL if that is nothing. */
static int queue_copy(const struct ttrpc_kept *kept, struct ttrpc_out **ret, struct error *err)
{
        size_t len = ttrpc_kept_out_len(kept);

        *ret = NULL;
        if (len == 0)
                return 0;
        *ret = ttrpc_out_restored(len);
        if (!*ret)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: no memory for what was queued");
        ttrpc_kept_out_copy(kept, (*ret)->data);
        return 0;
}

/* It goes on from where it was, or is whole: then it is heard when all calls have gone on. */
static void find_large(struct ttrpc_conn *conn)
{
        size_t len = 0;
        uint8_t *bytes = ttrpc_kept_frame(conn->kept, &len);

        if (!bytes)
                return;
        conn->frame = ttrpc_frame_decode(bytes);
        if (conn->frame.length > TTRPC_MESSAGE_MAX) {
                conn->n_skip = conn->frame.length - (uint32_t)(len - TTRPC_HEADER_SIZE);
        } else {
                conn->body = bytes + TTRPC_HEADER_SIZE;
                conn->n_body = len - TTRPC_HEADER_SIZE;
        }
}

static void drop_large(struct ttrpc_conn *conn)
{
        ttrpc_kept_frame_end(conn->kept);
        conn->body = NULL;
        conn->n_body = 0;
}

/* What was read of it may be in the area, too, and all of it may have been noted as a call. */
static void restore_large(struct ttrpc_conn *conn)
{
        size_t n_large = 0;
        size_t n_in = 0;

        if (!ttrpc_kept_frame(conn->kept, &n_large))
                return;
        (void)ttrpc_kept_in(conn->kept, &n_in);
        ttrpc_kept_in_take(conn->kept, n_in);
        if (n_large == TTRPC_HEADER_SIZE + (size_t)conn->frame.length &&
            ttrpc_kept_call_is_noted(conn->kept, &conn->frame))
                drop_large(conn);
}

static void hear_large(struct ttrpc_conn *conn)
{
        const uint8_t *body = conn->body;
        size_t len = 0;

        if (!ttrpc_kept_frame(conn->kept, &len) ||
            len < TTRPC_HEADER_SIZE + (size_t)conn->frame.length)
                return;
        conn->body = NULL;
        conn->n_body = 0;
        ttrpc_conn_take_large(conn, body);
}

/* The first frame that was read may have been noted already. */
static void restore_in(struct ttrpc_conn *conn)
{
        size_t len = 0;
        const uint8_t *data = ttrpc_kept_in(conn->kept, &len);
        struct ttrpc_frame frame = {0};

        if (len >= TTRPC_HEADER_SIZE)
                frame = ttrpc_frame_decode(data);
        if (len >= TTRPC_HEADER_SIZE + (size_t)frame.length &&
            ttrpc_kept_call_is_noted(conn->kept, &frame)) {
                ttrpc_kept_in_take(conn->kept, TTRPC_HEADER_SIZE + frame.length);
                return;
        }
        for (int i = 0; i < ttrpc_kept_n_units(conn->kept); i++) {
                const struct keep_call *call = ttrpc_kept_call(conn->kept, i);

                if (ttrpc_kept_call_state(conn->kept, i) == KEEP_CALL_NEW && call->len <= len &&
                    memcmp(call->frame, data, call->len) == 0) {
                        ttrpc_kept_in_take(conn->kept, call->len);
                        return;
                }
        }
}

int ttrpc_conn_restore_take(struct ttrpc_conn **ret, struct loop *loop, int fd,
                            struct ttrpc_pool *pool, const struct ttrpc_conn_ops *ops, void *owner,
                            struct ttrpc_kept *kept, struct error *err)
{
        struct ttrpc_conn *conn = NULL;
        struct ttrpc_out *queued = NULL;

        if (ttrpc_kept_annex_found(kept, err) < 0)
                return -1;
        if (queue_copy(kept, &queued, err) < 0)
                return -1;
        if (ttrpc_conn_new_take(&conn, loop, fd, pool, ops, owner, err) < 0) {
                (void)ttrpc_out_free(queued);
                return -1;
        }
        conn->kept = kept;
        conn->last_id = atomic_load(&kept->area->last_id);
        conn->turn = atomic_load(&kept->area->turn);
        find_large(conn);
        if (queued) {
                list_append(&conn->queue, &queued->node);
                conn->n_restored = queued->len;
                conn->n_queued += queued->len;
        }
        *ret = conn;
        return 0;
}

void ttrpc_conn_resume(struct ttrpc_conn *conn)
{
        ttrpc_kept_calls_found(conn->kept);
        restore_large(conn);
        restore_in(conn);
        loop_defer(conn->loop, &conn->deferred);
}

void ttrpc_conn_restored(struct ttrpc_conn *ours)
{
        _cleanup_(ttrpc_conn_unref_p) struct ttrpc_conn *conn = ttrpc_conn_ref(ours);

        conn->reading = true;
        hear_large(conn);
        ttrpc_conn_take_kept(conn);
        conn->reading = false;
        if (conn->fd >= 0 && !conn->doomed && atomic_load(&conn->kept->area->half_closed))
                ttrpc_conn_half_close(conn);
        if (conn->fd >= 0)
                loop_defer(conn->loop, &conn->deferred);
}
