/* SPDX-License-Identifier: Apache-2.0
 *
 * An exec with a terminal, in one call (ExecStream of belay.v1): the terminal has our size before
 * the process begins, nothing is left in the file system, and when we go away the shim ends our
 * side of it and deletes the process after its end.
 *
 * Without a terminal it is not used: a FIFO joins the process with us directly, no byte passes the
 * shim, and what reads too slowly slows the process down and nothing else.
 */
#pragma once

#include "pkg/base/error.h"

#include "cmd/belay/args.h"
#include "cmd/belay/container.h"

/* json: the process; options: of the call, as of Exec. *ret_status: how it has ended.
 * STATUS_UNIMPLEMENTED from a shim that does not have the call: then nothing has happened. */
int exec_stream(const struct args *args, const struct container *c, const char *exec_id,
                const char *json, const struct ttrpc_call_options *options, int *ret_status,
                struct error *err);
