/* SPDX-License-Identifier: Apache-2.0
 *
 * ResizePty: sets the size of the terminal; without one it is a success that does nothing. A size
 * that comes before the terminal is there is used when it is; the stock shim forgets it.
 */
#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/rpc/rpc.h"
#include "shim/service.h"

void rpc_resize_pty(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__ResizePtyRequest *request = (const void *)message;
        struct process *p = service_find_process(userdata, call, request->id, request->exec_id);
        struct error err = ERROR_INIT;

        if (!p)
                return;
        if (process_resize(p, request->width, request->height, &err) < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        service_reply_empty(call);
}
