/* SPDX-License-Identifier: Apache-2.0
 *
 * Shutdown: containerd calls it after every Delete and after a failed Create. A success that does
 * nothing while there is a container. A Create that is still under way has been given up by its
 * caller: it is undone first.
 */
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

void rpc_shutdown(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        struct shim_server *server = userdata;

        (void)message;
        lifetime_touch(server);
        service_reply_empty(call);
        if (!server->container)
                shim_server_stop(server, "Shutdown");
}
