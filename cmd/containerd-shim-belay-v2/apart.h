/* SPDX-License-Identifier: Apache-2.0
 *
 * Work that may get stuck in the kernel, or take as long as somebody else likes, for a process that
 * has an answer to give all the same: it is done by a child.
 */
#pragma once

#include <stdint.h>

#include "pkg/base/error.h"

/*
 * Runs fn in a child until deadline_ns (CLOCK_MONOTONIC): 0, and *ret is what it has returned; or
 * -1, and it was killed. A child that does not even end by that is left. What it writes to its
 * standard output or error goes to our standard error, and it has no copy of either. It dies with
 * us. Where there can be no child, fn runs here, and takes its time.
 */
int apart_run(int (*fn)(void *userdata), void *userdata, uint64_t deadline_ns, int *ret,
              struct error *err);
