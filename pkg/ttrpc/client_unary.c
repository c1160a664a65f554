/* SPDX-License-Identifier: Apache-2.0
 *
 * Unary calls of a client: see ttrpc.h. What pending calls are: client.c.
 */
#include <assert.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/ttrpc/client.h"
#include "pkg/ttrpc/unpack.h"

enum { EMPTY_BYTES_MAX = 128 };

struct unary {
        struct ttrpc_pending pending;
        const ProtobufCMessageDescriptor *output;
        struct loop_timer *timer;
        ttrpc_response_fn fn;
        void *userdata;
};

static struct unary *unary_free(struct unary *unary)
{
        if (!unary)
                return NULL;
        loop_timer_free(unary->timer);
        free(unary);
        return NULL;
}

CLEANUP_DEFINE(struct unary, unary_free)

static struct unary *unary_of(struct ttrpc_pending *pending)
{
        return container_of(pending, struct unary, pending);
}

/* Ends a pending call. It may be the end of the client, too. */
static void unary_end(struct ttrpc_pending *pending, const struct error *err,
                      const ProtobufCMessage *response)
{
        _cleanup_(unary_free_p) struct unary *unary = unary_of(pending);

        ttrpc_pending_remove(pending);
        unary->fn(err, response, unary->userdata);
}

static void unary_fail(struct ttrpc_pending *pending, const struct error *err)
{
        unary_end(pending, err, NULL);
}

static void unary_on_timer(struct loop_timer *timer, void *userdata)
{
        struct unary *unary = userdata;
        _cleanup_(ttrpc_client_unref_p) struct ttrpc_client *client =
                ttrpc_client_ref(unary->pending.client);

        (void)timer;
        (void)client; /* only held */
        ttrpc_pending_fail(&unary->pending, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
}

static void unary_unpack(struct ttrpc_pending *pending, struct ttrpc_span payload)
{
        /* pending goes away with its callback; what it holds on to must not. */
        _cleanup_(ttrpc_client_unref_p) struct ttrpc_client *client =
                ttrpc_client_ref(pending->client);
        const ProtobufCMessageDescriptor *output = unary_of(pending)->output;
        _Alignas(max_align_t) uint8_t empty[EMPTY_BYTES_MAX];
        struct error err = ERROR_INIT;
        const ProtobufCMessage *response;
        struct arena *arena;

        /* An answer that says no more than "yes" must not be lost for want of memory. */
        if (payload.len == 0 && output->sizeof_message <= sizeof(empty)) {
                output->message_init((void *)empty);
                unary_end(pending, NULL, (const void *)empty);
                return;
        }
        arena = ttrpc_pool_arena_take(client->pool);
        if (!arena) {
                ttrpc_pending_fail(pending, STATUS_RESOURCE_EXHAUSTED,
                                   "ttrpc: no memory for an answer");
                return;
        }
        response = ttrpc_unpack(output, payload.data, payload.len, arena, &err);
        unary_end(pending, response ? NULL : &err, response);
        ttrpc_pool_arena_give(client->pool, arena);
}

static void unary_on_frame(struct ttrpc_pending *pending, const struct ttrpc_frame *frame,
                           const uint8_t *body)
{
        struct ttrpc_span payload = {0};
        struct error err = ERROR_INIT;

        if (frame->type != TTRPC_FRAME_RESPONSE)
                ttrpc_pending_fail(
                        pending, STATUS_INTERNAL,
                        "ttrpc: protocol error: a unary call was answered with stream data");
        else if (ttrpc_response_check(frame, body, &payload, &err) < 0)
                unary_end(pending, &err, NULL);
        else
                unary_unpack(pending, payload);
}

static const struct ttrpc_pending_ops unary_ops = {
        .on_frame = unary_on_frame,
        .fail = unary_fail,
};

static int unary_new(struct unary **ret, struct loop *loop,
                     const ProtobufCMethodDescriptor *descriptor,
                     const struct ttrpc_call_options *options, ttrpc_response_fn fn, void *userdata,
                     struct error *err)
{
        _cleanup_(unary_free_p) struct unary *unary = calloc(1, sizeof(*unary));

        if (!unary)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc call: no memory");
        unary->output = descriptor->output;
        unary->fn = fn;
        unary->userdata = userdata;
        unary->pending.tag = options ? options->tag : 0;
        if (options && options->timeout_ns > 0) {
                unary->timer = loop_timer_new(loop, unary_on_timer, unary);
                if (!unary->timer || loop_timer_set(unary->timer, options->timeout_ns) < 0)
                        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc call: no memory");
        }
        *ret = TAKE_PTR(unary);
        return 0;
}

int ttrpc_client_call(struct ttrpc_client *client, const ProtobufCServiceDescriptor *service,
                      unsigned method, const ProtobufCMessage *request,
                      const struct ttrpc_call_options *options, ttrpc_response_fn fn,
                      void *userdata, struct error *err)
{
        const ProtobufCMethodDescriptor *descriptor = &service->methods[method];
        _cleanup_(unary_free_p) struct unary *unary = NULL;
        struct ttrpc_out *out = NULL;

        assert(method < service->n_methods && request->descriptor == descriptor->input);
        if (ttrpc_client_check(client, descriptor, err) < 0)
                return -1;
        if (unary_new(&unary, client->loop, descriptor, options, fn, userdata, err) < 0)
                return -1;
        if (ttrpc_out_request(&out, client->next_id, 0, service->name, descriptor->name, request,
                              options, err) < 0)
                return error_prefix(err, "ttrpc: request");
        if (ttrpc_pending_send_consume(&unary->pending, client, &unary_ops, out, err) < 0)
                return -1;
        (void)TAKE_PTR(unary);
        return 0;
}

int ttrpc_client_resume(struct ttrpc_client *client, const ProtobufCServiceDescriptor *service,
                        unsigned method, const struct ttrpc_call_options *options,
                        ttrpc_response_fn fn, void *userdata, struct error *err)
{
        struct unary *unary = NULL;

        if (client->last_tag == 0 || client->last_tag != options->tag)
                return error_set(err, STATUS_NOT_FOUND, "ttrpc client: no such call");
        if (unary_new(&unary, client->loop, &service->methods[method], options, fn, userdata, err) <
            0)
                return -1;
        unary->pending.client = client;
        unary->pending.ops = &unary_ops;
        unary->pending.stream.id = client->conn->last_id;
        unary->pending.stream.unit = KEEP_NONE;
        ttrpc_streams_add(&client->conn->streams, &unary->pending.stream);
        return 0;
}
