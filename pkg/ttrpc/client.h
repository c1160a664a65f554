/* SPDX-License-Identifier: Apache-2.0
 *
 * What client.c (the connection), client_unary.c and client_stream.c share. Private to the package.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/cleanup.h"
#include "pkg/ttrpc/conn.h"
#include "pkg/ttrpc/ttrpc.h"
#include "pkg/ttrpc/wire.h"

struct ttrpc_client {
        unsigned n_refs; /* the owner's, and one for each callback on the stack */
        struct loop *loop;
        struct ttrpc_pool *pool;
        struct ttrpc_conn *conn;
        uint32_t next_id;
        uint64_t last_tag; /* of a client that was restored: its last request's */
        struct loop_deferred restored;
        const ProtobufCMessageDescriptor *checked; /* the last output type that was found sound */
        bool closed;                               /* lost, or being freed */
        bool freed;
        void (*on_close)(struct ttrpc_client *client, const struct error *err, void *userdata);
        void *on_close_userdata;
};

/* As ttrpc_client_new_take(). kept: of the image before, and taken, too; or NULL. */
int ttrpc_client_of_fd_take(struct ttrpc_client **ret, struct loop *loop, int fd,
                            struct ttrpc_kept *kept, struct error *err);

/*
 * A call that the peer has not finished: in conn->streams until its end, which its own code brings
 * about by ttrpc_pending_remove().
 */
struct ttrpc_pending {
        struct ttrpc_stream stream;
        struct ttrpc_client *client;
        const struct ttrpc_pending_ops *ops;
        uint64_t tag; /* where the client is kept */
};

struct ttrpc_pending_ops {
        void (*on_frame)(struct ttrpc_pending *pending, const struct ttrpc_frame *frame,
                         const uint8_t *body);
        void (*on_sent)(struct ttrpc_pending *pending, const struct ttrpc_out *out);
        void (*fail)(struct ttrpc_pending *pending, const struct error *err);
};

struct ttrpc_client *ttrpc_client_ref(struct ttrpc_client *client);
struct ttrpc_client *ttrpc_client_unref(struct ttrpc_client *client);
CLEANUP_DEFINE(struct ttrpc_client, ttrpc_client_unref)

/* Whether a call of the method may be started now. */
int ttrpc_client_check(struct ttrpc_client *client, const ProtobufCMethodDescriptor *method,
                       struct error *err);

/* Gives it its id, which the request must have (client->next_id), and sends that. out is consumed,
 * also on failure. */
int ttrpc_pending_send_consume(struct ttrpc_pending *pending, struct ttrpc_client *client,
                               const struct ttrpc_pending_ops *ops, struct ttrpc_out *out,
                               struct error *err);
void ttrpc_pending_remove(struct ttrpc_pending *pending);
void ttrpc_pending_fail(struct ttrpc_pending *pending, int code, const char *text);

/* The status in a Response that is not OK, or that cannot be read, as an error: -1; else 0 and the
 * payload. */
int ttrpc_response_check(const struct ttrpc_frame *frame, const uint8_t *body,
                         struct ttrpc_span *ret_payload, struct error *err);
