/* SPDX-License-Identifier: Apache-2.0
 *
 * See upgrade.h. There is no list of those who would have to call when the shim has become quiet:
 * jobs, answers, events and streams end in many places. A timer looks, for some seconds, in the one
 * process in thousands that is being upgraded.
 */
#include "shim/upgrade.h"

#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"

#include "shim/log.h"
#include "shim/server_impl.h"
#include "shim/state.h"

#define LOOK_NS (2 * NSEC_PER_MSEC)

static const char *process_obstacle(const struct process *p)
{
        if (p->start || p->start_job || p->stdio_fn)
                return "a Start is under way";
        if (p->delete_ || p->state == PROCESS_DELETING || p->state == PROCESS_DISCARDED)
                return "a Delete is under way";
        return NULL;
}

const char *upgrade_obstacle(const struct shim_server *server)
{
        const struct container *c = server->container;
        const char *obstacle;

        if (server->stopping)
                return "the shim is ending";
        if (server->creating)
                return "a Create is under way";
        if (!publisher_is_quiet(server->publisher))
                return "an event is on its way";
        if (!list_is_empty(&server->dead_processes) || !list_is_empty(&server->dead_containers))
                return "a Delete is under way";
        if (!c)
                return NULL;
        if (c->n_jobs > 0 || c->freeze || c->update)
                return "a job is under way";
        obstacle = process_obstacle(c->init);
        list_for_each(p, &c->execs, struct process, node) {
                if (!obstacle)
                        obstacle = process_obstacle(p);
        }
        return obstacle;
}

static void upgrade_end(struct shim_server *server, const struct error *why)
{
        struct upgrade *u = &server->upgrade;

        u->state = UPGRADE_NONE;
        free(TAKE_PTR(u->path));
        loop_timer_clear(u->timer);
        publisher_hold(server->publisher, false);
        log_error("upgrade: %s", why->msg);
        if (u->call)
                ttrpc_call_fail_error(TAKE_PTR(u->call), why);
}

static void upgrade_execute(struct shim_server *server)
{
        struct upgrade *u = &server->upgrade;
        struct error err = ERROR_INIT;

        log_info("upgrade: executing %s", u->path ? u->path : "the installed binary");
        u->state = UPGRADE_EXECUTING;
        state_commit_all(server);
        if (server->state.has_failed)
                (void)error_set(&err, STATUS_INTERNAL, "the state cannot be kept");
        else
                server->upgrade_ops->execute(u->path, server->userdata, &err);
        u->state = UPGRADE_NONE;
        state_commit(server);
        upgrade_end(server, &err);
}

void upgrade_abort(struct shim_server *server)
{
        struct error err = ERROR_INIT;

        if (server->upgrade.state != UPGRADE_WAITING)
                return;
        (void)error_set(&err, STATUS_UNAVAILABLE, "the shim is ending");
        upgrade_end(server, &err);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        struct shim_server *server = userdata;
        struct upgrade *u = &server->upgrade;
        const char *obstacle = upgrade_obstacle(server);
        struct error err = ERROR_INIT;

        publisher_hold(server->publisher, true);
        if (!obstacle && !ttrpc_server_is_quiet(server->ttrpc))
                obstacle = "a client does not take its answers, or a large request of its is half "
                           "read or has no answer yet";
        if (obstacle && clock_monotonic_ns() > u->give_up_ns) {
                (void)error_set(&err, STATUS_UNAVAILABLE, "no quiet moment for an upgrade: %s",
                                obstacle);
                upgrade_end(server, &err);
        } else if (!obstacle) {
                upgrade_execute(server);
        } else {
                (void)loop_timer_set(timer, LOOK_NS);
        }
}

static void on_checked(const struct error *err, void *userdata)
{
        struct shim_server *server = userdata;

        if (err) {
                upgrade_end(server, err);
                return;
        }
        server->upgrade.state = UPGRADE_WAITING;
        server->upgrade.give_up_ns = clock_monotonic_ns() + server->times.upgrade_ns;
        if (server->stopping)
                upgrade_abort(server);
        else
                on_timer(server->upgrade.timer, server);
}

int upgrade_begin(struct shim_server *server, const char *path, struct ttrpc_call *call,
                  struct error *err)
{
        struct upgrade *u = &server->upgrade;

        if (!server->upgrade_ops || !server->vault)
                return error_set(err, STATUS_UNIMPLEMENTED, "this shim cannot be upgraded");
        if (u->state != UPGRADE_NONE)
                return error_set(err, STATUS_FAILED_PRECONDITION, "an upgrade is under way");
        if (*path && *path != '/')
                return error_set(err, STATUS_INVALID_ARGUMENT, "path '%s' is not absolute", path);
        if (!u->timer)
                u->timer = loop_timer_new(server->loop, on_timer, server);
        u->path = *path ? strdup(path) : NULL;
        if (!u->timer || (*path && !u->path))
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "upgrade: no memory");
        state_commit(server);
        if (server->upgrade_ops->check(u->path, on_checked, server, server->userdata, err) < 0) {
                free(TAKE_PTR(u->path));
                return -1;
        }
        u->state = UPGRADE_CHECKING;
        u->call = call;
        return 0;
}

void upgrade_deinit(struct shim_server *server)
{
        struct upgrade *u = &server->upgrade;

        if (u->call)
                ttrpc_call_fail(TAKE_PTR(u->call), STATUS_UNAVAILABLE, "the shim is ending");
        u->timer = loop_timer_free(u->timer);
        free(TAKE_PTR(u->path));
}
