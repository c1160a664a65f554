/* SPDX-License-Identifier: Apache-2.0
 *
 * Pids: all processes of the container; those that are execs carry their id.
 *
 * It does not fail, and while the container is not deleted it lists at least the init, also when
 * that has ended: containerd 1.7 to 2.3 take an error or an empty list on their restart for a shim
 * without a task, delete it, and the exit status of a container that ended meanwhile is lost. The
 * stock shim answers with an empty list then.
 */
#include "pkg/base/cleanup.h"

#include "containerd/runc/v1/options.pb-c.h"
#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/log.h"
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

/* From the cgroup, or else what the shim knows by itself; in the arena. */
static pid_t *list_pids(const struct container *c, struct arena *arena, size_t *ret_n)
{
        _cleanup_free_ pid_t *listed = NULL;
        struct error err = ERROR_INIT;
        size_t n = 0;
        pid_t *pids;

        if (c->executor->ops->pids(c->impl, &listed, &n, &err) < 0)
                log_warning("list pids: %s", err.msg);
        *ret_n = n;
        if (n > 0)
                return (pid_t *)arena_memdup(arena, listed, n * sizeof(*listed));
        pids = arena_calloc(arena, c->n_execs + 1, sizeof(*pids));
        if (!pids)
                return NULL;
        pids[n++] = c->init->pid;
        list_for_each(p, &c->execs, struct process, node) {
                if (p->pid > 0 && !p->exit.known)
                        pids[n++] = p->pid;
        }
        *ret_n = n;
        return pids;
}

void rpc_pids(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__PidsRequest *request = (const void *)message;
        Containerd__Task__V2__PidsResponse response = CONTAINERD__TASK__V2__PIDS_RESPONSE__INIT;
        struct container *c = service_find_container(userdata, call, request->id);
        struct arena *arena;
        const pid_t *pids;
        size_t n = 0;

        if (!c)
                return;
        arena = ttrpc_call_arena(call);
        pids = list_pids(c, arena, &n);
        response.processes = arena_calloc(arena, n, sizeof(void *));
        while (pids && response.processes && response.n_processes < n) {
                Containerd__V1__Types__ProcessInfo *info =
                        make_info(arena, c, pids[response.n_processes]);

                if (!info)
                        break;
                response.processes[response.n_processes++] = info;
        }
        if (response.n_processes < n || n == 0) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "list pids: no memory");
                return;
        }
        ttrpc_call_reply(call, &response.base);
}
