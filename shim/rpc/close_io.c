/* SPDX-License-Identifier: Apache-2.0
 *
 * CloseIO: lets go of the shim's own writing end of stdin, whatever the request's `stdin` says. May
 * come before the process has a stdin; it is remembered then. An unknown exec is NOT_FOUND here,
 * UNKNOWN in the stock shim.
 */
#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/rpc/rpc.h"
#include "shim/service.h"

void rpc_close_io(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__CloseIORequest *request = (const void *)message;
        struct process *p = service_find_process(userdata, call, request->id, request->exec_id);
        struct error err = ERROR_INIT;

        if (!p)
                return;
        if (process_close_stdin(p, &err) < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        service_reply_empty(call);
}
