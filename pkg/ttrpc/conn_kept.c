/* SPDX-License-Identifier: Apache-2.0
 *
 * How a connection reads when it is kept (keep.h): straight into the memory that outlives the
 * process, where frames are parsed in place. A request leaves it only when it has been noted as a
 * call, so at every instruction it is in one of the two places; where it is in both, they are seen
 * to be the same at the restore.
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
 * its handler, so that it is not taken for one that has heard all and goes on.
 */
static void take_data(struct ttrpc_conn *conn, const uint8_t *data, size_t len)
{
        uint32_t id = conn->frame.stream_id;
        const struct ttrpc_stream *stream = ttrpc_streams_find(&conn->streams, id);

        if (stream)
                ttrpc_kept_call_set(conn->kept, stream->unit, KEEP_CALL_RUNNING);
        ttrpc_kept_in_take(conn->kept, len);
        ttrpc_conn_frame_done(conn, data + TTRPC_HEADER_SIZE);
        stream = stream ? ttrpc_streams_find(&conn->streams, id) : NULL;
        if (stream)
                ttrpc_kept_call_set(conn->kept, stream->unit, KEEP_CALL_OPEN);
}

/* A whole frame, in place: kept as a call if it asks for something. */
static void take_frame(struct ttrpc_conn *conn, const uint8_t *data, size_t len)
{
        if (conn->frame.type == TTRPC_FRAME_DATA) {
                take_data(conn, data, len);
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

void ttrpc_conn_take_large(struct ttrpc_conn *conn)
{
        int unit = ttrpc_kept_call_unkept(conn->kept);

        ttrpc_kept_in_large(conn->kept, false);
        if (conn->frame.type == TTRPC_FRAME_REQUEST)
                conn->taken = unit;
        ttrpc_conn_frame_done(conn, conn->body);
        if (conn->frame.type != TTRPC_FRAME_REQUEST)
                ttrpc_kept_call_end(conn->kept, unit);
        ttrpc_conn_taken_over(conn);
}

/* What is there of a frame that will be thrown away. */
static void skip_oversized(struct ttrpc_conn *conn, size_t len)
{
        size_t n = len - TTRPC_HEADER_SIZE;

        if (n > conn->frame.length)
                n = conn->frame.length;
        conn->n_skip = conn->frame.length - (uint32_t)n;
        if (conn->n_skip > 0)
                ttrpc_kept_in_large(conn->kept, true);
        ttrpc_kept_in_take(conn->kept, TTRPC_HEADER_SIZE + n);
        if (conn->n_skip == 0)
                ttrpc_conn_frame_done(conn, NULL);
}

/* What is there of a frame that has no room to be kept in. */
static void start_large(struct ttrpc_conn *conn, const uint8_t *data, size_t len)
{
        if (ttrpc_conn_body_start(conn) < 0)
                return;
        conn->n_body = len - TTRPC_HEADER_SIZE;
        memcpy(conn->body, data + TTRPC_HEADER_SIZE, conn->n_body);
        ttrpc_kept_in_large(conn->kept, true);
        ttrpc_kept_in_take(conn->kept, len);
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
                if (conn->frame.length > TTRPC_MESSAGE_MAX) {
                        skip_oversized(conn, len);
                        if (conn->n_skip > 0)
                                return;
                } else if (whole <= len) {
                        take_frame(conn, data, whole);
                } else {
                        if (whole > KEEP_FRAME_MAX)
                                start_large(conn, data, len);
                        return;
                }
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

/* The first frame that was read may have been noted already. */
static void restore_in(struct ttrpc_conn *conn)
{
        size_t len = 0;
        const uint8_t *data = ttrpc_kept_in(conn->kept, &len);

        for (int i = 0; i < KEEP_UNITS; i++) {
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

        if (queue_copy(kept, &queued, err) < 0)
                return -1;
        if (ttrpc_conn_new_take(&conn, loop, fd, pool, ops, owner, err) < 0) {
                (void)ttrpc_out_free(queued);
                return -1;
        }
        conn->kept = kept;
        conn->last_id = atomic_load(&kept->area->last_id);
        conn->turn = atomic_load(&kept->area->turn);
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
        restore_in(conn);
        loop_defer(conn->loop, &conn->deferred);
}

void ttrpc_conn_restored(struct ttrpc_conn *ours)
{
        _cleanup_(ttrpc_conn_unref_p) struct ttrpc_conn *conn = ttrpc_conn_ref(ours);

        conn->reading = true;
        ttrpc_conn_take_kept(conn);
        conn->reading = false;
        if (conn->fd >= 0 && !conn->doomed && atomic_load(&conn->kept->area->half_closed))
                ttrpc_conn_half_close(conn);
        if (conn->fd >= 0)
                loop_defer(conn->loop, &conn->deferred);
}
