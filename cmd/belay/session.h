/* SPDX-License-Identifier: Apache-2.0
 *
 * A process in the foreground: belay stands for it at the terminal until it has ended. Signals that
 * belay gets go to it; its streams are belay's.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

#include "cmd/belay/args.h"
#include "cmd/belay/stream.h"
#include "cmd/belay/task.h"

struct session_target {
        struct loop *loop;
        struct task *task;
        const char *id;
        const char *exec_id;         /* "": the container's first process */
        struct streams *streams;     /* NULL: the process has belay's own, or a console socket's */
        const struct args *pid_file; /* an exec's --pid-file is written at its start; or NULL */
        bool terminal;
};

/*
 * Starts the process, which was created with the paths of streams, and follows it to its end.
 * *ret_status is its exit status. -1: it could not be started, or the shim was lost.
 */
int session_run(const struct session_target *target, int *ret_status, struct error *err);
