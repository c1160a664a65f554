/* SPDX-License-Identifier: Apache-2.0
 *
 * A server: its services, who may connect, how many, and the end of it all. One that was freed
 * inside one of its own callbacks stays in memory, without sockets, until that callback has
 * returned.
 */
#include "pkg/ttrpc/server.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/unpack.h"

struct ttrpc_server *ttrpc_server_unref(struct ttrpc_server *server)
{
        if (!server || --server->n_refs > 0)
                return NULL;
        assert(server->freed || list_is_empty(&server->conns));
        while (!list_is_empty(&server->services)) {
                struct ttrpc_service *service =
                        list_first(&server->services, struct ttrpc_service, node);

                list_remove(&service->node);
                free(service);
        }
        loop_timer_free(server->shortage);
        ttrpc_pool_unref(server->pool);
        ttrpc_keep_unref(server->keep);
        free(server->again);
        free(server);
        return NULL;
}

struct ttrpc_server *ttrpc_server_ref(struct ttrpc_server *server)
{
        server->n_refs++;
        return server;
}

static void server_on_idle(void *userdata)
{
        const struct ttrpc_server *server = userdata;

        list_for_each(conn, &server->conns, struct ttrpc_conn, node) {
                if (conn->kept)
                        ttrpc_kept_trim(conn->kept);
        }
}

int ttrpc_server_new(struct ttrpc_server **ret, struct loop *loop,
                     const struct ttrpc_server_options *options, struct error *err)
{
        _cleanup_(ttrpc_server_unref_p) struct ttrpc_server *server = calloc(1, sizeof(*server));

        if (!server)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc server: no memory");
        server->n_refs = 1;
        server->loop = loop;
        server->uid = geteuid();
        server->gid = getegid();
        if (options)
                server->options = *options;
        list_init(&server->services);
        list_init(&server->listeners);
        list_init(&server->conns);
        list_init(&server->detached);
        server->pool = ttrpc_pool_new(loop);
        server->shortage = loop_timer_new(loop, ttrpc_call_on_shortage_over, server);
        if (!server->pool || !server->shortage)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc server: no memory");
        if (server->options.keep) {
                if (ttrpc_keep_new(&server->keep, server->options.keep, server->options.keep_size,
                                   err) < 0)
                        return -1;
                server->keep->wants_annexes = true;
                ttrpc_pool_on_idle(server->pool, server_on_idle, server);
        }
        *ret = TAKE_PTR(server);
        return 0;
}

void ttrpc_server_conns_changed(struct ttrpc_server *server)
{
        ttrpc_server_update_listeners(server);
        if (server->options.on_connections)
                server->options.on_connections(server->n_conns, server->options.userdata);
}

static void conn_cancel_calls(struct ttrpc_conn *conn)
{
        for (;;) {
                struct ttrpc_stream *stream = ttrpc_streams_any(&conn->streams);

                if (!stream)
                        return;
                ttrpc_call_cancel(container_of(stream, struct ttrpc_call, stream), STATUS_OK, NULL);
        }
}

/* Takes the connection off the list before anybody hears of it. */
static void server_drop(struct ttrpc_server *server, struct ttrpc_conn *conn)
{
        list_remove(&conn->node);
        server->n_conns--;
        ttrpc_conn_close(conn);
        conn_cancel_calls(conn);
        ttrpc_conn_unref(conn);
}

void ttrpc_server_conn_lost(struct ttrpc_server *server, struct ttrpc_conn *conn)
{
        _cleanup_(ttrpc_server_unref_p) struct ttrpc_server *ref = ttrpc_server_ref(server);

        server_drop(ref, conn);
        if (!ref->freed)
                ttrpc_server_conns_changed(ref);
}

struct ttrpc_server *ttrpc_server_free(struct ttrpc_server *server)
{
        struct ttrpc_conn *conn;

        if (!server)
                return NULL;
        assert(!server->freed);
        server->freed = true;
        server->shortage = loop_timer_free(server->shortage);
        ttrpc_server_stop_listening(server);
        while ((conn = list_first(&server->conns, struct ttrpc_conn, node)))
                server_drop(server, conn);
        while (!list_is_empty(&server->detached)) {
                struct ttrpc_call *call =
                        list_first(&server->detached, struct ttrpc_call, detached);

                list_remove(&call->detached);
                loop_deferred_cancel(&call->cancel_late);
                call->server = NULL;
        }
        ttrpc_pool_close(server->pool);
        return ttrpc_server_unref(server);
}

