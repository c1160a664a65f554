/* SPDX-License-Identifier: Apache-2.0
 *
 * The client: one connection, calls by stream id. A call is pending from the moment its request is
 * queued until its end, which takes it off the connection first: so a callback may start further
 * calls or free the client. What comes for a stream that is not pending is ignored, since the peer
 * does not know that we have given up on a call.
 */
#include "pkg/ttrpc/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/unpack.h"

struct ttrpc_client *ttrpc_client_unref(struct ttrpc_client *client)
{
        if (!client || --client->n_refs > 0)
                return NULL;
        ttrpc_conn_unref(client->conn);
        ttrpc_pool_unref(client->pool);
        free(client);
        return NULL;
}

struct ttrpc_client *ttrpc_client_ref(struct ttrpc_client *client)
{
        client->n_refs++;
        return client;
}

/* ---- Pending calls of any kind ---- */

int ttrpc_client_check(struct ttrpc_client *client, const ProtobufCMethodDescriptor *method,
                       struct error *err)
{
        if (client->closed || client->conn->doomed)
                return error_set(err, STATUS_UNAVAILABLE, "ttrpc: closed");
        if (client->next_id > INT32_MAX) {
                ttrpc_conn_doom(client->conn, "stream ids are used up", 0);
                return error_set(err, STATUS_UNAVAILABLE, "ttrpc: stream ids are used up");
        }
        if (client->conn->streams.n >= TTRPC_CALLS_PER_CONNECTION_MAX)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: %u calls are pending already",
                                 TTRPC_CALLS_PER_CONNECTION_MAX);
        if (client->checked != method->output) {
                if (ttrpc_schema_check(method->output, err) < 0)
                        return error_prefix(err, "ttrpc: method %s", method->name);
                client->checked = method->output;
        }
        return 0;
}

int ttrpc_pending_send_consume(struct ttrpc_pending *pending, struct ttrpc_client *client,
                               const struct ttrpc_pending_ops *ops, struct ttrpc_out *out,
                               struct error *err)
{
        if (client->conn->n_queued + out->len > TTRPC_QUEUED_BYTES_MAX) {
                (void)ttrpc_out_free(out);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc: the peer does not read its requests");
        }
        pending->client = client;
        pending->ops = ops;
        pending->stream.id = client->next_id;
        pending->stream.unit = KEEP_NONE;
        client->next_id += 2;
        if (client->conn->kept)
                ttrpc_kept_ask(client->conn->kept, pending->stream.id, pending->tag, out->len);
        ttrpc_conn_send_consume(client->conn, out);
        if (client->conn->kept)
                ttrpc_kept_asked(client->conn->kept, pending->stream.id);
        ttrpc_streams_add(&client->conn->streams, &pending->stream);
        return 0;
}

void ttrpc_pending_remove(struct ttrpc_pending *pending)
{
        ttrpc_streams_remove(&pending->client->conn->streams, &pending->stream);
}

void ttrpc_pending_fail(struct ttrpc_pending *pending, int code, const char *text)
{
        struct error err = ERROR_INIT;

        (void)error_set(&err, code, "%s", text);
        pending->ops->fail(pending, &err);
}

static void client_fail_pending(struct ttrpc_client *client, int code, const char *text)
{
        for (;;) {
                struct ttrpc_stream *stream = ttrpc_streams_any(&client->conn->streams);

                if (!stream)
                        return;
                ttrpc_pending_fail(container_of(stream, struct ttrpc_pending, stream), code, text);
        }
}

int ttrpc_response_check(const struct ttrpc_frame *frame, const uint8_t *body,
                         struct ttrpc_span *ret_payload, struct error *err)
{
        struct ttrpc_wire_response response;
        const char *why = NULL;
        int len;

        if (ttrpc_wire_response_decode(&response, body, frame->length, &why) < 0)
                return error_set(err, STATUS_INTERNAL, "ttrpc: error unmarshalling response: %s",
                                 why);
        *ret_payload = response.payload;
        if (response.code == STATUS_OK)
                return 0;
        len = response.message.len < sizeof(err->msg) ? (int)response.message.len
                                                      : (int)sizeof(err->msg);
        return error_set(err, response.code, "%.*s", len,
                         len > 0 ? (const char *)response.message.data : "");
}

/* ---- Frames ---- */

static struct ttrpc_pending *client_find(struct ttrpc_conn *conn, uint32_t id)
{
        struct ttrpc_stream *stream = ttrpc_streams_find(&conn->streams, id);

        return stream ? container_of(stream, struct ttrpc_pending, stream) : NULL;
}

static void client_on_frame(struct ttrpc_conn *conn, const struct ttrpc_frame *frame,
                            const uint8_t *body)
{
        struct ttrpc_pending *pending = client_find(conn, frame->stream_id);

        if (pending)
                pending->ops->on_frame(pending, frame, body);
}

