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

static void assert_text(int64_t seconds, long nanos, const char *want)
{
        char text[CLOCK_TEXT_MAX];

        clock_format(seconds, nanos, text);
        assert_string_equal(text, want);
}

static void a_time_is_written_as_rfc_3339_has_it(void **state)
{
        assert_text(0, 0, "1970-01-01T00:00:00.000000000Z");
        assert_text(1709164801, 5, "2024-02-29T00:00:01.000000005Z");
        assert_text(1700000000, 123456789, "2023-11-14T22:13:20.123456789Z");
        assert_text(CLOCK_DATE_MAX, 999999999, "9999-12-31T23:59:59.999999999Z");
        assert_text(-5, -1, "1970-01-01T00:00:00.000000000Z");
        assert_text(INT64_MAX, 1000000000, "9999-12-31T23:59:59.999999999Z");
}

static void a_timespec_is_a_number_of_nanoseconds(void **state)
{
        const struct timespec ts = {.tv_sec = 1700000000, .tv_nsec = 7};

        assert_true(clock_timespec_ns(&ts) == UINT64_C(1700000000000000007));
        assert_true(clock_realtime_ns() > UINT64_C(1700000000000000007));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(dates_are_those_of_the_c_library),
                cmocka_unit_test(what_is_out_of_range_is_the_nearest_that_is_not),
                cmocka_unit_test(a_time_is_written_as_rfc_3339_has_it),
                cmocka_unit_test(a_timespec_is_a_number_of_nanoseconds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
