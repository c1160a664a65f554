/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the state that outlives the process, as messages (belay/state/v1/shim.proto). They
 * are made from the arena and borrow strings, so they last until something of what they tell
 * changes. The way back is restore.c.
 */
#pragma once

#include "pkg/base/arena.h"
#include "pkg/base/error.h"

#include "belay/state/v1/shim.pb-c.h"

struct process;
struct shim_server;

/* All but the processes. */
int save_shim(const struct shim_server *server, struct arena *arena, Belay__State__V1__Shim **ret,
              struct error *err);

int save_process(const struct process *process, struct arena *arena,
                 Belay__State__V1__Process **ret, struct error *err);
