/* SPDX-License-Identifier: Apache-2.0
 *
 * Methods that are not there are refused by name, whoever is asked for.
 */
#include "shim/rpc/rpc.h"

void rpc_unsupported(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        (void)message;
        (void)userdata;
        ttrpc_call_fail(call, STATUS_UNIMPLEMENTED, "%s is not supported", ttrpc_call_method(call));
}
