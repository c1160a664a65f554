/* SPDX-License-Identifier: Apache-2.0
 *
 * State: never waits and never fails for a process that exists. containerd removes a container
 * whose State takes more than two seconds.
 */
#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/rpc/rpc.h"
#include "shim/service.h"

static Containerd__V1__Types__Status status_of_state(enum process_state state)
{
        switch (state) {
        case PROCESS_CREATED:
        case PROCESS_STARTING:
        case PROCESS_DISCARDED:
                return CONTAINERD__V1__TYPES__STATUS__CREATED;
        case PROCESS_PAUSING:
                return CONTAINERD__V1__TYPES__STATUS__PAUSING;
        case PROCESS_PAUSED:
        case PROCESS_RESUMING:
                return CONTAINERD__V1__TYPES__STATUS__PAUSED;
        case PROCESS_RUNNING:
                return CONTAINERD__V1__TYPES__STATUS__RUNNING;
        case PROCESS_STOPPED:
        case PROCESS_DELETING:
                return CONTAINERD__V1__TYPES__STATUS__STOPPED;
        case _PROCESS_STATE_MAX:
                break;
        }
        return CONTAINERD__V1__TYPES__STATUS__UNKNOWN;
}

/* An exec that runs is paused when its container is. */
static Containerd__V1__Types__Status status_of(const struct process *p)
{
        Containerd__V1__Types__Status own = status_of_state(p->state);
        Containerd__V1__Types__Status all = status_of_state(p->container->init->state);

        if (own == CONTAINERD__V1__TYPES__STATUS__RUNNING &&
            (all == CONTAINERD__V1__TYPES__STATUS__PAUSING ||
             all == CONTAINERD__V1__TYPES__STATUS__PAUSED))
                return all;
        return own;
}

void rpc_state(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__StateRequest *request = (const void *)message;
        Containerd__Task__V2__StateResponse response = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
        Google__Protobuf__Timestamp exited_at;
        const struct process *p =
                service_find_process(userdata, call, request->id, request->exec_id);

        if (!p)
                return;
        exited_at = service_exited_at(&p->exit);
        response.id = p->kind == PROCESS_INIT ? p->container->id : p->exec_id;
        response.bundle = p->container->bundle;
        response.pid = (uint32_t)p->pid;
        response.status = status_of(p);
        response.stdin = p->stdin_path;
        response.stdout = p->stdout_path;
        response.stderr = p->stderr_path;
        response.terminal = p->terminal;
        response.exit_status = p->exit.told ? p->exit.status : 0;
        response.exited_at = &exited_at;
        ttrpc_call_reply(call, &response.base);
}
