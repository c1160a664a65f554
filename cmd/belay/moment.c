/* SPDX-License-Identifier: Apache-2.0
 *
 * See moment.h. Numbers are read digit by digit, with a bound for each, so that nothing overflows.
 */
#include "cmd/belay/moment.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "pkg/base/clock.h"
#include "pkg/base/str.h"

enum { SECOND = 1, MINUTE = 60, HOUR = 3600, DAY = 86400 };

/* min to max digits; -1 for anything else. Moves *at behind them. */
static int64_t read_digits(const char **at, int min, int max)
{
        int64_t value = 0;
        int n = 0;

        for (; n < max && **at >= '0' && **at <= '9'; n++, (*at)++)
                value = value * 10 + (**at - '0');
        return n >= min ? value : -1;
}

/* ".5" as nanoseconds; 0 without a dot, -1 for a dot without digits. */
static int64_t read_fraction(const char **at)
{
        const char *begin;
        int64_t value;

        if (**at != '.')
                return 0;
        begin = ++*at;
        value = read_digits(at, 1, 9);
        for (size_t n = (size_t)(*at - begin); value > 0 && n < 9; n++)
                value *= 10;
        return value;
}

static bool take(const char **at, const char *any_of)
{
        if (!**at || !strchr(any_of, **at))
                return false;
        (*at)++;
        return true;
}

/* Days since 1970 of the proleptic Gregorian calendar. Years that begin in March have their odd day
 * at the end. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
        int64_t y = month > 2 ? year : year - 1;
        int64_t m = month > 2 ? month - 3 : month + 9;

        return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719469;
}

static bool is_day(int64_t year, int64_t month, int64_t day)
{
        static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

        return month >= 1 && month <= 12 && day >= 1 &&
               day <= days[month - 1] + (month == 2 && is_leap);
}

/* "Z", "+01:00", or nothing: seconds east of UTC. */
static int read_offset(const char **at, int64_t *ret)
{
        int64_t hours;
        int64_t minutes;
        int sign;

        *ret = 0;
        if (!**at || take(at, "Zz"))
                return 0;
        sign = **at == '-' ? -1 : 1;
        if (!take(at, "+-"))
                return -1;
        hours = read_digits(at, 2, 2);
        if (!take(at, ":"))
                return -1;
        minutes = read_digits(at, 2, 2);
        if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
                return -1;
        *ret = sign * (hours * HOUR + minutes * MINUTE);
        return 0;
}

/* "13:35", "13:35:39", "13:35:39.5", with an offset or without: seconds of the day. */
static int read_time(const char **at, int64_t *ret_seconds, int64_t *ret_nanos)
{
        int64_t hour = read_digits(at, 2, 2);
        int64_t minute = take(at, ":") ? read_digits(at, 2, 2) : -1;
        int64_t second = 0;
        int64_t nanos = 0;
        int64_t offset;

        if (take(at, ":")) {
                second = read_digits(at, 2, 2);
                nanos = read_fraction(at);
        }
        if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
            nanos < 0 || read_offset(at, &offset) < 0)
                return -1;
        *ret_seconds = hour * HOUR + minute * MINUTE + second - offset;
        *ret_nanos = nanos;
        return 0;
}

static int parse_date(const char *text, struct timespec *ret)
{
        const char *at = text;
        int64_t year = read_digits(&at, 4, 4);
        int64_t month = take(&at, "-") ? read_digits(&at, 2, 2) : -1;
        int64_t day = take(&at, "-") ? read_digits(&at, 2, 2) : -1;
        int64_t seconds = 0;
        int64_t nanos = 0;

        if (year < 1970 || !is_day(year, month, day) ||
            (take(&at, "Tt ") && read_time(&at, &seconds, &nanos) < 0) || *at)
                return -1;
        ret->tv_sec = days_of(year, month, day) * DAY + seconds;
        ret->tv_nsec = nanos;
        return 0;
}

static int parse_seconds(const char *text, struct timespec *ret)
{
        const char *at = text;
        int64_t seconds = read_digits(&at, 1, 12);
        int64_t nanos = read_fraction(&at);

        if (seconds < 0 || seconds > CLOCK_DATE_MAX || nanos < 0 || *at)
                return -1;
        *ret = (struct timespec){.tv_sec = seconds, .tv_nsec = nanos};
        return 0;
}

/* One unit in nanoseconds; 0 for none. */
static int64_t read_unit(const char **at)
{
        const int64_t second = (int64_t)NSEC_PER_SEC;

        if (str_has_prefix(*at, "ms")) {
                *at += 2;
                return (int64_t)NSEC_PER_MSEC;
        }
        switch (*(*at)++) {
        case 'd':
                return DAY * second;
        case 'h':
                return HOUR * second;
        case 'm':
                return MINUTE * second;
        case 's':
                return second;
        default:
                return 0;
        }
}

/* In nanoseconds; at most 292 years. */
static int parse_duration(const char *text, int64_t *ret)
{
        const char *at = text;
        int64_t total = 0;

        while (*at) {
                int64_t value = read_digits(&at, 1, 9);
                int64_t fraction = read_fraction(&at);
                int64_t unit;

                if (value < 0 || fraction < 0 || !*at)
                        return -1;
                unit = read_unit(&at);
                if (unit == 0 || value > (INT64_MAX - total) / unit - 1)
                        return -1;
                total += value * unit +
                         (int64_t)((double)fraction / (double)NSEC_PER_SEC * (double)unit);
        }
        *ret = total;
        return at > text ? 0 : -1;
}

int moment_parse(const char *text, const struct timespec *now, struct timespec *ret,
                 struct error *err)
{
        const int64_t second = (int64_t)NSEC_PER_SEC;
        int64_t ago;

        if (parse_date(text, ret) == 0 || parse_seconds(text, ret) == 0)
                return 0;
        if (parse_duration(text, &ago) < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s' is no time: 2026-11-28T13:35:39Z, seconds since 1970, or "
                                 "how long ago, as 1h30m",
                                 text);
        ret->tv_sec = now->tv_sec - ago / second;
        ret->tv_nsec = now->tv_nsec - ago % second;
        if (ret->tv_nsec < 0) {
                ret->tv_nsec += second;
                ret->tv_sec--;
        }
        if (ret->tv_sec < 0)
                *ret = (struct timespec){.tv_sec = 0};
        return 0;
}
