/* SPDX-License-Identifier: Apache-2.0
 *
 * belay at the terminal of a process, over Attach or ExecStream: keys and input there, output back,
 * until the process ends or one leaves it. Input goes out as the shim grants it; output that our
 * own side does not take stays with the shim. Whatever way out is taken, the terminal is as before.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

#include "cmd/belay/detach_keys.h"
#include "cmd/belay/dialog_wire.h"
#include "cmd/belay/task.h"

struct dialog_config {
        struct loop *loop;
        struct task *task;
        const struct dialog_wire *wire;
        const ProtobufCMessage *start;            /* the first message */
        const struct ttrpc_call_options *options; /* of the call; may be NULL */
        const struct detach_keys *keys;           /* likewise */
        bool terminal;                            /* the process has one; Attach says so itself */
        bool input;                               /* ours is passed on */
        bool ends_input;                          /* so is its end */
        bool owns_process; /* signals go to it, and it goes on when our output is broken; else
                            * both end the dialog, and nothing happens to it */
};

struct dialog_end {
        enum { DIALOG_EXITED, DIALOG_DETACHED, DIALOG_SIGNALED } how;
        int status; /* the process's; after a signal to us 128 + its number */
};

/* -1: the dialog could not begin, or the shim broke it off; err has its code and text. */
int dialog_run(const struct dialog_config *config, struct dialog_end *ret, struct error *err);
