/* SPDX-License-Identifier: Apache-2.0
 *
 * What server.c (connections, lifetime), listen.c, dispatch.c (frames into calls) and call.c (the
 * life of a call) share. Private to the package.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/list.h"
#include "pkg/ttrpc/conn.h"
#include "pkg/ttrpc/ttrpc.h"
#include "pkg/ttrpc/wire.h"

struct ttrpc_service {
        struct list node;
        const ProtobufCServiceDescriptor *descriptor;
        const enum ttrpc_kind *kinds; /* NULL: all are unary */
        const ttrpc_handler *handlers;
        void *userdata;
};

/* A call to be dispatched again. */
struct ttrpc_again {
        struct ttrpc_conn *conn;
        uint64_t seq;
        int unit;
};

struct ttrpc_server {
        unsigned n_refs; /* the owner's, and one for each callback on the stack */
        struct loop *loop;
        struct ttrpc_server_options options;
        uid_t uid;
        gid_t gid;
        struct ttrpc_pool *pool;
        struct ttrpc_keep *keep;             /* NULL: nothing is kept */
        struct ttrpc_again *again;           /* from restore to hear: room for the calls */
        const struct ttrpc_restore *restore; /* while calls are dispatched again */
        struct list services;
        struct loop_timer *shortage; /* until calls that had no memory are told again */
        struct list listeners;
        unsigned n_stops; /* times that all listeners were freed */
        struct list conns;
        size_t n_conns;
        struct list detached; /* calls that nobody waits for and that their keepers still hold */
        size_t n_detached;
        size_t n_call_bytes; /* of all calls, open and detached */
        bool freed;
};

/*
 * A call lives in its own arena. It is open while conn is set: a peer waits for its answer. After
 * the answer it is freed, unless the handler is still on the stack; after a cancellation without
 * on_cancel it is detached until its keeper answers.
 */
struct ttrpc_call {
        struct ttrpc_stream stream;  /* in conn->streams while open */
        struct list detached;        /* in server->detached while detached */
        struct ttrpc_server *server; /* NULL once the server is freed */
        struct ttrpc_conn *conn;
        struct ttrpc_pool *pool;
        struct arena *arena;
        const ProtobufCServiceDescriptor *service;
        const ProtobufCMethodDescriptor *method;
        size_t n_bytes; /* this call's part of server->n_call_bytes */
        uint64_t begun_ns;
        uint64_t deadline_ns;
        struct loop_timer *deadline_timer;
        struct loop_deferred cancel_late; /* on_cancel was set after the cancellation */
        void (*on_cancel)(struct ttrpc_call *call, void *userdata);
        void *on_cancel_userdata;
        size_t n_metadata;
        struct ttrpc_metadata *metadata;
        enum ttrpc_kind kind;
        bool half_closed; /* the peer sends no more requests */
        bool resumed;     /* dispatched by the process image before, too */
        size_t n_queued;  /* cost of the stream's messages that have not left */
        struct loop_deferred room_late;
        bool is_short;   /* there was no memory for its message */
        bool is_waiting; /* stands in line for its turn (turn.c) */
        struct loop_deferred turn_over;
        const struct ttrpc_stream_ops *stream_ops;
        void *stream_userdata;
        unsigned n_entered; /* the handler, and other callbacks of the call's keeper */
        bool cancelling;    /* on_cancel is on the stack */
        bool done;          /* to be freed when the handler returns */
};

/* dispatch.c */
extern const struct ttrpc_conn_ops ttrpc_server_conn_ops;

/* dispatch.c: the same request once more, which is kept in that unit. */
void ttrpc_dispatch_again(struct ttrpc_conn *ours, int unit);

/* listen.c: a socket that is listening, of the process image before, or a new one. */
int ttrpc_server_listen_again_take(struct ttrpc_server *server, int fd, int kept,
                                   struct error *err);

/* listen.c: stops accepting while the server is full, and starts again. */
void ttrpc_server_update_listeners(struct ttrpc_server *server);

/* server.c: a connection of the process image before. */
int ttrpc_server_adopt_again_take(struct ttrpc_server *server, int fd, unsigned slot,
                                  struct error *err);
void ttrpc_server_conns_changed(struct ttrpc_server *server);
struct ttrpc_server *ttrpc_server_ref(struct ttrpc_server *server);
struct ttrpc_server *ttrpc_server_unref(struct ttrpc_server *server);
CLEANUP_DEFINE(struct ttrpc_server, ttrpc_server_unref)

/* server.c: takes a lost connection off the server. */
void ttrpc_server_conn_lost(struct ttrpc_server *server, struct ttrpc_conn *conn);

/* stream.c */

/* A Data frame for an open call. */
void ttrpc_call_take_data(struct ttrpc_call *call, const struct ttrpc_frame *frame,
                          const uint8_t *body);

/* What came with the request of a stream of requests. */
void ttrpc_call_take_first(struct ttrpc_call *call, const struct ttrpc_frame *frame,
                           struct ttrpc_span payload);

/* A stream of requests that goes on. */
void ttrpc_call_resume(struct ttrpc_call *call, bool half_closed);

/* A message of the stream has left. */
void ttrpc_call_sent(struct ttrpc_call *call, const struct ttrpc_out *out);
void ttrpc_call_on_room_late(struct loop_deferred *deferred);

/* There may be memory again; userdata: the server. */
void ttrpc_call_on_shortage_over(struct loop_timer *timer, void *userdata);

/* turn.c */

/* What the stream has room for of what it shares. If that is not enough, it is told in turn. */
size_t ttrpc_turn_room(struct ttrpc_call *call);

/* It is about to send so much, told or not. */
void ttrpc_turn_use(struct ttrpc_call *call, size_t n);

/* Its own room is enough again: it is told, in turn if others wait. */
void ttrpc_turn_wants(struct ttrpc_call *call);

/* A stream's message has left, or all streams were dispatched again. */
void ttrpc_turn_try(struct ttrpc_conn *conn);

/* All that the process image before has queued has left. */
void ttrpc_turn_restored_sent(struct ttrpc_conn *conn);

/* It is about to be told. */
void ttrpc_turn_begin(struct ttrpc_call *call);
void ttrpc_turn_on_over(struct loop_deferred *deferred);

/* The call is no stream of the connection any more. */
void ttrpc_turn_end(struct ttrpc_conn *conn, struct ttrpc_call *call);

/* call.c */

/* Frees it, or lets the callback do it that is on the stack. */
void ttrpc_call_release(struct ttrpc_call *call);

/* Ends an open call with a frame, which is consumed, and frees it. */
void ttrpc_call_finish(struct ttrpc_call *call, struct ttrpc_out *out);

/* Opens a call; NULL without memory. The request is checked, but not unpacked yet. */
struct ttrpc_call *ttrpc_call_new(struct ttrpc_conn *conn, const struct ttrpc_service *service,
                                  unsigned method, const struct ttrpc_wire_request *request,
                                  uint32_t stream_id);

/* Runs the handler, and lets the deadline tick if the call is kept. */
void ttrpc_call_run(struct ttrpc_call *call, ttrpc_handler handler, const ProtobufCMessage *message,
                    void *userdata);

/* Answers in the library's own name; text is valid UTF-8. Frees the call. */
void ttrpc_call_refuse(struct ttrpc_call *call, int code, const char *text);

extern const char ttrpc_deadline_text[];

/*
 * Ends an open call from our side: with a status when code is not STATUS_OK, else in silence. The
 * keeper is told, or keeps a detached call.
 */
void ttrpc_call_cancel(struct ttrpc_call *call, int code, const char *text);
