/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames on their way out. A message is packed once, straight into the buffer that sendmsg(2) takes
 * it from. Large buffers are mappings of their own, so that a big answer leaves no hole in the
 * heap.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/ttrpc/ttrpc.h"

struct ttrpc_pool;

struct ttrpc_out {
        struct list node;
        struct arena *arena; /* of a large buffer, this struct included; else NULL */
        size_t len;          /* header and body */
        size_t sent;
        size_t room; /* of data, when large */
        uint32_t stream_id;
        int ends;         /* the unit of the call that it answers (keep.h), or KEEP_NONE */
        bool is_data;     /* of a stream, which wants to know when it has left */
        bool is_restored; /* what the image before had queued, of whatever streams */
        uint8_t data[];
};

/*
 * Each sets *ret to NULL and returns -1 with RESOURCE_EXHAUSTED when the message is above
 * TTRPC_MESSAGE_MAX or memory is gone.
 */
int ttrpc_out_response(struct ttrpc_out **ret, uint32_t stream_id, const ProtobufCMessage *message,
                       struct error *err);

/* flags: of the frame. message may be NULL: the call opens a stream of requests. */
int ttrpc_out_request(struct ttrpc_out **ret, uint32_t stream_id, uint8_t flags,
                      const char *service, const char *method, const ProtobufCMessage *message,
                      const struct ttrpc_call_options *options, struct error *err);

/* Of a stream, which sends many: with a buffer of the pool's, if it has one. */
int ttrpc_out_data(struct ttrpc_out **ret, struct ttrpc_pool *pool, uint32_t stream_id,
                   const ProtobufCMessage *message, struct error *err);

/* The empty Data frame that ends the sender's side of a stream; NULL without memory. */
struct ttrpc_out *ttrpc_out_close(uint32_t stream_id);

/* Room for len bytes of frames that the process image before has queued; NULL without memory. */
struct ttrpc_out *ttrpc_out_restored(size_t len);

/* What a message counts against the room of its stream. */
size_t ttrpc_out_cost(const struct ttrpc_out *out);

/* The text must be valid UTF-8; NULL without memory. */
struct ttrpc_out *ttrpc_out_status(uint32_t stream_id, int code, const char *text);

struct ttrpc_out *ttrpc_out_free(struct ttrpc_out *out);