int ttrpc_server_register(struct ttrpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                          const ttrpc_handler *handlers, void *userdata, struct error *err)
{
        return ttrpc_server_register_streaming(server, descriptor, NULL, handlers, userdata, err);
}

int ttrpc_server_register_streaming(struct ttrpc_server *server,
                                    const ProtobufCServiceDescriptor *descriptor,
                                    const enum ttrpc_kind *kinds, const ttrpc_handler *handlers,
                                    void *userdata, struct error *err)
{
        struct ttrpc_service *service;

        list_for_each(other, &server->services, struct ttrpc_service, node) {
                if (strcmp(other->descriptor->name, descriptor->name) == 0)
                        return error_set(err, STATUS_ALREADY_EXISTS,
                                         "ttrpc service %s is registered already",
                                         descriptor->name);
        }
        for (unsigned i = 0; i < descriptor->n_methods; i++) {
                if (handlers[i] && ttrpc_schema_check(descriptor->methods[i].input, err) < 0)
                        return error_prefix(err, "ttrpc service %s: method %s", descriptor->name,
                                            descriptor->methods[i].name);
        }
        service = calloc(1, sizeof(*service));
        if (!service)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc service %s: no memory",
                                 descriptor->name);
        service->descriptor = descriptor;
        service->kinds = kinds;
        service->handlers = handlers;
        service->userdata = userdata;
        list_append(&server->services, &service->node);
        return 0;
}

static bool server_trusts(const struct ttrpc_server *server, int fd)
{
        struct ucred cred = {0};
        socklen_t len = sizeof(cred);

        if (!server->options.check_peer)
                return true;
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && len == sizeof(cred) &&
               cred.uid == server->uid && cred.gid == server->gid;
}

/* Without an area, or without memory for what goes with it, the connection is not kept. */
static int server_adopt_take(struct ttrpc_server *server, int fd, int slot, struct error *err)
{
        struct ttrpc_conn *conn = NULL;

        if (server->n_conns >= TTRPC_CONNECTIONS_MAX)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc server has %u connections already", TTRPC_CONNECTIONS_MAX);
        if (!server_trusts(server, fd))
                return error_set(err, STATUS_PERMISSION_DENIED,
                                 "ttrpc peer runs as another user or group");
        if (ttrpc_conn_new_take(&conn, server->loop, fd, server->pool, &ttrpc_server_conn_ops,
                                server, err) < 0)
                return -1;
        if (slot >= 0)
                conn->kept = ttrpc_kept_of_slot(server->keep, (unsigned)slot);
        if (!conn->kept && server->keep)
                ttrpc_keep_conn_gone(server->keep, slot);
        list_append(&server->conns, &conn->node);
        server->n_conns++;
        ttrpc_server_conns_changed(server);
        return 0;
}

int ttrpc_server_adopt_consume(struct ttrpc_server *server, int fd, struct error *err)
{
        int slot = server->keep ? ttrpc_keep_conn(server->keep, fd) : -1;

        if (server_adopt_take(server, fd, slot, err) == 0)
                return 0;
        if (server->keep)
                ttrpc_keep_conn_gone(server->keep, slot);
        fd_close(fd);
        return -1;
}

int ttrpc_server_adopt_again_take(struct ttrpc_server *server, int fd, unsigned slot,
                                  struct error *err)
{
        struct ttrpc_kept *kept = ttrpc_kept_of_slot(server->keep, slot);
        struct ttrpc_conn *conn = NULL;

        if (!kept)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc server: no memory");
        if (ttrpc_conn_restore_take(&conn, server->loop, fd, server->pool, &ttrpc_server_conn_ops,
                                    server, kept, err) < 0) {
                ttrpc_kept_leave(kept);
                return -1;
        }
        list_append(&server->conns, &conn->node);
        server->n_conns++;
        return 0;
}

size_t ttrpc_server_n_connections(const struct ttrpc_server *server)
{
        return server->n_conns;
}

bool ttrpc_server_has_queued(const struct ttrpc_server *server)
{
        list_for_each(conn, &server->conns, struct ttrpc_conn, node) {
                if (!list_is_empty(&conn->queue))
                        return true;
        }
        return false;
}
