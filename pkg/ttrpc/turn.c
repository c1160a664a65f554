/* SPDX-License-Identifier: Apache-2.0
 *
 * The turns of the streams on one connection. What of them can be kept is bounded for all together
 * (KEEP_OUT_STREAMS), so when one finds too little of it they stand in line, and room is one's at a
 * time: that of the stream whose turn it is. All others find none, whatever it is that lets them
 * ask. So nobody can take what another one was told of.
 *
 * A turn begins with on_room and lasts to the end of the loop's next round, in which the keeper
 * hears of what it has been waiting to send, or of one more if it has not. Then it passes on, used
 * or not: to who stands in line and whose id comes next in the circle. Whoever was told and still
 * wants room stands in line anew. All turns are worth the same: what there must be for one to
 * begin. A turn that was not used when the process image is left is had in the next one.
 *
 * Invariant: while somebody stands in line and it is nobody's turn, there is not enough room, and
 * what leaves lets the turn pass.
 */
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/server.h"

/* A timer that its keeper sets from on_room to be due at once may come a round later. */
enum { ENOUGH = TTRPC_STREAM_QUEUED_MAX / 2, ROUNDS = 2 };

static bool is_turn_of(const struct ttrpc_conn *conn, const struct ttrpc_call *call)
{
        return conn->in_turn && conn->turn == call->stream.id;
}

/* What the process image before has queued leaves first. */
static size_t shared_room(const struct ttrpc_conn *conn)
{
        return conn->n_restored == 0 && conn->n_data < KEEP_OUT_STREAMS
                       ? KEEP_OUT_STREAMS - conn->n_data
                       : 0;
}

/* Streams that are dispatched again stand in line, so that the one goes on that is next. */
static bool is_line(const struct ttrpc_conn *conn)
{
        return conn->in_turn || conn->n_waiting > 0 || conn->again;
}

static void stand_in_line(struct ttrpc_conn *conn, struct ttrpc_call *call)
{
        conn->n_waiting += !call->is_waiting;
        call->is_waiting = true;
}

static void leave_line(struct ttrpc_conn *conn, struct ttrpc_call *call)
{
        conn->n_waiting -= call->is_waiting;
        call->is_waiting = false;
}

/* Places behind the stream that had its turn last. */
static uint32_t place_of(const struct ttrpc_conn *conn, const struct ttrpc_call *call)
{
        return call->stream.id - conn->turn - 1;
}

static struct ttrpc_call *first_in_line(const struct ttrpc_conn *conn)
{
        struct ttrpc_call *first = NULL;

        for (size_t i = 0; i < TTRPC_STREAM_CHAINS; i++) {
                for (struct ttrpc_stream *stream = conn->streams.chains[i]; stream;
                     stream = stream->next) {
                        struct ttrpc_call *call = container_of(stream, struct ttrpc_call, stream);

                        if (call->is_waiting &&
                            (!first || place_of(conn, call) < place_of(conn, first)))
                                first = call;
                }
        }
        return first;
}

/* If it is nobody's, and there is somebody to take it and room to be used. */
static void pass_turn(struct ttrpc_conn *conn)
{
        struct ttrpc_call *call;

        if (conn->in_turn || conn->n_waiting == 0 || shared_room(conn) < ENOUGH)
                return;
        call = first_in_line(conn);
        leave_line(conn, call);
        conn->in_turn = true;
        conn->turn_left = ENOUGH;
        conn->turn_rounds = ROUNDS;
        conn->turn = call->stream.id;
        loop_defer(conn->loop, &call->room_late);
}

size_t ttrpc_turn_room(struct ttrpc_call *call)
{
        struct ttrpc_conn *conn = call->conn;
        size_t room;

        if (!conn || !conn->kept)
                return SIZE_MAX;
        room = shared_room(conn);
        if (is_turn_of(conn, call))
                room = room < conn->turn_left ? room : conn->turn_left;
        else if (is_line(conn) || room < ENOUGH)
                room = 0;
        if (room < ENOUGH)
                stand_in_line(conn, call);
        return room;
}

void ttrpc_turn_use(struct ttrpc_call *call, size_t n)
{
        struct ttrpc_conn *conn = call->conn;

        if (!is_turn_of(conn, call))
                return;
        conn->turn_left -= n < conn->turn_left ? n : conn->turn_left;
        ttrpc_kept_turn(conn->kept, conn->turn);
}

void ttrpc_turn_wants(struct ttrpc_call *call)
{
        if (is_line(call->conn))
                stand_in_line(call->conn, call);
        else
                loop_defer(call->conn->loop, &call->room_late);
}

void ttrpc_turn_try(struct ttrpc_conn *conn)
{
        pass_turn(conn);
}

/* They may be waiting for it, whatever they have found since. */
void ttrpc_turn_restored_sent(struct ttrpc_conn *conn)
{
        for (size_t i = 0; i < TTRPC_STREAM_CHAINS; i++) {
                for (struct ttrpc_stream *stream = conn->streams.chains[i]; stream;
                     stream = stream->next) {
                        struct ttrpc_call *call = container_of(stream, struct ttrpc_call, stream);

                        if (call->stream_ops)
                                stand_in_line(conn, call);
                }
        }
        pass_turn(conn);
}

void ttrpc_turn_begin(struct ttrpc_call *call)
{
        if (is_turn_of(call->conn, call))
                loop_defer(call->conn->loop, &call->turn_over);
}

void ttrpc_turn_on_over(struct loop_deferred *deferred)
{
        struct ttrpc_conn *conn = container_of(deferred, struct ttrpc_call, turn_over)->conn;

        if (conn->turn_left == ENOUGH && --conn->turn_rounds > 0) {
                loop_defer(conn->loop, deferred);
                return;
        }
        ttrpc_kept_turn(conn->kept, conn->turn);
        conn->in_turn = false;
        pass_turn(conn);
}

void ttrpc_turn_end(struct ttrpc_conn *conn, struct ttrpc_call *call)
{
        leave_line(conn, call);
        loop_deferred_cancel(&call->turn_over);
        if (is_turn_of(conn, call))
                conn->in_turn = false;
        pass_turn(conn);
}
