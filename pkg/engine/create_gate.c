/* SPDX-License-Identifier: Apache-2.0
 *
 * Hearing init at the gate: see create_gate.h.
 */
#include "pkg/engine/create_gate.h"

#include <errno.h>

#include "pkg/base/fd.h"
#include "pkg/engine/message.h"
#include "pkg/engine/stage_init.h"

static void tell(struct create_job *create, const struct error *err)
{
        create->gate_io = loop_io_free(create->gate_io);
        create->on_heard(create, err);
}

/* Whatever it says but READY means that it has failed. */
static void on_message(struct create_job *create, int r, const struct message *msg)
{
        struct error err = ERROR_INIT;

        if (r > 0 && msg->type == MESSAGE_READY) {
                tell(create, NULL);
                return;
        }
        if (r > 0 && msg->type == MESSAGE_ERROR)
                message_get_error(msg, &err);
        else if (r > 0)
                (void)error_set(&err, STATUS_INTERNAL,
                                "the container's process said %u before it was ready", msg->type);
        else if (r == 0 || r == -ECONNRESET)
                (void)stage_set_ended(&err);
        else
                (void)error_errno(&err, -r, "hear from the container's process");
        tell(create, &err);
}

static void on_gate(struct loop_io *io, int fd, int what, void *userdata)
{
        struct create_job *create = userdata;

        (void)what;
        for (;;) {
                struct message msg;
                int terminal = -1;
                size_t n_fds = 1;
                int r = message_recv(fd, &msg, &terminal, &n_fds);

                if (message_is_later(io, r))
                        return;
                if (r > 0 && msg.type == MESSAGE_TERMINAL && n_fds == 1 &&
                    create->terminal_fd < 0) {
                        create->terminal_fd = terminal;
                        continue;
                }
                fd_close(terminal);
                on_message(create, r, &msg);
                return;
        }
}

void create_gate_hear(struct create_job *create, create_heard_fn fn)
{
        int gate = create->job.container->gate;
        struct error err = ERROR_INIT;

        create->on_heard = fn;
        create->gate_io =
                loop_io_new(create->job.engine->loop, gate, LOOP_PRIORITY_RPC, on_gate, create);
        if (create->gate_io && fd_set_nonblock(gate, 1) == 0 &&
            loop_io_want(create->gate_io, LOOP_READ) == 0)
                return;
        (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
        tell(create, &err);
}
