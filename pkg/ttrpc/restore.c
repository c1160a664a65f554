/* SPDX-License-Identifier: Apache-2.0
 *
 * A server takes up what the process image before has left. All of it is checked, and all memory is
 * there, before any of it is touched: an image that refuses it can be left for another one.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/server.h"

static int socket_check(int fd, bool listening, struct error *err)
{
        int is_listening = 0;
        int type = 0;
        socklen_t len = sizeof(type);

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0)
                return error_errno(err, errno, "ttrpc server: kept descriptor %d", fd);
        if (type != SOCK_STREAM || (is_listening != 0) != listening)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "ttrpc server: kept descriptor %d is not a %s socket", fd,
                                 listening ? "listening" : "connected");
        return 0;
}

/* The descriptor that is kept in a place, or -1. */
static int kept_fd(const _Atomic int32_t *place)
{
        int32_t fd = atomic_load(place);

        return fd > 0 ? fd - 1 : -1;
}

static int sockets_check(const struct ttrpc_keep *keep, struct error *err)
{
        for (size_t i = 0; i < KEEP_LISTENERS; i++) {
                int fd = kept_fd(&keep->head->listeners[i]);

                if (fd >= 0 && socket_check(fd, true, err) < 0)
                        return -1;
        }
        for (size_t i = 0; i < keep->head->n_areas; i++) {
                int fd = kept_fd(&keep->head->conns[i]);

                if (fd >= 0 && socket_check(fd, false, err) < 0)
                        return -1;
        }
        return 0;
}