static void client_on_oversized(struct ttrpc_conn *conn, const struct ttrpc_frame *frame)
{
        struct ttrpc_pending *pending = client_find(conn, frame->stream_id);
        struct error err = ERROR_INIT;

        if (!pending)
                return;
        (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                        "message length %u exceed maximum message size of %u", frame->length,
                        TTRPC_MESSAGE_MAX);
        pending->ops->fail(pending, &err);
}

static void client_on_sent(struct ttrpc_conn *conn, const struct ttrpc_out *out)
{
        struct ttrpc_pending *pending = client_find(conn, out->stream_id);

        if (pending && pending->ops->on_sent)
                pending->ops->on_sent(pending, out);
}

static void client_on_lost(struct ttrpc_conn *conn, const struct error *err)
{
        _cleanup_(ttrpc_client_unref_p) struct ttrpc_client *client = ttrpc_client_ref(conn->owner);

        client->closed = true;
        client_fail_pending(client, STATUS_UNAVAILABLE, "ttrpc: closed");
        if (!client->freed && client->on_close)
                client->on_close(client, err, client->on_close_userdata);
}

static const struct ttrpc_conn_ops client_conn_ops = {
        .read_to_end = true,
        .on_frame = client_on_frame,
        .on_oversized = client_on_oversized,
        .on_sent = client_on_sent,
        .on_lost = client_on_lost,
};

/* ---- Life ---- */

/* What was read in the image before comes when its calls are pending again. */
static void client_on_restored(struct loop_deferred *deferred)
{
        struct ttrpc_client *client = container_of(deferred, struct ttrpc_client, restored);

        ttrpc_conn_restored(client->conn);
}

static void client_on_idle(void *userdata)
{
        struct ttrpc_client *client = userdata;

        if (client->conn->kept)
                ttrpc_kept_trim(client->conn->kept);
}

int ttrpc_client_of_fd_take(struct ttrpc_client **ret, struct loop *loop, int fd,
                            struct ttrpc_kept *kept, struct error *err)
{
        _cleanup_(ttrpc_client_unref_p) struct ttrpc_client *client = calloc(1, sizeof(*client));

        if (!client)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc client: no memory");
        client->n_refs = 1;
        client->loop = loop;
        client->next_id = 1;
        loop_deferred_init(&client->restored, client_on_restored);
        client->pool = ttrpc_pool_new(loop);
        if (!client->pool)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc client: no memory");
        ttrpc_pool_on_idle(client->pool, client_on_idle, client);
        if ((kept ? ttrpc_conn_restore_take(&client->conn, loop, fd, client->pool, &client_conn_ops,
                                            client, kept, err)
                  : ttrpc_conn_new_take(&client->conn, loop, fd, client->pool, &client_conn_ops,
                                        client, err)) < 0)
                return -1;
        *ret = TAKE_PTR(client);
        return 0;
}

int ttrpc_client_new_take(struct ttrpc_client **ret, struct loop *loop, int fd, struct error *err)
{
        return ttrpc_client_of_fd_take(ret, loop, fd, NULL, err);
}

int ttrpc_client_connect(struct ttrpc_client **ret, struct loop *loop, const char *address,
                         struct error *err)
{
        static const char scheme[] = "unix://";
        const char *path = str_has_prefix(address, scheme) ? address + strlen(scheme) : address;
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        _cleanup_close_ int fd = -1;

        if (path[0] != '/' || strlen(path) >= sizeof(sun.sun_path))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "ttrpc address '%s': not an absolute path of a unix socket of at "
                                 "most %zu bytes",
                                 address, sizeof(sun.sun_path) - 1);
        memcpy(sun.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(err, errno, "connect to '%s': socket", path);
        if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0) {
                (void)error_errno(err, errno, "connect to '%s'", path);
                if (err)
                        err->code = STATUS_UNAVAILABLE;
                return -1;
        }
        if (ttrpc_client_new_take(ret, loop, fd, err) < 0)
                return -1;
        fd = -1;
        return 0;
}

struct ttrpc_client *ttrpc_client_free(struct ttrpc_client *client)
{
        if (!client)
                return NULL;
        assert(!client->freed);
        client->freed = true;
        client->closed = true;
        loop_deferred_cancel(&client->restored);
        ttrpc_conn_close(client->conn);
        client_fail_pending(client, STATUS_CANCELED, "ttrpc: client closed");
        ttrpc_pool_close(client->pool);
        return ttrpc_client_unref(client);
}

void ttrpc_client_on_close(struct ttrpc_client *client,
                           void (*fn)(struct ttrpc_client *client, const struct error *err,
                                      void *userdata),
                           void *userdata)
{
        client->on_close = fn;
        client->on_close_userdata = userdata;
}

void ttrpc_client_pause(struct ttrpc_client *client, bool paused)
{
        ttrpc_conn_pause(client->conn, paused);
}
