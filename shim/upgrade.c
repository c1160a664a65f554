/* SPDX-License-Identifier: Apache-2.0
 *
 * See upgrade.h. There is no list of those who would have to call when the shim has become quiet:
 * jobs, answers, events and streams end in many places. A timer looks, for some seconds, in the one
 * process in thousands that is being upgraded. Nothing waits for it meanwhile: calls begin and end
 * as ever, so it may be that there is no such moment, and then it says what was in the way.
 */
#include "shim/upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

#include "shim/exec_stream.h"
#include "shim/log.h"
#include "shim/server_impl.h"
#include "shim/state.h"

#define LOOK_NS (2 * NSEC_PER_MSEC)

/* What is under way, whose (an exec's id, or "") and since when; without a call nobody knows. */
static bool is_under_way(struct upgrade_obstacle *ret, const char *what, const char *exec_id,
                         const struct ttrpc_call *call)
{
        const char *quote = *exec_id ? "'" : "";
        char since[48] = "is under way";

        if (call)
                (void)snprintf(since, sizeof(since), "has been under way for %.1f s",
                               (double)(clock_monotonic_ns() - ttrpc_call_begun_ns(call)) /
                                       (double)NSEC_PER_SEC);
        (void)snprintf(ret->text, sizeof(ret->text), "%s%s%s%s%s %s", what,
                       *exec_id ? " of exec " : "", quote, exec_id, quote, since);
        return true;
}

static bool is_in_the_way(struct upgrade_obstacle *ret, const char *text)
{
        (void)snprintf(ret->text, sizeof(ret->text), "%s", text);
        return true;
}

static bool find_of_process(const struct process *p, struct upgrade_obstacle *ret)
{
        if (p->start || p->start_job || p->stdio_fn)
                return is_under_way(ret, "a Start", p->exec_id,
                                    p->stream ? p->stream->call : p->start);
        if (p->delete_ || p->state == PROCESS_DELETING || p->state == PROCESS_DISCARDED)
                return is_under_way(ret, "a Delete", p->exec_id, p->delete_);
        return false;
}

/* All but events. What can be named comes before what cannot. */
static bool find_job(const struct shim_server *server, struct upgrade_obstacle *ret)
{
        const struct container *c = server->container;

        if (server->stopping)
                return is_in_the_way(ret, "the shim is ending");
        if (server->creating)
                return is_under_way(ret, "a Create", "", server->creating->create);
        if (!list_is_empty(&server->dead_processes) || !list_is_empty(&server->dead_containers))
                return is_under_way(ret, "a Delete", "", NULL);
        if (!c)
                return false;
        if (find_of_process(c->init, ret))
                return true;
        list_for_each(p, &c->execs, struct process, node) {
                if (find_of_process(p, ret))
                        return true;
        }
        if (c->freeze)
                return is_under_way(ret,
                                    str_equal(ttrpc_call_method(c->freeze), "Pause") ? "a Pause"
                                                                                     : "a Resume",
                                    "", c->freeze);
        if (c->update)
                return is_under_way(ret, "an Update", "", c->update);
        return c->n_jobs > 0 && is_in_the_way(ret, "processes are being killed");
}

static bool find_event(const struct shim_server *server, struct upgrade_obstacle *ret)
{
        return !publisher_is_quiet(server->publisher) &&
               is_in_the_way(ret, "containerd has not answered to an event");
}

/* Such a one must be sent first. */
static bool find_event_at_risk(const struct shim_server *server, struct upgrade_obstacle *ret)
{
        return publisher_n_at_risk(server->publisher) > 0 &&
               is_in_the_way(ret,
                             "there is room for an event neither on the disk nor in the state");
}

bool upgrade_obstacle(const struct shim_server *server, struct upgrade_obstacle *ret)
{
        return find_job(server, ret) || find_event_at_risk(server, ret) || find_event(server, ret);
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

/* Events are held back only when nothing else is in the way: who waits for a hook that takes its
 * time must not make containerd wait for the exits of others. */
static bool find_obstacle(struct shim_server *server, struct upgrade_obstacle *ret)
{
        const char *connection;

        if (find_job(server, ret) || find_event_at_risk(server, ret)) {
                publisher_hold(server->publisher, false);
                return true;
        }
        publisher_hold(server->publisher, true);
        if (find_event(server, ret))
                return true;
        connection = ttrpc_server_obstacle(server->ttrpc);
        return connection && is_in_the_way(ret, connection);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        struct shim_server *server = userdata;
        struct upgrade *u = &server->upgrade;
        struct upgrade_obstacle obstacle;
        struct error err = ERROR_INIT;

        if (!find_obstacle(server, &obstacle)) {
                upgrade_execute(server);
        } else if (clock_monotonic_ns() > u->give_up_ns) {
                (void)error_set(
                        &err, STATUS_UNAVAILABLE, "no quiet moment for an upgrade within %g s: %s",
                        (double)server->times.upgrade_ns / (double)NSEC_PER_SEC, obstacle.text);
                upgrade_end(server, &err);
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
