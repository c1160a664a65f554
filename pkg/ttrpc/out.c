/* SPDX-License-Identifier: Apache-2.0
 *
 * See out.h.
 */
#include "pkg/ttrpc/out.h"

#include <stdlib.h>
#include <string.h>

#include "pkg/ttrpc/frame.h"
#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/pool.h"
#include "pkg/ttrpc/wire.h"

enum { OUT_LARGE = 8192 };

/* In pages of its own. */
static struct ttrpc_out *out_map(size_t len)
{
        size_t size = sizeof(struct ttrpc_out) + len;
        struct arena *arena = arena_new(size);
        struct ttrpc_out *out = arena ? arena_alloc(arena, size) : NULL;

        if (!out) {
                arena_free(arena);
                return NULL;
        }
        out->arena = arena;
        out->room = len;
        return out;
}

/* One of the pool's, or one that is as large as those, so that it can become the pool's. */
static struct ttrpc_out *out_map_pooled(struct ttrpc_pool *pool, size_t len)
{
        struct ttrpc_out *out = len <= TTRPC_SPARE_SIZE ? ttrpc_pool_out_take(pool) : NULL;

        return out ? out : out_map(len > TTRPC_SPARE_SIZE ? len : TTRPC_SPARE_SIZE);
}

static struct ttrpc_out *out_alloc(struct ttrpc_pool *pool, size_t len)
{
        struct ttrpc_out *out;

        if (sizeof(*out) + len > OUT_LARGE)
                return pool ? out_map_pooled(pool, len) : out_map(len);
        out = malloc(sizeof(*out) + len);
        if (out)
                out->arena = NULL;
        return out;
}

/* Of no stream yet, and without a header. */
static struct ttrpc_out *out_blank(struct ttrpc_pool *pool, size_t len)
{
        struct ttrpc_out *out = out_alloc(pool, len);

        if (!out)
                return NULL;
        list_init(&out->node);
        out->len = len;
        out->sent = 0;
        out->stream_id = 0;
        out->ends = KEEP_NONE;
        out->is_data = false;
        out->is_restored = false;
        return out;
}

struct ttrpc_out *ttrpc_out_restored(size_t len)
{
        struct ttrpc_out *out = out_blank(NULL, len);

        if (out)
                out->is_restored = true;
        return out;
}

static struct ttrpc_out *out_new(struct ttrpc_pool *pool, uint32_t stream_id, uint8_t type,
                                 uint8_t flags, size_t n_body)
{
        struct ttrpc_frame frame = {
                .length = (uint32_t)n_body,
                .stream_id = stream_id,
                .type = type,
                .flags = flags,
        };
        struct ttrpc_out *out = out_blank(pool, TTRPC_HEADER_SIZE + n_body);

        if (!out)
                return NULL;
        out->stream_id = stream_id;
        out->is_data = type == TTRPC_FRAME_DATA;
        ttrpc_frame_encode(&frame, out->data);
        return out;
}

struct ttrpc_out *ttrpc_out_free(struct ttrpc_out *out)
{
        if (!out)
                return NULL;
        list_remove(&out->node);
        if (out->arena)
                arena_free(out->arena);
        else
                free(out);
        return NULL;
}

static int out_prepare(struct ttrpc_out **ret, struct ttrpc_pool *pool, uint32_t stream_id,
                       uint8_t type, uint8_t flags, size_t n_body, struct error *err)
{
        *ret = NULL;
        if (n_body > TTRPC_MESSAGE_MAX)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "message length %zu exceed maximum message size of %u", n_body,
                                 TTRPC_MESSAGE_MAX);
        *ret = out_new(pool, stream_id, type, flags, n_body);
        if (!*ret)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "no memory for a message of %zu bytes", n_body);
        return 0;
}

int ttrpc_out_response(struct ttrpc_out **ret, uint32_t stream_id, const ProtobufCMessage *message,
                       struct error *err)
{
        size_t n_payload = protobuf_c_message_get_packed_size(message);

        if (out_prepare(ret, NULL, stream_id, TTRPC_FRAME_RESPONSE, 0,
                        ttrpc_wire_response_size(n_payload), err) < 0)
                return -1;
        (void)protobuf_c_message_pack(
                message, ttrpc_wire_response_head_put((*ret)->data + TTRPC_HEADER_SIZE, n_payload));
        return 0;
}

int ttrpc_out_request(struct ttrpc_out **ret, uint32_t stream_id, uint8_t flags,
                      const char *service, const char *method, const ProtobufCMessage *message,
                      const struct ttrpc_call_options *options, struct error *err)
{
        size_t n_payload = message ? protobuf_c_message_get_packed_size(message) : 0;
        size_t n_body = ttrpc_wire_request_size(service, method, n_payload, options);
        uint8_t *payload;

        if (out_prepare(ret, NULL, stream_id, TTRPC_FRAME_REQUEST, flags, n_body, err) < 0)
                return -1;
        payload = ttrpc_wire_request_head_put((*ret)->data + TTRPC_HEADER_SIZE, service, method,
                                              n_payload, options);
        if (message)
                (void)protobuf_c_message_pack(message, payload);
        return 0;
}

int ttrpc_out_data(struct ttrpc_out **ret, struct ttrpc_pool *pool, uint32_t stream_id,
                   const ProtobufCMessage *message, struct error *err)
{
        size_t n = protobuf_c_message_get_packed_size(message);

        if (out_prepare(ret, pool, stream_id, TTRPC_FRAME_DATA, 0, n, err) < 0)
                return -1;
        (void)protobuf_c_message_pack(message, (*ret)->data + TTRPC_HEADER_SIZE);
        return 0;
}

struct ttrpc_out *ttrpc_out_close(uint32_t stream_id)
{
        return out_new(NULL, stream_id, TTRPC_FRAME_DATA,
                       TTRPC_FLAG_REMOTE_CLOSED | TTRPC_FLAG_NO_DATA, 0);
}

size_t ttrpc_out_cost(const struct ttrpc_out *out)
{
        return out->len - TTRPC_HEADER_SIZE + TTRPC_FRAME_COST;
}

struct ttrpc_out *ttrpc_out_status(uint32_t stream_id, int code, const char *text)
{
        size_t n_text = strlen(text);
        struct ttrpc_out *out = out_new(NULL, stream_id, TTRPC_FRAME_RESPONSE, 0,
                                        ttrpc_wire_status_size(code, n_text));

        if (out)
                ttrpc_wire_status_put(out->data + TTRPC_HEADER_SIZE, code, text, n_text);
        return out;
}
