/* SPDX-License-Identifier: Apache-2.0
 *
 * Dates: see clock.h for why the C library's are not used. Plain counting, since a log line is as
 * rare as an event of a container.
 */
#include "pkg/base/clock.h"

#include <stdbool.h>
#include <string.h>

enum { SECONDS_PER_DAY = 86400, MONTHS = 12 };

static bool is_leap(int year)
{
        return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_of_month(int year, int month)
{
        static const int days[MONTHS + 1] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

        return days[month] + (month == 2 && is_leap(year));
}

struct clock_date clock_date_utc(int64_t seconds)
{
        int64_t clamped = seconds < 0 ? 0 : seconds > CLOCK_DATE_MAX ? CLOCK_DATE_MAX : seconds;
        int64_t days = clamped / SECONDS_PER_DAY;
        int rest = (int)(clamped % SECONDS_PER_DAY);
        struct clock_date d = {
                .year = 1970,
                .month = 1,
                .hour = rest / 3600,
                .minute = rest / 60 % 60,
                .second = rest % 60,
        };

        while (days >= (is_leap(d.year) ? 366 : 365))
                days -= is_leap(d.year++) ? 366 : 365;
        while (days >= days_of_month(d.year, d.month))
                days -= days_of_month(d.year, d.month++);
        d.day = (int)days + 1;
        return d;
}

/* n digits with zeros in front, which end before `end`. */
static void put_digits(char *end, unsigned value, int n)
{
        while (n-- > 0) {
                *--end = (char)('0' + value % 10);
                value /= 10;
        }
}

void clock_format(int64_t seconds, long nanos, char text[static CLOCK_TEXT_MAX])
{
        static const char shape[CLOCK_TEXT_MAX] = "0000-00-00T00:00:00.000000000Z";
        struct clock_date d = clock_date_utc(seconds);
        const unsigned fraction = nanos < 0                     ? 0
                                  : nanos >= (long)NSEC_PER_SEC ? (unsigned)NSEC_PER_SEC - 1
                                                                : (unsigned)nanos;

        memcpy(text, shape, sizeof(shape));
        put_digits(text + 4, (unsigned)d.year, 4);
        put_digits(text + 7, (unsigned)d.month, 2);
        put_digits(text + 10, (unsigned)d.day, 2);
        put_digits(text + 13, (unsigned)d.hour, 2);
        put_digits(text + 16, (unsigned)d.minute, 2);
        put_digits(text + 19, (unsigned)d.second, 2);
        put_digits(text + 29, fraction, 9);
}
