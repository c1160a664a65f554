/* SPDX-License-Identifier: Apache-2.0
 *
 * The container: see container.h.
 */
#include "shim/container.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/stats.h"

#include "shim/exits.h"
#include "shim/oom.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

struct container *container_new(struct shim_server *server, const char *id, const char *bundle,
                                struct error *err)
{
        struct container *c = calloc(1, sizeof(*c));

        if (!c) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create container: no memory");
                return NULL;
        }
        c->server = server;
        c->executor = server->executor;
        list_init(&c->node);
        list_init(&c->execs);
        c->id = strdup(id);
        c->bundle = strdup(bundle);
        c->execs_wait = loop_timer_new(server->loop, exits_on_wait_over, c);
        if (!c->id || !c->bundle || !c->execs_wait) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create container: no memory");
                return container_free(c);
        }
        return c;
}

struct container *container_free(struct container *c)
{
        if (!c)
                return NULL;
        if (c->create)
                ttrpc_call_fail(TAKE_PTR(c->create), STATUS_UNAVAILABLE, "the shim is ending");
        if (c->freeze)
                ttrpc_call_fail(TAKE_PTR(c->freeze), STATUS_UNAVAILABLE, "the shim is ending");
        if (c->update)
                ttrpc_call_fail(TAKE_PTR(c->update), STATUS_UNAVAILABLE, "the shim is ending");
        list_remove(&c->node);
        while (!list_is_empty(&c->execs))
                process_free(list_first(&c->execs, struct process, node));
        process_free(c->init);
        c->oom = oom_free(c->oom);
        cgroup_stats_reader_free(c->stats);
        c->pids = rpc_pids_forget(c->pids);
        if (c->impl && c->n_jobs == 0)
                c->executor->ops->container_free(c->impl);
        loop_timer_free(c->execs_wait);
        loop_timer_free(c->readers);
        free(c->id);
        free(c->bundle);
        free(c);
        return NULL;
}

void container_end_streams(struct container *c)
{
        if (c->init)
                process_end_streams(c->init);
        list_for_each(p, &c->execs, struct process, node)
                process_end_streams(p);
}

struct process *container_find_exec(const struct container *c, const char *exec_id)
{
        list_for_each(p, &c->execs, struct process, node) {
                if (strcmp(p->exec_id, exec_id) == 0)
                        return p;
        }
        return NULL;
}

struct process *container_find_process(const struct container *c, const char *exec_id)
{
        return str_is_empty(exec_id) ? c->init : container_find_exec(c, exec_id);
}

void container_job_begin(struct container *c)
{
        c->n_jobs++;
}

void container_job_end(struct container *c)
{
        assert(c->n_jobs > 0);
        if (--c->n_jobs > 0)
                return;
        rpc_delete_advance(c);
        server_advance_stop(c->server);
}
