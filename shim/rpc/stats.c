/* SPDX-License-Identifier: Apache-2.0
 *
 * Stats: the numbers of the container's cgroup. They can be had until the container is deleted,
 * also when init has ended: after an exit by SIGKILL containerd looks here for OOM kills.
 */
#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/executor.h"
#include "shim/metrics.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

/* The reader is made by the first call: many containers are never asked. */
static int stats_read(struct container *c, struct arena *arena, struct cgroup_stats *ret,
                      struct error *err)
{
        if (!c->stats) {
                const struct cgroup *cg = c->executor->ops->cgroup(c->impl);

                if (!cg)
                        return error_set(err, STATUS_NOT_FOUND, "cgroup does not exist");
                c->stats = cgroup_stats_reader_new(cg);
                if (!c->stats)
                        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                         "read the cgroup: no memory");
        }
        return cgroup_stats_read(c->stats, arena, ret, err);
}

void rpc_stats(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__StatsRequest *request = (const void *)message;
        Containerd__Task__V2__StatsResponse response = CONTAINERD__TASK__V2__STATS_RESPONSE__INIT;
        struct container *c = service_find_container(userdata, call, request->id);
        struct error err = ERROR_INIT;
        struct cgroup_stats stats;
        struct arena *arena;

        if (!c)
                return;
        arena = ttrpc_call_arena(call);
        if (stats_read(c, arena, &stats, &err) < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        response.stats =
                stats.is_v2 ? metrics_v2_pack(&stats, arena) : metrics_v1_pack(&stats, arena);
        if (!response.stats)
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "stats: no memory");
        else
                ttrpc_call_reply(call, &response.base);
}