static int restore_listeners(struct ttrpc_server *server, struct error *err)
{
        for (int i = 0; i < KEEP_LISTENERS; i++) {
                int fd = kept_fd(&server->keep->head->listeners[i]);

                if (fd < 0)
                        continue;
                (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
                if (ttrpc_server_listen_again_take(server, fd, i, err) < 0)
                        return -1;
        }
        return 0;
}

static int restore_conns(struct ttrpc_server *server, struct error *err)
{
        const struct ttrpc_keep *keep = server->keep;

        for (unsigned i = 0; i < keep->head->n_areas; i++) {
                int fd = kept_fd(&keep->head->conns[i]);

                if (fd < 0 || !ttrpc_keep_is_whole(keep, i))
                        continue;
                if (ttrpc_server_adopt_again_take(server, fd, i, err) < 0)
                        return -1;
                (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
        return 0;
}

/* Those that were not whole; returns their number. */
static size_t drop_conns(struct ttrpc_server *server)
{
        struct ttrpc_keep *keep = server->keep;
        size_t n_dropped = 0;

        for (unsigned i = 0; i < keep->head->n_areas; i++) {
                int fd = kept_fd(&keep->head->conns[i]);

                if (fd < 0 || ttrpc_keep_is_taken(keep, i))
                        continue;
                ttrpc_keep_conn_gone(keep, (int)i);
                fd_close(fd);
                n_dropped++;
        }
        ttrpc_keep_trim(keep);
        return n_dropped;
}

/* In an area and the further ones. */
static size_t area_calls(const struct ttrpc_keep *keep, const struct keep_area *area)
{
        size_t n = 0;

        for (; area; area = ttrpc_keep_more(keep, area)) {
                for (int i = 0; i < KEEP_UNITS; i++)
                        n += atomic_load(&area->calls[i]) != KEEP_CALL_FREE;
        }
        return n;
}

void ttrpc_server_count_kept(const struct ttrpc_server *server, size_t *ret_n_conns,
                             size_t *ret_n_calls)
{
        const struct ttrpc_keep *keep = server->keep;

        *ret_n_conns = 0;
        *ret_n_calls = 0;
        for (size_t i = 0; keep && i < keep->head->n_areas; i++) {
                if (kept_fd(&keep->head->conns[i]) < 0)
                        continue;
                (*ret_n_conns)++;
                *ret_n_calls += area_calls(keep, &keep->areas[i]);
        }
}

/* Room for all calls, so that nothing can fail later. */
static int reserve_calls(struct ttrpc_server *server, struct error *err)
{
        size_t n_conns = 0;
        size_t n = 0;

        ttrpc_server_count_kept(server, &n_conns, &n);
        free(server->again);
        server->again = calloc(n + 1, sizeof(*server->again));
        return server->again ? 0
                             : error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc server: no memory");
}

/* Those of a connection that had been begun, or had not. */
static size_t conn_calls(struct ttrpc_conn *conn, bool begun, struct ttrpc_again *ret)
{
        size_t n = 0;

        for (int i = 0; i < ttrpc_kept_n_units(conn->kept); i++) {
                enum keep_call_state state = ttrpc_kept_call_state(conn->kept, i);

                if (state == KEEP_CALL_FREE || (state != KEEP_CALL_NEW) != begun)
                        continue;
                ret[n++] = (struct ttrpc_again){conn, ttrpc_kept_call(conn->kept, i)->seq, i};
        }
        return n;
}

static int again_compare(const void *a, const void *b)
{
        const struct ttrpc_again *x = a;
        const struct ttrpc_again *y = b;

        return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Handlers may free the server, but no connection goes while they are on the stack. */
static void dispatch_calls(struct ttrpc_server *server, bool begun)
{
        _cleanup_free_ struct ttrpc_again *calls = TAKE_PTR(server->again);
        size_t n = 0;

        assert(calls);
        list_for_each(conn, &server->conns, struct ttrpc_conn, node)
                n += conn->kept ? conn_calls(conn, begun, calls + n) : 0;
        qsort(calls, n, sizeof(*calls), again_compare);
        for (size_t i = 0; i < n && !server->freed; i++) {
                struct ttrpc_conn *conn = calls[i].conn;

                if (!conn->doomed)
                        ttrpc_dispatch_again(conn, calls[i].unit);
        }
        if (!server->freed)
                server->again = TAKE_PTR(calls);
}

int ttrpc_server_restore(struct ttrpc_server *server, struct error *err)
{
        assert(server->keep && server->n_conns == 0 && list_is_empty(&server->listeners));
        if (ttrpc_keep_check(server->keep, err) < 0 || sockets_check(server->keep, err) < 0 ||
            reserve_calls(server, err) < 0)
                return -1;
        ttrpc_keep_annexes_found(server->keep);
        if (restore_conns(server, err) < 0)
                return -1;
        return restore_listeners(server, err);
}

size_t ttrpc_server_resume(struct ttrpc_server *server, const struct ttrpc_restore *how)
{
        _cleanup_(ttrpc_server_unref_p) struct ttrpc_server *ref = ttrpc_server_ref(server);
        size_t n_dropped = drop_conns(server);

        ttrpc_keep_annexes_own(server->keep);
        list_for_each(conn, &server->conns, struct ttrpc_conn, node)
                ttrpc_conn_resume(conn);
        ttrpc_server_conns_changed(server);
        if (ref->freed)
                return n_dropped;
        ref->restore = how;
        dispatch_calls(ref, true);
        ref->restore = NULL;
        return n_dropped;
}

void ttrpc_server_hear(struct ttrpc_server *server)
{
        _cleanup_(ttrpc_server_unref_p) struct ttrpc_server *ref = ttrpc_server_ref(server);

        dispatch_calls(ref, false);
        if (ref->freed)
                return;
        free(TAKE_PTR(ref->again));
        list_for_each_safe(conn, &ref->conns, struct ttrpc_conn, node) {
                ttrpc_turn_try(conn);
                if (conn->kept)
                        ttrpc_conn_restored(conn);
                if (ref->freed)
                        return;
        }
}

static const char *conn_obstacle(const struct ttrpc_conn *conn)
{
        if (!conn->kept)
                return "there was no memory or area left to keep a connection";
        if (atomic_load(&conn->kept->area->n_unkept) > 0)
                return "there was no area left to keep a call of a connection";
        if (atomic_load(&conn->kept->area->in_large) == KEEP_NOWHERE)
                return "a large request is half read, and there was no descriptor to keep it";
        if (atomic_load(&conn->kept->area->out_large) == KEEP_NOWHERE)
                return "a client does not take its answers, and there was no descriptor to keep "
                       "them";
        if (conn->reading)
                return "a request is being read";
        for (size_t i = 0; i < TTRPC_STREAM_CHAINS; i++) {
                const struct ttrpc_stream *stream = conn->streams.chains[i];

                for (; stream; stream = stream->next) {
                        if (container_of(stream, const struct ttrpc_call, stream)->n_entered > 0)
                                return "a call is being handled";
                }
        }
        return NULL;
}

const char *ttrpc_server_obstacle(const struct ttrpc_server *server)
{
        const char *obstacle = NULL;

        list_for_each(conn, &server->conns, struct ttrpc_conn, node) {
                if (!obstacle && !conn->doomed)
                        obstacle = conn_obstacle(conn);
        }
        return obstacle;
}
