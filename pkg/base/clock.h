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

static inline uint64_t clock_timespec_ns(const struct timespec *ts)
{
        return (uint64_t)ts->tv_sec * NSEC_PER_SEC + (uint64_t)ts->tv_nsec;
}

static inline struct timespec clock_ns_timespec(uint64_t ns)
{
        return (struct timespec){.tv_sec = (time_t)(ns / NSEC_PER_SEC),
                                 .tv_nsec = (long)(ns % NSEC_PER_SEC)};
}

static inline uint64_t clock_realtime_ns(void)
{
        struct timespec ts = clock_realtime();

        return clock_timespec_ns(&ts);
}

static inline uint64_t clock_monotonic_ns(void)
{
        struct timespec ts = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return clock_timespec_ns(&ts);
}

struct clock_date {
        int year;
        int month; /* 1 to 12 */
        int day;   /* from 1 */
        int hour;
        int minute;
        int second;
};

/* 9999-12-31T23:59:59Z, the last second that RFC 3339 can tell. */
#define CLOCK_DATE_MAX INT64_C(253402300799)

/* Seconds of CLOCK_REALTIME as a date in UTC, between 1970 and CLOCK_DATE_MAX. gmtime_r(3) and
 * strftime(3) tell the same but read the host's time zone first, a file and some pages of memory in
 * every shim. */
struct clock_date clock_date_utc(int64_t seconds);

/* The time as RFC 3339 has it, in UTC and with nine digits of the second: always 30 characters.
 * What is out of range becomes the nearest that is not. */
enum { CLOCK_TEXT_MAX = 31 };
void clock_format(int64_t seconds, long nanos, char text[static CLOCK_TEXT_MAX]);
