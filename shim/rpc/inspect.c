/* SPDX-License-Identifier: Apache-2.0
 *
 * Inspect of belay.v1: the state that outlives the process, as text for people. The shim prints it
 * and not its client, since only the version that has written it knows all of it.
 */
#include "shim/inspect.h"

#include <stdint.h>

#include "pkg/base/cleanup.h"
#include "pkg/ttrpc/limits.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

/* An answer has a frame and a field around it. */
enum { JSON_BYTES_MAX = TTRPC_MESSAGE_MAX - 256, NEVER = 1000 };

void rpc_inspect(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        Belay__V1__InspectResponse response = BELAY__V1__INSPECT_RESPONSE__INIT;
        struct shim_server *server = userdata;
        _cleanup_free_ char *json = NULL;
        struct error err = ERROR_INIT;
        size_t len = 0;

        (void)message;
        lifetime_touch(server);
        /* Thousands of execs have no room with all their line breaks. */
        if (inspect_json(server, NEVER, JSON_BYTES_MAX, &json, &len, &err) < 0 &&
            (err.code != STATUS_RESOURCE_EXHAUSTED ||
             inspect_json(server, 0, JSON_BYTES_MAX, &json, &len, &err) < 0)) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        response.json = json;
        ttrpc_call_reply(call, &response.base);
}
