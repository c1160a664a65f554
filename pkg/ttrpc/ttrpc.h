/* SPDX-License-Identifier: Apache-2.0
 *
 * ttrpc for C: protobuf-c services over the ttrpc framing, server and client.
 *
 * The library owns no thread and never blocks; it lives on the caller's loop. It takes the service
 * descriptors that protoc-c emits, so nothing else is generated. Calls are objects: a handler
 * answers now or keeps the call and answers later, exactly once.
 *
 * The limits are in limits.h. Wire: https://github.com/containerd/ttrpc, PROTOCOL.md.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

struct ttrpc_server;
struct ttrpc_call;
struct ttrpc_client;

struct ttrpc_metadata {
        const char *key;
        const char *value;
};

/* ---- Server ---- */

struct ttrpc_server_options {
        bool check_peer; /* refuse peers whose uid or gid is not our effective one (SO_PEERCRED) */

        /* The number of connections has changed to n; may be NULL. */
        void (*on_connections)(size_t n, void *userdata);
        void *userdata;

        /* Memory that outlives the process image, page-aligned and at first all zero, where the
         * server keeps its sockets and all that is under way on them, as it happens; see
         * ttrpc_server_restore(). It must outlive the server and the round of the loop in which
         * that is freed. NULL: nothing is kept. */
        void *keep;
        size_t keep_size; /* TTRPC_KEEP_BYTES() of as many connections as shall be kept */
};

/* Most of it is never written. For TTRPC_CONNECTIONS_MAX of them all. */
#define TTRPC_KEEP_BYTES(n_connections) (((size_t)(n_connections) << 20) + 4096)

int ttrpc_server_new(struct ttrpc_server **ret, struct loop *loop,
                     const struct ttrpc_server_options *options, struct error *err);

/* Drops all connections and the listeners; calls that handlers still hold are cancelled first. */
struct ttrpc_server *ttrpc_server_free(struct ttrpc_server *server);

/*
 * request and what it points to live in the call's arena until the call is answered or cancelled.
 * Strings are never NULL, submessages may be.
 */
typedef void (*ttrpc_handler)(struct ttrpc_call *call, const ProtobufCMessage *request,
                              void *userdata);

/*
 * Serves a service. handlers is parallel to descriptor->methods (n_methods of them); a NULL entry
 * answers Unimplemented. Both arrays must outlive the server. ALREADY_EXISTS for a second service
 * of that name; UNIMPLEMENTED for a request type that contains itself, since a peer could then
 * nest a message as deep as it likes.
 */
int ttrpc_server_register(struct ttrpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                          const ttrpc_handler *handlers, void *userdata, struct error *err);

/* Which sides of a method stream: protoc-c's descriptors do not say. */
enum ttrpc_kind {
        TTRPC_UNARY = 0,
        TTRPC_CLIENT_STREAM = 1, /* many requests, one response */
        TTRPC_SERVER_STREAM = 2, /* one request, many responses */
        TTRPC_BIDI_STREAM = TTRPC_CLIENT_STREAM | TTRPC_SERVER_STREAM,
};

/* The same for a service with methods that stream; kinds is parallel to handlers and must outlive
 * the server, too. */
int ttrpc_server_register_streaming(struct ttrpc_server *server,
                                    const ProtobufCServiceDescriptor *descriptor,
                                    const enum ttrpc_kind *kinds, const ttrpc_handler *handlers,
                                    void *userdata, struct error *err);

/* Accepts from a listening unix socket, which the server owns from now on. */
int ttrpc_server_listen_take(struct ttrpc_server *server, int fd, struct error *err);

/* Serves one connected socket, which the server owns from now on, also on failure. */
int ttrpc_server_adopt_consume(struct ttrpc_server *server, int fd, struct error *err);

/* Stops accepting; what is connected goes on. */
void ttrpc_server_stop_listening(struct ttrpc_server *server);

size_t ttrpc_server_n_connections(const struct ttrpc_server *server);

/* True while bytes of answers wait for a peer to read them. */
bool ttrpc_server_has_queued(const struct ttrpc_server *server);

