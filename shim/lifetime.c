/* SPDX-License-Identifier: Apache-2.0
 *
 * A shim that nobody remembers ends by itself: when there is no container and nothing has happened
 * for a time. Never while a container exists or is being made. How long depends on who could still
 * come: somebody who is about to create, or, after a Delete, nobody but a caller that forgot its
 * Shutdown.
 */
#include "shim/log.h"
#include "shim/server_impl.h"

void lifetime_touch(struct shim_server *server)
{
        uint64_t span = server->had_container ? server->times.alone_ns : server->times.unused_ns;

        if (server->stopping)
                return;
        if (server->container || server->creating) {
                loop_timer_clear(server->lifetime);
                return;
        }
        if (ttrpc_server_n_connections(server->ttrpc) > 0)
                span = server->times.idle_ns;
        if (loop_timer_set(server->lifetime, span) < 0)
                log_warning("no memory for a timer: the shim waits for Shutdown");
}

void lifetime_on_timer(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        shim_server_stop(userdata, "nothing left to serve");
}
