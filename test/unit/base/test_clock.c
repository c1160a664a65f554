/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <time.h>

#include "pkg/base/clock.h"

#include "test/unit/unit.h"

static void assert_as_gmtime(int64_t seconds)
{
        struct clock_date d = clock_date_utc(seconds);
        time_t t = (time_t)seconds;
        struct tm tm;

        assert_non_null(gmtime_r(&t, &tm));
        if (d.year != tm.tm_year + 1900 || d.month != tm.tm_mon + 1 || d.day != tm.tm_mday ||
            d.hour != tm.tm_hour || d.minute != tm.tm_min || d.second != tm.tm_sec)
                fail_msg("%lld is %d-%d-%d %d:%d:%d", (long long)seconds, d.year, d.month, d.day,
                         d.hour, d.minute, d.second);
}

static void dates_are_those_of_the_c_library(void **state)
{
        /* each day of 450 years, with its first and its last second */
        for (int64_t day = 0; day < INT64_C(164400); day++) {
                assert_as_gmtime(day * 86400);
                assert_as_gmtime(day * 86400 + 86399);
        }
        for (int64_t second = 0; second < 86400; second++)
                assert_as_gmtime(INT64_C(1709164800) + second); /* 2024-02-29 */
        assert_as_gmtime(CLOCK_DATE_MAX);
}

static void what_is_out_of_range_is_the_nearest_that_is_not(void **state)
{
        assert_int_equal(clock_date_utc(-1).year, 1970);
        assert_int_equal(clock_date_utc(INT64_MIN).second, 0);
        assert_int_equal(clock_date_utc(CLOCK_DATE_MAX + 1).year, 9999);
        assert_int_equal(clock_date_utc(INT64_MAX).day, 31);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(dates_are_those_of_the_c_library),
                cmocka_unit_test(what_is_out_of_range_is_the_nearest_that_is_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