/*
 * ---- Going on in another process image ----
 *
 * A server with options.keep can be left at any instruction by an execve(2), also by that of a
 * handler of SIGSEGV. The descriptors that ttrpc_kept_fds() lists must survive it, with their
 * numbers, and so must the memory. The next image makes a server with the same memory, registers
 * its services, and calls ttrpc_server_restore(), ttrpc_server_resume() and ttrpc_server_hear(): no
 * byte of a request is lost or taken twice, no byte of an answer is sent twice.
 *
 * A connection has 1 MiB to be kept in, and an annex for a frame that is half read and for what is
 * queued to a slow reader, however large. Of a request for which there is no room (one above 48 KiB
 * that comes in pieces) the payload is not kept: a stream of requests goes on without it, since its
 * handler has heard it; another call is refused in the next image. Its calls, some 2000 of them,
 * are in there, and where they are more also in what no other connection has yet. One that has no
 * room for them, or where there is no descriptor for the annexes (one for all of them) when one is
 * needed, cannot be restored until that is over: it is closed. So is one that could not be kept at
 * all.
 */

/* What becomes of a call that had no answer yet. */
struct ttrpc_restored_call {
        const char *service;
        const char *method;
        enum ttrpc_kind kind;

        /* Its handler had been entered and had not returned, or another callback of its keeper:
         * the crash may be its own. Never in a planned re-exec. */
        bool in_handler;

        bool was_tried; /* in_handler, and it was so at a crash before */

        bool has_note; /* of a stream: ttrpc_call_note() has something for its handler */
};

struct ttrpc_restore {
        /*
         * NULL: the call is dispatched again, as if its request had just come, with the deadline
         * that it had. Else it is answered Unavailable with that text, which is copied. A method
         * that streams is dispatched again as well, see ttrpc_call_is_resumed().
         */
        const char *(*refuse)(const struct ttrpc_restored_call *call, void *userdata);
        void *userdata;
};

/*
 * The first half: looks at all that is in options.keep, takes listeners and connections over, and
 * gets hold of what the second half needs. Nothing is read, sent or written into the memory:
 * whether it fails, because that is damaged or a descriptor is not what it was, or succeeds,
 * another image may still be executed and try. Until then the server must not be freed.
 */
int ttrpc_server_restore(struct ttrpc_server *server, struct error *err);

/*
 * The second half, from which there is no way back: dispatches all calls that had been begun and
 * not been answered, in the order in which they came, before it returns. Returns the number of
 * connections that had to be closed.
 */
size_t ttrpc_server_resume(struct ttrpc_server *server, const struct ttrpc_restore *how);

/*
 * The end of it, in the same round of the loop: dispatches what had been read and no handler had
 * heard of, without asking. What is to be done before anything new is begun is done in between.
 */
void ttrpc_server_hear(struct ttrpc_server *server);

/* What of a server is in its memory: connections, and calls that have no answer yet. */
void ttrpc_server_count_kept(const struct ttrpc_server *server, size_t *ret_n_conns,
                             size_t *ret_n_calls);

/*
 * The descriptors that must survive: at most n of them; returns how many there are. May be called
 * from a signal handler at any time, also with memory in which no server was made yet.
 */
size_t ttrpc_kept_fds(const void *keep, size_t keep_size, int ret[], size_t n);

/* Why a connection could not be restored now, as a text of ours, or that a handler is on the stack;
 * NULL: all can. */
const char *ttrpc_server_obstacle(const struct ttrpc_server *server);

/* ---- A call, on the server's side ---- */

/* Answers and frees the call. A response above TTRPC_MESSAGE_MAX becomes ResourceExhausted. */
void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *response);

