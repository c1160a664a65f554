/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors that a process gets beyond its standard streams (engine.h, struct engine_passed). The
 * stage copies them to numbers above all of those that they are to have; child_drop() puts them in
 * their places, where everything else is closed, and child_exec() takes their CLOEXEC off.
 */
#pragma once

#include <stddef.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/engine/engine.h"

struct passed {
        const int *fds; /* the one for 3 + i, CLOEXEC and at least 3 + n; -1: a gap */
        size_t n;
        unsigned n_listen;
};

/* In the stage. In a container's own process there may be no right to do this. */
int passed_take(const struct engine_passed *from, struct arena *arena, struct passed *ret,
                struct error *err);

/* In the stage: a descriptor that the child needs as long as it has these is moved out of their
 * way. */
int passed_make_way(const struct passed *passed, int *fd, struct error *err);

/* In the child, when nothing else below 3 + n is needed any more. CLOEXEC stays on. */
int passed_place(const struct passed *passed, struct error *err);

/* In the child, last of all: execve(2) leaves them open. */
int passed_release(const struct passed *passed, struct error *err);
