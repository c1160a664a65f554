/* SPDX-License-Identifier: Apache-2.0
 *
 * The sockets that a server listens on: see ttrpc.h. What cannot be accepted for want of something
 * is tried again after a pause, and while the server is full nothing is.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/server.h"

enum { ACCEPTS_PER_ROUND = 16 };

static const uint64_t backoff_min_ns = NSEC_PER_MSEC;
static const uint64_t backoff_max_ns = NSEC_PER_SEC;

struct listener {
        struct list node;
        struct ttrpc_server *server;
        struct loop_io *io;
        struct loop_timer *timer; /* runs while accepting pauses after an error */
        uint64_t backoff_ns;
        int fd;
        int kept; /* index in server->keep, or -1 */
};

static void listener_free(struct listener *listener)
{
        list_remove(&listener->node);
        if (listener->server->keep)
                ttrpc_keep_listener_gone(listener->server->keep, listener->kept);
        loop_timer_free(listener->timer);
        loop_io_free(listener->io);
        fd_close(listener->fd);
        free(listener);
}

void ttrpc_server_update_listeners(struct ttrpc_server *server)
{
        bool room = server->n_conns < TTRPC_CONNECTIONS_MAX;

        list_for_each(listener, &server->listeners, struct listener, node) {
                bool pausing = loop_timer_is_set(listener->timer);

                if (loop_io_want(listener->io, room && !pausing ? LOOP_READ : 0) < 0)
                        (void)loop_timer_set(listener->timer, backoff_max_ns);
        }
}

/* Errors that concern only the one connection that was to be accepted; see accept(2). */
static bool accept_may_go_on(int errnum)
{
        return errnum == EINTR || errnum == ECONNABORTED || errnum == EPERM || errnum == EPROTO;
}

static void listener_pause(struct listener *listener)
{
        listener->backoff_ns =
                listener->backoff_ns == 0 ? backoff_min_ns : listener->backoff_ns * 2;
        if (listener->backoff_ns > backoff_max_ns)
                listener->backoff_ns = backoff_max_ns;
        if (loop_timer_set(listener->timer, listener->backoff_ns) == 0)
                (void)loop_io_want(listener->io, 0);
}

static void listener_on_timer(struct loop_timer *timer, void *userdata)
{
        struct listener *listener = userdata;

        (void)timer;
        ttrpc_server_update_listeners(listener->server);
}

/* on_connections may free the server, or the listener, at any turn. */
static void listener_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        struct listener *listener = userdata;
        _cleanup_(ttrpc_server_unref_p) struct ttrpc_server *server =
                ttrpc_server_ref(listener->server);
        unsigned n_stops = server->n_stops;

        (void)io;
        (void)what;
        for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
                int conn;

                if (server->n_stops != n_stops || server->n_conns >= TTRPC_CONNECTIONS_MAX)
                        return;
                conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (conn >= 0) {
                        listener->backoff_ns = 0;
                        (void)ttrpc_server_adopt_consume(server, conn, NULL);
                        continue;
                }
                if (errno == EAGAIN)
                        return;
                if (accept_may_go_on(errno))
                        continue;
                listener_pause(listener);
                return;
        }
}

int ttrpc_server_listen_again_take(struct ttrpc_server *server, int fd, int kept, struct error *err)
{
        struct listener *listener;
        int r = fd_set_nonblock(fd, 1);

        if (r < 0)
                return error_errno(err, -r, "ttrpc listener: set descriptor %d non-blocking", fd);
        listener = calloc(1, sizeof(*listener));
        if (!listener)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc listener: no memory");
        list_init(&listener->node);
        listener->server = server;
        listener->fd = -1;
        listener->kept = -1;
        listener->io = loop_io_new(server->loop, fd, LOOP_PRIORITY_RPC, listener_on_io, listener);
        listener->timer = loop_timer_new(server->loop, listener_on_timer, listener);
        if (!listener->io || !listener->timer || loop_io_want(listener->io, LOOP_READ) < 0) {
                listener_free(listener);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "ttrpc listener: descriptor %d cannot be watched", fd);
        }
        listener->fd = fd;
        listener->kept = kept;
        list_append(&server->listeners, &listener->node);
        ttrpc_server_update_listeners(server);
        return 0;
}

int ttrpc_server_listen_take(struct ttrpc_server *server, int fd, struct error *err)
{
        int kept = server->keep ? ttrpc_keep_listener(server->keep, fd) : -1;

        if (ttrpc_server_listen_again_take(server, fd, kept, err) == 0)
                return 0;
        if (server->keep)
                ttrpc_keep_listener_gone(server->keep, kept);
        return -1;
}

void ttrpc_server_stop_listening(struct ttrpc_server *server)
{
        struct listener *listener;

        server->n_stops++;
        while ((listener = list_first(&server->listeners, struct listener, node)))
                listener_free(listener);
}
