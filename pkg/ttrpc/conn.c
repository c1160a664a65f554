/* SPDX-License-Identifier: Apache-2.0
 *
 * See conn.h. Reading: one recv(2) per readiness, into the pool's buffer, so that a flood on one
 * connection leaves the others their turn; frames that are whole are handed on in place, only a
 * torn one gets a buffer of its own. It never stops for sending (conn_out.c), since a peer may do
 * the opposite.
 */
#include "pkg/ttrpc/conn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/limits.h"

void ttrpc_conn_want(struct ttrpc_conn *conn)
{
        int what = (conn->half_closed || conn->paused ? 0 : LOOP_READ) |
                   (list_is_empty(&conn->queue) ? 0 : LOOP_WRITE);

        if (loop_io_want(conn->io, what) < 0)
                ttrpc_conn_doom(conn, "cannot watch the connection", ENOMEM);
}

static void conn_drop_body(struct ttrpc_conn *conn)
{
        conn->body_arena = arena_free(conn->body_arena);
        conn->body = NULL;
        conn->n_body = 0;
}

void ttrpc_conn_close(struct ttrpc_conn *conn)
{
        if (conn->kept)
                ttrpc_kept_close(conn->kept);
        loop_deferred_cancel(&conn->deferred);
        conn->hangup_timer = loop_timer_free(conn->hangup_timer);
        conn->io = loop_io_free(conn->io);
        conn->fd = fd_close(conn->fd);
        ttrpc_conn_drop_queue(conn);
        conn_drop_body(conn);
}

struct ttrpc_conn *ttrpc_conn_ref(struct ttrpc_conn *conn)
{
        conn->n_refs++;
        return conn;
}

struct ttrpc_conn *ttrpc_conn_unref(struct ttrpc_conn *conn)
{
        if (!conn || --conn->n_refs > 0)
                return NULL;
        assert(conn->streams.n == 0);
        ttrpc_conn_close(conn);
        ttrpc_kept_free(conn->kept);
        ttrpc_pool_unref(conn->pool);
        free(conn);
        return NULL;
}

void ttrpc_conn_doom(struct ttrpc_conn *conn, const char *text, int errnum)
{
        if (conn->doomed || conn->fd < 0)
                return;
        if (conn->kept)
                ttrpc_kept_close(conn->kept);
        conn->doomed = true;
        conn->doom_text = text;
        conn->doom_errnum = errnum;
        ttrpc_conn_drop_queue(conn);
        (void)loop_io_want(conn->io, 0);
        loop_defer(conn->loop, &conn->deferred);
}

void ttrpc_conn_pause(struct ttrpc_conn *conn, bool paused)
{
        if (conn->paused == paused)
                return;
        conn->paused = paused;
        if (conn->fd >= 0 && !conn->doomed)
                ttrpc_conn_want(conn);
}

void ttrpc_conn_stream_ended(struct ttrpc_conn *conn)
{
        if (conn->half_closed && conn->streams.n == 0 && list_is_empty(&conn->queue))
                ttrpc_conn_doom(conn, "closed by the peer", 0);
}

void ttrpc_conn_frame_done(struct ttrpc_conn *conn, const uint8_t *body)
{
        struct ttrpc_frame frame = conn->frame;

        conn->n_header = 0;
        if (frame.length > TTRPC_MESSAGE_MAX)
                conn->ops->on_oversized(conn, &frame);
        else
                conn->ops->on_frame(conn, &frame, body);
}

int ttrpc_conn_body_start(struct ttrpc_conn *conn)
{
        conn->body_arena = arena_new(conn->frame.length);
        if (conn->body_arena)
                conn->body = arena_alloc(conn->body_arena, conn->frame.length);
        if (!conn->body) {
                ttrpc_conn_doom(conn, "no memory for a message", ENOMEM);
                return -1;
        }
        return 0;
}

/* n more bytes of the body are in its buffer. */
static void conn_body_advance(struct ttrpc_conn *conn, size_t n)
{
        struct arena *arena;

        conn->n_body += n;
        if (conn->n_body < conn->frame.length)
                return;
        /* Taken out of the connection, so that a handler that closes it leaves the body alone. */
        arena = TAKE_PTR(conn->body_arena);
        if (conn->kept)
                ttrpc_conn_take_large(conn, conn->body);
        else
                ttrpc_conn_frame_done(conn, conn->body);
        conn->body = NULL;
        conn->n_body = 0;
        arena_free(arena);
}

