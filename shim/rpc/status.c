/* SPDX-License-Identifier: Apache-2.0
 *
 * Status of belay.v1: how a process is and how it ended, with what State has no room for.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "belay/v1/belay.pb-c.h"
#include "shim/belay_messages.h"
#include "shim/container.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

static void set_last_error(Belay__V1__IOStatus *io, int errnum, char *error, size_t size)
{
        (void)snprintf(error, size, "%s", strerrordesc_np(errnum));
        io->last_error = error;
}

/* error: room for a text. */
static void fill_io(Belay__V1__IOStatus *io, const struct process *p, char *error, size_t size)
{
        struct io_stdio_status status = io_stdio_status(p->stdio);
        uint64_t log_errors;

        io->kind = (char *)status.kind;
        io->drained = status.is_complete;
        io->bytes_dropped = status.bytes_dropped;
        io->logger_restarts = status.n_restarts;
        io->write_errors = status.n_write_errors;
        if (status.last_errno != 0)
                set_last_error(io, status.last_errno, error, size);
        if (!status.log)
                return;
        io->bytes = atomic_load(&status.log->bytes);
        io->bytes_dropped += atomic_load(&status.log->bytes_dropped);
        io->bytes_waiting = atomic_load(&status.log->bytes_waiting);
        io->rotations = atomic_load(&status.log->rotations);
        log_errors = atomic_load(&status.log->write_errors);
        io->write_errors += log_errors;
        if (log_errors > 0)
                set_last_error(io, atomic_load(&status.log->last_errno), error, size);
}

void rpc_status(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Belay__V1__StatusRequest *request = (const void *)message;
        struct process *p = service_find_process(userdata, call, request->id, request->exec_id);
        Belay__V1__StatusResponse response = BELAY__V1__STATUS_RESPONSE__INIT;
        Belay__V1__IOStatus io = BELAY__V1__IOSTATUS__INIT;
        struct belay_exit end;
        Google__Protobuf__Timestamp started_at;
        char error[128];

        if (!p)
                return;
        response.pid = (uint32_t)p->pid;
        response.state = (char *)process_state_name(p->state);
        if (p->pid > 0) {
                started_at = belay_timestamp(&p->started_at);
                response.started_at = &started_at;
        }
        if (p->exit.told) {
                belay_exit_fill(&end, &p->exit, NULL);
                response.exit = &end.exit;
        }
        if (p->stdio) {
                fill_io(&io, p, error, sizeof(error));
                response.io = &io;
        }
        ttrpc_call_reply(call, &response.base);
}
