/* SPDX-License-Identifier: Apache-2.0
 *
 * belay.v1.Belay: which handler answers which method, and which of them stream. A method without a
 * handler is answered with Unimplemented.
 */
#include <assert.h>
#include <string.h>

#include "belay/v1/belay.pb-c.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

static const struct {
        const char *name;
        enum ttrpc_kind kind;
        ttrpc_handler handler;
} methods[] = {
        {"Attach", TTRPC_BIDI_STREAM, rpc_attach},
        {"Logs", TTRPC_SERVER_STREAM, rpc_logs},
        {"ExecStream", TTRPC_BIDI_STREAM, rpc_exec_stream},
        {"Status", TTRPC_UNARY, rpc_status},
        {"Upgrade", TTRPC_UNARY, rpc_upgrade},
        {"Inspect", TTRPC_UNARY, rpc_inspect},
};

int service_belay_register(struct shim_server *server, struct error *err)
{
        const ProtobufCServiceDescriptor *service = &belay__v1__belay__descriptor;

        assert(service->n_methods == sizeof(methods) / sizeof(methods[0]));
        static_assert(sizeof(methods) / sizeof(methods[0]) <= SERVICE_BELAY_METHODS_MAX,
                      "room for every method");
        for (unsigned i = 0; i < service->n_methods; i++) {
                assert(strcmp(service->methods[i].name, methods[i].name) == 0);
                server->belay_kinds[i] = methods[i].kind;
                server->belay_handlers[i] = methods[i].handler;
        }
        return ttrpc_server_register_streaming(server->ttrpc, service, server->belay_kinds,
                                               server->belay_handlers, server, err);
}
