/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that are newer than a profile: see seccomp_stub.c.
 */
#pragma once

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/engine/seccomp_cache.h"
#include "pkg/engine/seccomp_join.h"

/* Puts instructions in front of the piece, if its profile refuses what it does not name. Pure but
 * for the arena. */
int seccomp_add_stub(const struct seccomp_input *input, struct seccomp_piece *piece,
                     struct arena *arena, struct error *err);
