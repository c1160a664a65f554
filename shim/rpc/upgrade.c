/* SPDX-License-Identifier: Apache-2.0
 *
 * Upgrade of belay.v1: the shim goes on as another binary. The call is still open when that one
 * takes over, and comes to this handler again there, which then only has to say how it went.
 */
#include "pkg/base/cleanup.h"
#include "pkg/state/vault.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

static void reply(struct shim_server *server, struct ttrpc_call *call)
{
        Belay__V1__UpgradeResponse response = BELAY__V1__UPGRADE_RESPONSE__INIT;
        char reason[VAULT_REASON_MAX];

        server->upgrade.state = UPGRADE_NONE;
        vault_reason(server->vault, reason);
        if (*reason) {
                ttrpc_call_fail(call, STATUS_FAILED_PRECONDITION, "%s", reason);
                return;
        }
        response.version = (char *)server->version;
        if (server->previous)
                response.previous = server->previous;
        ttrpc_call_reply(call, &response.base);
}

/* The shim does it whoever waits; but it can answer only a call that it still has. */
static void on_cancel(struct ttrpc_call *call, void *userdata)
{
        struct shim_server *server = userdata;

        (void)call;
        server->upgrade.call = NULL;
}

void rpc_upgrade(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Belay__V1__UpgradeRequest *request = (const void *)message;
        struct shim_server *server = userdata;
        struct error err = ERROR_INIT;

        lifetime_touch(server);
        if (server->upgrade.state == UPGRADE_DONE) {
                reply(server, call);
                return;
        }
        if (upgrade_begin(server, request->path, call, &err) < 0)
                ttrpc_call_fail_error(call, &err);
        else
                ttrpc_call_on_cancel(call, on_cancel, server);
}