/* Answers with a status and frees the call. The text is made valid UTF-8. */
void ttrpc_call_fail(struct ttrpc_call *call, int code, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
void ttrpc_call_fail_error(struct ttrpc_call *call, const struct error *err);

/*
 * For a call that is kept: fn runs when the peer's deadline has passed (the library has then
 * answered DeadlineExceeded) or when its connection is gone. The call is freed after fn returns;
 * the keeper must forget it there and must not answer. Without fn the call lives on until its
 * keeper answers, and that answer goes nowhere: right for work that must be finished whoever waits.
 */
void ttrpc_call_on_cancel(struct ttrpc_call *call,
                          void (*fn)(struct ttrpc_call *call, void *userdata), void *userdata);

struct arena *ttrpc_call_arena(struct ttrpc_call *call);
const char *ttrpc_call_service(const struct ttrpc_call *call);
const char *ttrpc_call_method(const struct ttrpc_call *call);

/*
 * The call was kept by the process image before and is dispatched again. For a unary call it makes
 * no difference. A stream goes on: what the peer had been told has reached it or will, what it said
 * has been delivered and does not come again, the request of a TTRPC_SERVER_STREAM excepted, which
 * is the handler's argument. If the peer had half-closed, on_half_close comes once more. What
 * was queued for its connection takes its room until it has left; on_room tells of that.
 */
bool ttrpc_call_is_resumed(const struct ttrpc_call *call);

/* What on_note has said last of a call that is resumed; NULL: nothing. Valid until the handler
 * returns. */
const void *ttrpc_call_note(const struct ttrpc_call *call, size_t *ret_len);

/* CLOCK_MONOTONIC nanoseconds: when it came, or when this process image took it over. */
uint64_t ttrpc_call_begun_ns(const struct ttrpc_call *call);

/* CLOCK_MONOTONIC nanoseconds; 0 when the peer set no deadline. */
uint64_t ttrpc_call_deadline_ns(const struct ttrpc_call *call);

/* First value of a metadata key, or NULL. */
const char *ttrpc_call_metadata(const struct ttrpc_call *call, const char *key);

/*
 * ---- A call that streams, on the server's side ----
 *
 * The handler of a method with a stream of requests gets NULL for the request, and must set its ops
 * or answer before it returns. Whoever streams also sets on_cancel: that is how it learns that the
 * peer is gone. From all of these callbacks the call may be ended.
 *
 * ttrpc has no flow control, so each stream has room for TTRPC_STREAM_QUEUED_MAX bytes that the
 * peer has not taken yet: whoever sends looks at the room first, and goes on in on_room. On a
 * connection that is kept (options.keep) all streams together have no more than can be kept of
 * them: when one finds too little of that they take turns, and only the one that is told has room,
 * in on_room and in the loop's next round. What is small may be sent without having looked.
 */
struct ttrpc_stream_ops {
        /* message lives until it returns. NULL without a stream of requests. */
        void (*on_message)(struct ttrpc_call *call, const ProtobufCMessage *message,
                           void *userdata);

        /* The peer sends no more; may be NULL. */
        void (*on_half_close)(struct ttrpc_call *call, void *userdata);

        /* At least half of the room is free, after it was not, or there was no memory for a message
         * and there may be now; may be NULL. */
        void (*on_room)(struct ttrpc_call *call, void *userdata);

        /* Writes all that the handler needs to go on in another process image to `note`, room bytes
         * of memory that outlives this one, and returns its length; 0: it could not go on. Runs
         * after the handler and each callback, and after ttrpc_call_leave(), if the call is kept
         * and still open. May be NULL. */
        size_t (*on_note)(struct ttrpc_call *call, void *note, size_t room, void *userdata);
};
void ttrpc_call_on_stream(struct ttrpc_call *call, const struct ttrpc_stream_ops *ops,
                          void *userdata);

/*
 * Around what a keeper does for a stream from elsewhere than its callbacks, and from before it
 * takes what cannot be taken twice (bytes of a pipe, for instance). A crash in between is one in
 * the handler, so the note need not be right then. They nest, also with callbacks. The call may end
 * in between: it is freed by the leave.
 */
void ttrpc_call_enter(struct ttrpc_call *call);
void ttrpc_call_leave(struct ttrpc_call *call);

/* Bytes that the stream has room for. A message takes its packed size and TTRPC_FRAME_COST. */
size_t ttrpc_call_room(struct ttrpc_call *call);

/* Sends one message of the stream of responses. RESOURCE_EXHAUSTED without room, above
 * TTRPC_MESSAGE_MAX or without memory: then nothing was sent and the stream goes on. To a call that
 * was cancelled it goes nowhere. */
int ttrpc_call_send(struct ttrpc_call *call, const ProtobufCMessage *message, struct error *err);

/* Ends a stream of responses well and frees the call. ttrpc_call_fail() ends it with a status, and
 * ttrpc_call_reply() answers a stream of requests. */
void ttrpc_call_end(struct ttrpc_call *call);

/* ---- Client ---- */

/* Connects to "unix:///path" or "/path"; a unix connect does not block. */
int ttrpc_client_connect(struct ttrpc_client **ret, struct loop *loop, const char *address,
                         struct error *err);

/* Takes a connected socket, on success. */
int ttrpc_client_new_take(struct ttrpc_client **ret, struct loop *loop, int fd, struct error *err);

/* Calls that are still pending end with Canceled before it returns. */
struct ttrpc_client *ttrpc_client_free(struct ttrpc_client *client);

/*
 * The connection was lost (err says why); all pending calls have ended with Unavailable "ttrpc:
 * closed" before. The client may be freed from here, and answers every further call with an error.
 */
void ttrpc_client_on_close(struct ttrpc_client *client,
                           void (*fn)(struct ttrpc_client *client, const struct error *err,
                                      void *userdata),
                           void *userdata);

/*
 * The connection is not read while it is paused: so a peer that looks at the room of its streams
 * waits for a client that is slow. A few messages that were read already still come; answers of
 * other calls wait, too, and a lost connection is not noticed.
 */
void ttrpc_client_pause(struct ttrpc_client *client, bool paused);

/* response is NULL when err is not; both live only until the callback returns. */
typedef void (*ttrpc_response_fn)(const struct error *err, const ProtobufCMessage *response,
                                  void *userdata);

struct ttrpc_call_options {
        uint64_t timeout_ns; /* sent to the peer and enforced here; 0: none */
        uint64_t tag;        /* for ttrpc_client_resume(); never 0 there */
        const struct ttrpc_metadata *metadata;
        size_t n_metadata;
};

/*
 * Starts a unary call of service->methods[method]. The request is packed before it returns. fn runs
 * once, never before this function has returned; when it fails fn does not run. options may be
 * NULL. UNAVAILABLE when the connection is lost, RESOURCE_EXHAUSTED beyond a limit (limits.h).
 */
int ttrpc_client_call(struct ttrpc_client *client, const ProtobufCServiceDescriptor *service,
                      unsigned method, const ProtobufCMessage *request,
                      const struct ttrpc_call_options *options, ttrpc_response_fn fn,
                      void *userdata, struct error *err);

/*
 * ---- A client that outlives this image of the process ----
 *
 * Of its unary calls the last one goes on; whoever wants that has one under way at a time. memory
 * is the caller's, TTRPC_KEEP_BYTES(1) of it that the next image finds again, zeroed when it is
 * new, and one client's at a time. A message above some 100 KiB is not kept, and its connection
 * neither.
 */

/* From now on it is kept: to be called before the first call. A failure leaves it as it was. */
int ttrpc_client_keep(struct ttrpc_client *client, void *memory, size_t size, struct error *err);

/* The client of the image before, whose descriptor becomes CLOEXEC; NULL if there was none, or none
 * that is whole, and whose descriptor nobody claims. Nothing is read, sent or written into the
 * memory until ttrpc_client_go_on(): whether this fails or not, another image may still be executed
 * and try. Until then the client must not be freed. */
int ttrpc_client_restore(struct ttrpc_client **ret, struct loop *loop, void *memory, size_t size,
                         struct error *err);

/* In between: waits for the last call's answer, if that call had the tag of the options and was
 * queued, or it has not been sent: NOT_FOUND. An answer that was heard before is not heard again:
 * that is for the caller to know. */
int ttrpc_client_resume(struct ttrpc_client *client, const ProtobufCServiceDescriptor *service,
                        unsigned method, const struct ttrpc_call_options *options,
                        ttrpc_response_fn fn, void *userdata, struct error *err);

/* From here on there is no way back. Fails no more; what it had read comes from the loop. */
void ttrpc_client_go_on(struct ttrpc_client *client);

/* Whether it would be restored as it is now. */
bool ttrpc_client_is_kept(const struct ttrpc_client *client);

/* ---- Streams, on the client's side ---- */

struct ttrpc_client_stream;

struct ttrpc_client_stream_ops {
        /* message lives until it returns. A single response is a message, too. */
        void (*on_message)(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                           void *userdata);

        /* Nothing comes after it; err is NULL when the peer has ended the stream well. */
        void (*on_end)(struct ttrpc_client_stream *stream, const struct error *err, void *userdata);

        /* As ttrpc_stream_ops has it; may be NULL. */
        void (*on_room)(struct ttrpc_client_stream *stream, void *userdata);
};

/*
 * Starts a streaming call. request is for TTRPC_SERVER_STREAM, and NULL with a stream of requests.
 * No callback runs before it has returned. The stream is the caller's until it frees it, also after
 * its end and after the client is freed, which ends it. The peer is not told when a stream is freed
 * early, since ttrpc has no word for that: what still comes is ignored.
 */
int ttrpc_client_stream_open(struct ttrpc_client_stream **ret, struct ttrpc_client *client,
                             const ProtobufCServiceDescriptor *service, unsigned method,
                             enum ttrpc_kind kind, const ProtobufCMessage *request,
                             const struct ttrpc_call_options *options,
                             const struct ttrpc_client_stream_ops *ops, void *userdata,
                             struct error *err);

size_t ttrpc_client_stream_room(const struct ttrpc_client_stream *stream);

/* UNAVAILABLE after the stream's end; else as ttrpc_call_send(). Not after the half-close. */
int ttrpc_client_stream_send(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                             struct error *err);

/* No more requests; the peer's stream goes on. Idempotent. */
void ttrpc_client_stream_half_close(struct ttrpc_client_stream *stream);

/* Safe inside its own callbacks. */
struct ttrpc_client_stream *ttrpc_client_stream_free(struct ttrpc_client_stream *stream);
