/* SPDX-License-Identifier: Apache-2.0
 *
 * A shim that nobody remembers ends by itself: when there is no container and nothing has happened
 * for a time. How long depends on who could still come: somebody who is about to create, or, after
 * a Delete, nobody but a caller that forgot its Shutdown.
 *
 * Never while a container is being made, runs, or can still be asked for: containerd finds it by
 * its bundle. One that has ended, and whose bundle was removed, is found by those alone that are
 * connected; and a containerd that gave the shim up may have forgotten its connection, too (2.1).
 *
 * Nor, for an hour, while there are events that containerd has not taken: nobody else has them.
 */
#include <sys/stat.h>

#include "pkg/base/clock.h"

#include "shim/log.h"
#include "shim/server_impl.h"

static bool bundle_is_gone(const struct container *c)
{
        struct stat st;

        return fstat(c->server->bundle_fd, &st) == 0 && st.st_nlink == 0;
}

void lifetime_touch(struct shim_server *server)
{
        uint64_t span = server->had_container ? server->times.alone_ns : server->times.unused_ns;

        if (server->stopping)
                return;
        if (server->creating || (server->container && !server->container->init->exit.told)) {
                loop_timer_clear(server->lifetime);
                return;
        }
        if (ttrpc_server_n_connections(server->ttrpc) > 0)
                span = server->times.idle_ns;
        if (loop_timer_set(server->lifetime, span) < 0)
                log_warning("no memory for a timer: the shim waits for Shutdown");
}

/* From the first time on that there was nothing else. */
static bool may_wait_for_containerd(struct shim_server *server)
{
        uint64_t now = clock_monotonic_ns();

        if (publisher_n_queued(server->publisher) == 0) {
                server->events_until_ns = 0;
                return false;
        }
        if (server->events_until_ns == 0)
                server->events_until_ns = now + server->times.events_ns;
        return now < server->events_until_ns;
}

void lifetime_on_timer(struct loop_timer *timer, void *userdata)
{
        struct shim_server *server = userdata;

        (void)timer;
        if ((server->container && !bundle_is_gone(server->container)) ||
            may_wait_for_containerd(server))
                lifetime_touch(server);
        else
                shim_server_stop(server, "nothing left to serve");
}
