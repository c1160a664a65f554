/* SPDX-License-Identifier: Apache-2.0
 *
 * What a shim and its helpers have used: all its descendants but those that are named, which are
 * the container's. They must be alive: what has ended is not counted.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct usage {
        uint64_t cpu_ns;      /* of all of them, on a processor */
        long shim_peak_kb;    /* resident */
        long helpers_peak_kb; /* each one's peak, added up */
        unsigned n_helpers;
};

void usage_take(struct usage *ret, pid_t shim, const pid_t *without, size_t n_without);
