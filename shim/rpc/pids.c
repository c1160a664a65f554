/* SPDX-License-Identifier: Apache-2.0
 *
 * Pids: all processes of the container; those that are execs carry their id.
 *
 * It does not fail, and while the container is not deleted it lists at least the init, also when
 * that has ended: containerd 1.7 to 2.3 take an error or an empty list on their restart for a shim
 * without a task, delete it, and the exit status of a container that ended meanwhile is lost. The
 * stock shim answers with an empty list then.
 *
 * A container that may write its cgroups can make any number of them. Then a stage goes through
 * them, and the shim is free meanwhile; one stage at a time, for all calls that came before it.
 */
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/cgroup.h"

#include "containerd/runc/v1/options.pb-c.h"
#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/log.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

static const struct process *find_live_exec(const struct container *c, pid_t pid)
{
        list_for_each(p, &c->execs, struct process, node) {
                if (p->pid == pid && !p->exit.known)
                        return p;
        }
        return NULL;
}

/* containerd.runc.v1.ProcessDetails as Any; NULL without room in the arena. */
static Google__Protobuf__Any *make_details(struct arena *arena, const struct process *exec)
{
        Containerd__Runc__V1__ProcessDetails details = CONTAINERD__RUNC__V1__PROCESS_DETAILS__INIT;
        Google__Protobuf__Any *any = arena_alloc(arena, sizeof(*any));
        uint8_t *data;

        details.exec_id = exec->exec_id;
        data = arena_alloc(arena, protobuf_c_message_get_packed_size(&details.base));
        if (!any || !data)
                return NULL;
        google__protobuf__any__init(any);
        any->type_url = (char *)details.base.descriptor->name;
        any->value.len = protobuf_c_message_pack(&details.base, data);
        any->value.data = data;
        return any;
}

static Containerd__V1__Types__ProcessInfo *make_info(struct arena *arena, const struct container *c,
                                                     pid_t pid)
{
        const struct process *exec = find_live_exec(c, pid);
        Containerd__V1__Types__ProcessInfo *info = arena_alloc(arena, sizeof(*info));

        if (!info)
                return NULL;
        containerd__v1__types__process_info__init(info);
        info->pid = (uint32_t)pid;
        if (exec) {
                info->info = make_details(arena, exec);
                if (!info->info)
                        return NULL;
        }
        return info;
}

/* Listed ones, or else what the shim knows by itself; in the arena. */
static const pid_t *choose_pids(const struct container *c, const pid_t *listed, size_t n_listed,
                                struct arena *arena, size_t *ret_n)
{
        pid_t *known;
        size_t n = 0;

        *ret_n = n_listed;
        if (n_listed > 0)
                return listed;
        known = arena_calloc(arena, c->n_execs + 1, sizeof(*known));
        if (!known)
                return NULL;
        known[n++] = c->init->pid;
        list_for_each(p, &c->execs, struct process, node) {
                if (p->pid > 0 && !p->exit.known)
                        known[n++] = p->pid;
        }
        *ret_n = n;
        return known;
}

static void answer(struct ttrpc_call *call, const struct container *c, const pid_t *listed,
                   size_t n_listed)
{
        Containerd__Task__V2__PidsResponse response = CONTAINERD__TASK__V2__PIDS_RESPONSE__INIT;
        struct arena *arena = ttrpc_call_arena(call);
        size_t n = 0;
        const pid_t *pids = choose_pids(c, listed, n_listed, arena, &n);

        response.processes = arena_calloc(arena, n, sizeof(void *));
        while (pids && response.processes && response.n_processes < n) {
                Containerd__V1__Types__ProcessInfo *info =
                        make_info(arena, c, pids[response.n_processes]);

                if (!info)
                        break;
                response.processes[response.n_processes++] = info;
        }
        if (response.n_processes < n || n == 0)
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "list pids: no memory");
        else
                ttrpc_call_reply(call, &response.base);
}

/* ---- By a stage ---- */

/* A container is asked for it when it has once had more cgroups than can be looked at quickly. */
struct pids {
        struct container *container; /* NULL: it is gone, and the stage still at work */
        bool is_under_way;
        struct list waiting; /* calls that the stage is for */
        struct list later;   /* calls that came when it was at work already */

        bool is_answering; /* `waiting`, with: */
        const pid_t *listed;
        size_t n_listed;
};

static void list_begin(struct pids *pids);

static void answer_waiting(struct pids *pids, const pid_t *listed, size_t n_listed)
{
        pids->is_answering = true;
        pids->listed = listed;
        pids->n_listed = n_listed;
        pending_run(&pids->waiting);
        pids->is_answering = false;
        list_splice(&pids->waiting, &pids->later);
        if (!list_is_empty(&pids->waiting))
                list_begin(pids);
}

static void on_listed(const struct error *err, const pid_t *listed, size_t n, void *userdata)
{
        struct pids *pids = userdata;

        pids->is_under_way = false;
        if (!pids->container) {
                free(pids);
                return;
        }
        if (err)
                log_warning("list pids: %s", err->msg);
        answer_waiting(pids, listed, n);
}

static void list_begin(struct pids *pids)
{
        struct container *c = pids->container;
        const struct executor *executor = c->executor;
        struct error err = ERROR_INIT;

        pids->is_under_way =
                executor->ops->list_pids(executor->impl, executor->ops->cgroup(c->impl), on_listed,
                                         pids, &err) == 0;
        if (pids->is_under_way)
                return;
        log_warning("list pids: %s", err.msg);
        answer_waiting(pids, NULL, 0);
}

static struct pids *pids_new(struct container *c)
{
        struct pids *pids = calloc(1, sizeof(*pids));

        if (!pids)
                return NULL;
        pids->container = c;
        list_init(&pids->waiting);
        list_init(&pids->later);
        return pids;
}

struct pids *rpc_pids_forget(struct pids *pids)
{
        if (!pids)
                return NULL;
        pending_fail(&pids->waiting, STATUS_NOT_FOUND, "the container is deleted");
        pending_fail(&pids->later, STATUS_NOT_FOUND, "the container is deleted");
        pids->container = NULL;
        if (!pids->is_under_way)
                free(pids);
        return NULL;
}

/* ---- At once ---- */

/* True if that has answered the call: all but a container with very many cgroups. */
static bool answer_quickly(struct ttrpc_call *call, struct container *c)
{
        const struct cgroup *cg = c->executor->ops->cgroup(c->impl);
        _cleanup_free_ pid_t *listed = NULL;
        struct error err = ERROR_INIT;
        size_t n = 0;
        int r = cg ? cgroup_pids_quick(cg, &listed, &n, &err) : 0;

        if (!cg)
                log_warning("list pids: the cgroup is not known");
        if (r < 0)
                log_warning("%s", err.msg);
        if (r > 0)
                c->pids = pids_new(c);
        if (r > 0 && c->pids)
                return false;
        answer(call, c, listed, n);
        return true;
}

void rpc_pids(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__PidsRequest *request = (const void *)message;
        struct container *c = service_find_container(userdata, call, request->id);
        struct pids *pids;

        if (!c || (!c->pids && answer_quickly(call, c)))
                return;
        pids = c->pids;
        if (pids->is_answering) {
                answer(call, c, pids->listed, pids->n_listed);
                return;
        }
        pending_add(pids->is_under_way ? &pids->later : &pids->waiting, call, message, rpc_pids,
                    userdata);
        if (!pids->is_under_way)
                list_begin(pids);
}
