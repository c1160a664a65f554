/* SPDX-License-Identifier: Apache-2.0
 *
 * What a fork does before it executes another program, or goes on by itself as one: it must have
 * nothing of its parent's but what it is given.
 */
#pragma once

#include <stddef.h>

enum { CHILD_FDS_MAX = 8 };

/* Default dispositions for all signals; and with the other one none blocked. */
void child_default_signals(void);
void child_reset_signals(void);

/*
 * Makes sources[i] the descriptor i, not CLOEXEC. A source may stand twice, and may have any number
 * itself. At most CHILD_FDS_MAX; copies are left behind that are CLOEXEC. 0, or -1 and errno.
 */
int child_set_fds(const int *sources, size_t n);