static size_t min_size(size_t a, size_t b)
{
        return a < b ? a : b;
}

static void conn_skipped(struct ttrpc_conn *conn)
{
        if (conn->kept)
                ttrpc_conn_take_large(conn, NULL);
        else
                ttrpc_conn_frame_done(conn, NULL);
}

/* Consumes bytes up to the end of one frame at most and returns their number. */
static size_t conn_feed_some(struct ttrpc_conn *conn, const uint8_t *data, size_t len)
{
        size_t n;

        if (conn->n_skip > 0) {
                n = min_size(len, conn->n_skip);
                conn->n_skip -= (uint32_t)n;
                if (conn->n_skip == 0)
                        conn_skipped(conn);
                return n;
        }
        if (conn->body) {
                n = min_size(len, conn->frame.length - conn->n_body);
                memcpy(conn->body + conn->n_body, data, n);
                conn_body_advance(conn, n);
                return n;
        }
        n = min_size(len, TTRPC_HEADER_SIZE - conn->n_header);
        memcpy(conn->header + conn->n_header, data, n);
        conn->n_header += n;
        if (conn->n_header < TTRPC_HEADER_SIZE)
                return n;
        conn->frame = ttrpc_frame_decode(conn->header);
        if (conn->frame.length > TTRPC_MESSAGE_MAX) {
                conn->n_skip = conn->frame.length;
        } else if (conn->frame.length <= len - n) {
                data += n;
                n += conn->frame.length;
                ttrpc_conn_frame_done(conn, data);
        } else {
                (void)ttrpc_conn_body_start(conn);
        }
        return n;
}

void ttrpc_conn_feed(struct ttrpc_conn *conn, const uint8_t *data, size_t len)
{
        while (len > 0 && !conn->doomed && conn->fd >= 0) {
                size_t n = conn_feed_some(conn, data, len);

                data += n;
                len -= n;
        }
}

/* Nobody is there to read an answer either: both directions are shut. */
static bool conn_is_hung_up(const struct ttrpc_conn *conn)
{
        struct pollfd p = {.fd = conn->fd};

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static void conn_on_hangup_timer(struct loop_timer *timer, void *userdata)
{
        struct ttrpc_conn *conn = userdata;

        if (conn_is_hung_up(conn))
                ttrpc_conn_doom(conn, "closed by the peer", 0);
        else
                (void)loop_timer_set(timer, NSEC_PER_SEC);
}

/*
 * After a shutdown(2) of the peer the socket stays readable for good, so it is no longer watched,
 * and only a look now and then tells when the peer has gone altogether.
 */
void ttrpc_conn_half_close(struct ttrpc_conn *conn)
{
        conn->half_closed = true;
        if (conn->kept)
                ttrpc_kept_half_close(conn->kept);
        if (!conn->ops->half_close || conn_is_hung_up(conn)) {
                ttrpc_conn_doom(conn, "closed by the peer", 0);
                return;
        }
        ttrpc_conn_want(conn);
        conn->hangup_timer = loop_timer_new(conn->loop, conn_on_hangup_timer, conn);
        if (!conn->hangup_timer || loop_timer_set(conn->hangup_timer, NSEC_PER_SEC) < 0)
                ttrpc_conn_doom(conn, "no memory", ENOMEM);
        else
                ttrpc_conn_stream_ended(conn);
}

enum place {
        PLACE_POOL,
        PLACE_BODY, /* where a large body goes without a detour */
        PLACE_KEPT,
};

/* Where the next bytes go: of a frame that is too large to be kept, no more than its own. */
static enum place conn_place(struct ttrpc_conn *conn, uint8_t **ret, size_t *ret_room)
{
        size_t rest = conn->body ? conn->frame.length - conn->n_body : 0;

        if (conn->body && (conn->kept || rest >= TTRPC_READ_MAX)) {
                *ret = conn->body + conn->n_body;
                *ret_room = rest;
                return PLACE_BODY;
        }
        if (conn->kept && conn->n_skip == 0) {
                ttrpc_pool_use(conn->pool);
                *ret = ttrpc_kept_in_room(conn->kept);
                *ret_room = TTRPC_READ_MAX;
                return PLACE_KEPT;
        }
        *ret = ttrpc_pool_read_buffer(conn->pool);
        *ret_room = conn->kept ? min_size(conn->n_skip, TTRPC_READ_MAX) : TTRPC_READ_MAX;
        return PLACE_POOL;
}

/* Of a frame that is in no area. */
static void conn_frame_came(struct ttrpc_conn *conn, size_t n)
{
        ttrpc_kept_frame_add(conn->kept, n);
        ttrpc_conn_uses_annex(conn);
}

static void conn_read(struct ttrpc_conn *conn)
{
        uint8_t *buffer;
        size_t room;
        enum place place = conn_place(conn, &buffer, &room);
        ssize_t n;

        if (!buffer) {
                loop_io_rest(conn->io); /* the bytes stay in the socket */
                return;
        }
        n = recv(conn->fd, buffer, room, MSG_DONTWAIT);
        if (n > 0 && place == PLACE_KEPT)
                ttrpc_kept_in_add(conn->kept, (size_t)n);
        else if (n > 0 && conn->kept)
                conn_frame_came(conn, (size_t)n);
        conn->reading = true;
        if (n == 0)
                ttrpc_conn_half_close(conn);
        else if (n < 0 && errno == EAGAIN && conn->draining)
                ttrpc_conn_doom(conn, "send", EPIPE);
        else if (n < 0 && !ttrpc_conn_is_for_now(conn, errno) && errno != EINTR)
                ttrpc_conn_doom(conn, "receive", errno);
        else if (n > 0 && place == PLACE_BODY)
                conn_body_advance(conn, (size_t)n);
        else if (n > 0 && place == PLACE_KEPT)
                ttrpc_conn_take_kept(conn);
        else if (n > 0)
                ttrpc_conn_feed(conn, buffer, (size_t)n);
        conn->reading = false;
}

static void conn_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        _cleanup_(ttrpc_conn_unref_p) struct ttrpc_conn *conn = ttrpc_conn_ref(userdata);

        if (conn->draining) {
                loop_defer(conn->loop, &conn->deferred);
                return;
        }
        if (what & LOOP_READ && !conn->half_closed && !conn->paused)
                conn_read(conn);
        if (conn->fd >= 0 && !conn->doomed)
                ttrpc_conn_flush(conn);
}

