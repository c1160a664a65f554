/* SPDX-License-Identifier: Apache-2.0
 *
 * Wait: answers when the exit is told, at once if it is, as often as it is asked. Clients call it
 * before Start. One that gives up or whose connection goes costs nothing.
 */
#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/service.h"

void rpc_wait(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__WaitRequest *request = (const void *)message;
        Containerd__Task__V2__WaitResponse response = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
        Google__Protobuf__Timestamp exited_at;
        struct process *p = service_find_process(userdata, call, request->id, request->exec_id);

        if (!p)
                return;
        if (!p->exit.told) {
                pending_add(&p->waiters, call, message, rpc_wait, userdata);
                return;
        }
        exited_at = service_exited_at(&p->exit);
        response.exit_status = p->exit.status;
        response.exited_at = &exited_at;
        ttrpc_call_reply(call, &response.base);
}
