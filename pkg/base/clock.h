/* SPDX-License-Identifier: Apache-2.0
 *
 * Clocks. Times that are told to others are CLOCK_REALTIME; spans and deadlines are CLOCK_MONOTONIC
 * nanoseconds.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)

static inline struct timespec clock_realtime(void)
{
        struct timespec ts = {0};

        (void)clock_gettime(CLOCK_REALTIME, &ts);
        return ts;
}

static inline uint64_t clock_monotonic_ns(void)
{
        struct timespec ts = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}
