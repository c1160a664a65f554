/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection, of a server or of a client: frames in, frames out. It knows nothing of services.
 *
 * Nothing that is called from outside the loop's own callbacks calls back: a connection that fails
 * while something is sent is marked, and lost at the end of the round. So whoever answers many
 * calls in a row need not fear that the list changes under it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/loop/loop.h"
#include "pkg/ttrpc/frame.h"
#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/out.h"
#include "pkg/ttrpc/pool.h"
#include "pkg/ttrpc/streams.h"

struct ttrpc_conn;

struct ttrpc_conn_ops {
        /* A peer that stops writing still gets the answers to its open streams. */
        bool half_close;

        /* What the peer has said before it went away still counts, also when a send failed. */
        bool read_to_end;

        /* A whole frame; body is good until it returns, and may be closed meanwhile. */
        void (*on_frame)(struct ttrpc_conn *conn, const struct ttrpc_frame *frame,
                         const uint8_t *body);

        /* A frame above TTRPC_MESSAGE_MAX has been read and thrown away. */
        void (*on_oversized)(struct ttrpc_conn *conn, const struct ttrpc_frame *frame);

        /* A Data frame of a stream has left; from inside of whoever sends, so it may only take
         * note.
         */
        void (*on_sent)(struct ttrpc_conn *conn, const struct ttrpc_out *out);

        /* The connection is closed already; its owner drops it now. */
        void (*on_lost)(struct ttrpc_conn *conn, const struct error *err);
};

struct ttrpc_conn {
        unsigned n_refs; /* the owner's, and one for each callback on the stack */
        struct loop *loop;
        struct loop_io *io;
        int fd;
        struct ttrpc_pool *pool;
        const struct ttrpc_conn_ops *ops;

        /* For the owner. */
        void *owner;
        struct list node;
        uint32_t last_id;
        struct ttrpc_streams streams; /* must be empty when the last reference goes */
        size_t n_streaming;           /* how many of them carry more than a request and an answer */

        /* The frame that is being read. */
        uint8_t header[TTRPC_HEADER_SIZE];
        size_t n_header;
        struct ttrpc_frame frame;
        struct arena *body_arena; /* holds body, of a frame that came in pieces and is not kept */
        uint8_t *body;
        size_t n_body;
        uint32_t n_skip; /* bytes of an oversized frame still to come */

        struct ttrpc_kept *kept; /* what is kept of it all; NULL: nothing */
        int taken;               /* unit of the request that on_frame is told of, until it has an
                                  * owner or an answer; KEEP_NONE */
        struct keep_call *again; /* it was dispatched by the process image before, too */
        enum keep_call_state again_state;

        /* Answers that the peer has not taken yet. */
        struct list queue;
        size_t n_queued;
        size_t n_restored;    /* bytes among it that the image before has queued, of any streams */
        size_t n_data;        /* cost of the streams' messages among it */
        size_t n_waiting;     /* streams that stand in line for their turn (turn.c) */
        bool in_turn;         /* it is somebody's */
        size_t turn_left;     /* bytes that this one may still use */
        unsigned turn_rounds; /* that it has if it uses none */
        uint32_t turn;        /* id of the stream whose turn it is, or was last; 0: of none yet */

        struct loop_deferred deferred; /* sends what is queued, or loses a doomed connection */
        struct loop_timer *hangup_timer;
        bool paused;  /* by the owner: nothing is read */
        bool reading; /* conn_on_io is on the stack and will send what is queued */
        bool half_closed;
        bool draining; /* cannot send any more, reads what is left */
        bool doomed;
        const char *doom_text;
        int doom_errnum;
};

/* Takes fd on success; it need not be non-blocking. */
int ttrpc_conn_new_take(struct ttrpc_conn **ret, struct loop *loop, int fd, struct ttrpc_pool *pool,
                        const struct ttrpc_conn_ops *ops, void *owner, struct error *err);

/* Likewise, of what another process image has kept of it, with all that it needs to go on; takes
 * kept, too. Nothing of that is changed. */
int ttrpc_conn_restore_take(struct ttrpc_conn **ret, struct loop *loop, int fd,
                            struct ttrpc_pool *pool, const struct ttrpc_conn_ops *ops, void *owner,
                            struct ttrpc_kept *kept, struct error *err);

/* From now on it is this image's. */
void ttrpc_conn_resume(struct ttrpc_conn *conn);

/* All its calls were dispatched again: it goes on with what was read. */
void ttrpc_conn_restored(struct ttrpc_conn *ours);

/* Closes at once and calls nobody; what is queued is dropped. Harmless when closed. */
void ttrpc_conn_close(struct ttrpc_conn *conn);

struct ttrpc_conn *ttrpc_conn_ref(struct ttrpc_conn *conn);
struct ttrpc_conn *ttrpc_conn_unref(struct ttrpc_conn *conn); /* the last one closes */
CLEANUP_DEFINE(struct ttrpc_conn, ttrpc_conn_unref)

/* Queues a frame; NULL stands for "no memory" and costs the connection. */
void ttrpc_conn_send_consume(struct ttrpc_conn *conn, struct ttrpc_out *out);

/* What the peer sends stays in the socket while it is paused. What has been read already still
 * comes, and the peer's end is not seen. */
void ttrpc_conn_pause(struct ttrpc_conn *conn, bool paused);

/* Loses the connection at the end of the round; text is constant. */
void ttrpc_conn_doom(struct ttrpc_conn *conn, const char *text, int errnum);

/* To be called when a stream has ended: a half-closed connection may be over with it. */
void ttrpc_conn_stream_ended(struct ttrpc_conn *conn);

/* Bytes from the peer, in any cut. Public for tests. */
void ttrpc_conn_feed(struct ttrpc_conn *conn, const uint8_t *data, size_t len);

/* ---- Shared by conn.c, conn_out.c and conn_kept.c ---- */

/* After a failed system call: whether it will do later. Where the host is short of memory it is
 * tried again a little later: a container must not be lost with its shim's connection. */
bool ttrpc_conn_is_for_now(struct ttrpc_conn *conn, int errnum);

/* Watches what it is to be watched for. */
void ttrpc_conn_want(struct ttrpc_conn *conn);

/* Sends what the socket takes, and watches for room if that was not all. */
void ttrpc_conn_flush(struct ttrpc_conn *conn);
void ttrpc_conn_drop_queue(struct ttrpc_conn *conn);

/* After something in its annex has changed: that is given back when nothing is in it any more. */
void ttrpc_conn_uses_annex(const struct ttrpc_conn *conn);

/* The frame in conn->frame is whole, or was thrown away. */
void ttrpc_conn_frame_done(struct ttrpc_conn *conn, const uint8_t *body);

/* Makes a buffer for the frame whose header has been read and whose body has not come whole. */
int ttrpc_conn_body_start(struct ttrpc_conn *conn);

/* The peer writes no more. */
void ttrpc_conn_half_close(struct ttrpc_conn *conn);

/* Takes the frames that are whole from what was kept. */
void ttrpc_conn_take_kept(struct ttrpc_conn *conn);

/* A request was dispatched: if it has become no call and got no answer, it is forgotten. */
void ttrpc_conn_taken_over(struct ttrpc_conn *conn);

/* Takes the frame in conn->frame, which has no room in the area; NULL: it was thrown away. */
void ttrpc_conn_take_large(struct ttrpc_conn *conn, const uint8_t *body);