static void conn_on_deferred(struct loop_deferred *deferred)
{
        struct ttrpc_conn *ours = container_of(deferred, struct ttrpc_conn, deferred);
        _cleanup_(ttrpc_conn_unref_p) struct ttrpc_conn *conn = ttrpc_conn_ref(ours);
        struct error err = ERROR_INIT;

        if (conn->draining && !conn->doomed) {
                conn_read(conn);
                if (conn->fd >= 0 && !loop_io_is_resting(conn->io))
                        loop_defer(conn->loop, &conn->deferred);
                return;
        }
        if (!conn->doomed) {
                ttrpc_conn_flush(conn);
                return;
        }
        if (conn->doom_errnum != 0)
                (void)error_errno(&err, conn->doom_errnum, "ttrpc connection lost: %s",
                                  conn->doom_text);
        else
                (void)error_set(&err, STATUS_UNAVAILABLE, "ttrpc connection lost: %s",
                                conn->doom_text);
        err.code = STATUS_UNAVAILABLE;
        ttrpc_conn_close(conn);
        conn->ops->on_lost(conn, &err);
}

int ttrpc_conn_new_take(struct ttrpc_conn **ret, struct loop *loop, int fd, struct ttrpc_pool *pool,
                        const struct ttrpc_conn_ops *ops, void *owner, struct error *err)
{
        _cleanup_(ttrpc_conn_unref_p) struct ttrpc_conn *conn = calloc(1, sizeof(*conn));

        if (!conn)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc connection: no memory");
        conn->n_refs = 1;
        conn->loop = loop;
        conn->fd = -1;
        conn->taken = KEEP_NONE;
        conn->pool = ttrpc_pool_ref(pool);
        conn->ops = ops;
        conn->owner = owner;
        list_init(&conn->node);
        list_init(&conn->queue);
        loop_deferred_init(&conn->deferred, conn_on_deferred);
        conn->io = loop_io_new(loop, fd, LOOP_PRIORITY_RPC, conn_on_io, conn);
        if (!conn->io || loop_io_want(conn->io, LOOP_READ) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc connection: descriptor %d cannot be watched", fd);
        conn->fd = fd;
        *ret = TAKE_PTR(conn);
        return 0;
}
