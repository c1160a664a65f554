/* SPDX-License-Identifier: Apache-2.0
 *
 * belay inspect: all that a shim keeps for the next image of its process, as the shim prints it.
 */
#include <belay/v1/belay.pb-c.h>
#include <stdio.h>

#include "pkg/base/cleanup.h"

#include "cmd/belay/container.h"
#include "cmd/belay/verbs.h"

int verb_inspect(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        Belay__V1__InspectRequest request = BELAY__V1__INSPECT_REQUEST__INIT;
        ProtobufCMessage *message = NULL;

        *ret_status = 0;
        if (container_open(&c, args, NULL, err) < 0 ||
            task_call_belay(c.task, "Inspect", &request.base, TASK_QUICK_NS, &message, err) < 0)
                return -1;
        (void)fputs(((const Belay__V1__InspectResponse *)message)->json, stdout);
        protobuf_c_message_free_unpacked(message, NULL);
        return 0;
}
