/* SPDX-License-Identifier: Apache-2.0
 *
 * What a connection sends: see conn.h. Everything queued in one round leaves in one sendmsg(2).
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "pkg/ttrpc/conn.h"
#include "pkg/ttrpc/limits.h"

enum { SEND_VECTORS = 64 };

static bool is_shortage(int errnum)
{
        return errnum == ENOMEM || errnum == ENOBUFS;
}

bool ttrpc_conn_is_for_now(struct ttrpc_conn *conn, int errnum)
{
        if (is_shortage(errnum))
                loop_io_rest(conn->io);
        return errnum == EAGAIN || is_shortage(errnum);
}

void ttrpc_conn_drop_queue(struct ttrpc_conn *conn)
{
        while (!list_is_empty(&conn->queue))
                (void)ttrpc_out_free(list_first(&conn->queue, struct ttrpc_out, node));
        conn->n_queued = 0;
        conn->n_data = 0;
}

void ttrpc_conn_uses_annex(const struct ttrpc_conn *conn)
{
        if (conn->kept->annex)
                ttrpc_pool_use(conn->pool);
}

static void conn_sent(struct ttrpc_conn *conn, size_t n)
{
        conn->n_queued -= n;
        if (conn->kept) {
                ttrpc_kept_out_sent(conn->kept, n, conn->n_queued == 0);
                ttrpc_conn_uses_annex(conn);
        }
        while (n > 0) {
                struct ttrpc_out *out = list_first(&conn->queue, struct ttrpc_out, node);
                size_t rest = out->len - out->sent;

                if (n < rest) {
                        out->sent += n;
                        return;
                }
                n -= rest;
                if (out->is_data)
                        conn->n_data -= ttrpc_out_cost(out);
                if (out->is_data || out->is_restored)
                        conn->ops->on_sent(conn, out);
                ttrpc_pool_out_give(conn->pool, out);
        }
}

/* Called by whoever sends, so what is left to read waits for the end of the round. */
static void conn_send_failed(struct ttrpc_conn *conn, int errnum)
{
        if (errnum != EPIPE || !conn->ops->read_to_end || conn->half_closed) {
                ttrpc_conn_doom(conn, "send", errnum);
                return;
        }
        conn->draining = true;
        ttrpc_conn_drop_queue(conn);
        loop_defer(conn->loop, &conn->deferred);
}

void ttrpc_conn_flush(struct ttrpc_conn *conn)
{
        while (!list_is_empty(&conn->queue)) {
                struct iovec vectors[SEND_VECTORS];
                struct msghdr msg = {.msg_iov = vectors};
                ssize_t n;

                list_for_each(out, &conn->queue, struct ttrpc_out, node) {
                        if (msg.msg_iovlen == SEND_VECTORS)
                                break;
                        vectors[msg.msg_iovlen++] = (struct iovec){
                                .iov_base = out->data + out->sent,
                                .iov_len = out->len - out->sent,
                        };
                }
                n = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n >= 0) {
                        conn_sent(conn, (size_t)n);
                } else if (ttrpc_conn_is_for_now(conn, errno)) {
                        break;
                } else if (errno != EINTR) {
                        conn_send_failed(conn, errno);
                        return;
                }
        }
        ttrpc_conn_want(conn);
        ttrpc_conn_stream_ended(conn);
}

void ttrpc_conn_send_consume(struct ttrpc_conn *conn, struct ttrpc_out *out)
{
        if (!out) {
                ttrpc_conn_doom(conn, "no memory for an answer", ENOMEM);
                return;
        }
        if (conn->doomed || conn->draining || conn->fd < 0) {
                (void)ttrpc_out_free(out);
                return;
        }
        if (conn->n_queued + out->len > TTRPC_QUEUED_BYTES_MAX)
                ttrpc_conn_flush(conn);
        if (conn->n_queued + out->len > TTRPC_QUEUED_BYTES_MAX)
                ttrpc_conn_doom(conn, "the peer does not read its answers", 0);
        if (conn->doomed || conn->draining) {
                (void)ttrpc_out_free(out);
                return;
        }
        if (conn->kept)
                ttrpc_kept_out_add(conn->kept, out->data, out->len, out->ends);
        list_append(&conn->queue, &out->node);
        conn->n_queued += out->len;
        if (out->is_data)
                conn->n_data += ttrpc_out_cost(out);
        if (!conn->reading)
                loop_defer(conn->loop, &conn->deferred);
}
