/* SPDX-License-Identifier: Apache-2.0
 *
 * A logging program that has gone into the background: its first process has ended, and one that it
 * has left behind reads the pipes. That is an orphan, and so a child of ours, as long as we are a
 * subreaper; nobody has named it yet, and it is known by what it has open.
 */
#pragma once

#include <sys/types.h>

#include "pkg/reaper/reaper.h"

/* A child that no watch knows and that can read one of the pipes; 0: none. */
pid_t logger_orphan_find(const struct reaper *reaper, const int *pipes, size_t n_pipes);
