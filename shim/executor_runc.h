/* SPDX-License-Identifier: Apache-2.0
 *
 * The executor that stands on an OCI runtime's command line (pkg/runc): see executor.h. It serves
 * those whose Create names a binary; all others have the engine.
 */
#pragma once

#include "pkg/engine/engine.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"

#include "shim/executor.h"

/* All borrowed; they outlive the executor. The engine mounts the rootfs of the Create request. */
struct executor_runc {
        struct loop *loop;
        struct reaper *reaper;
        struct engine *engine;
};

/* impl is borrowed, too. */
void executor_runc_init(struct executor *executor, struct executor_runc *impl);
