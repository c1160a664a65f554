/* SPDX-License-Identifier: Apache-2.0
 *
 * The last part of a Create whose stage has nothing left to do: the shim itself hears at the gate
 * that init is ready, or why it never will be. The stage's way there would be longer by a process,
 * whose end falls into the same moment.
 */
#pragma once

#include "pkg/engine/internal.h"

/* Sets create->gate_io. fn is called once, at once if it cannot be heard, and not after gate_io was
 * freed; it is NULL when fn is called. */
void create_gate_hear(struct create_job *create, create_heard_fn fn);
