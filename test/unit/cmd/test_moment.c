/* SPDX-License-Identifier: Apache-2.0
 *
 * Points in time as people write them.
 */
#include <stdint.h>

#include "cmd/belay/moment.h"
#include "test/unit/unit.h"

static const struct timespec now = {.tv_sec = 1000000000, .tv_nsec = 250000000};

static void is_read(const char *text, int64_t seconds, long nanos)
{
        struct error err = ERROR_INIT;
        struct timespec ts = {.tv_sec = -1};

        assert_int_equal(moment_parse(text, &now, &ts, &err), 0);
        assert_int_equal(ts.tv_sec, seconds);
        assert_int_equal(ts.tv_nsec, nanos);
}

static void dates_are_those_of_rfc_3339(void **state)
{
        (void)state;
        is_read("1970-01-01T00:00:00Z", 0, 0);
        is_read("2001-09-09T01:46:40Z", 1000000000, 0);
        is_read("2001-09-09t01:46:40.5z", 1000000000, 500000000);
        is_read("2001-09-09 03:46:40.000000001+02:00", 1000000000, 1);
        is_read("2001-09-08T20:16:40-05:30", 1000000000, 0);
        is_read("2024-02-29T12:00:00Z", 1709208000, 0);
        is_read("2100-03-01T00:00:00Z", 4107542400, 0);
        is_read("9999-12-31T23:59:59Z", INT64_C(253402300799), 0);
}

static void the_end_of_a_date_may_be_missing(void **state)
{
        (void)state;
        is_read("2001-09-09T01:46:40", 1000000000, 0);
        is_read("2001-09-09T01:46", 1000000000 - 40, 0);
        is_read("2001-09-09", 1000000000 - 6400, 0);
}

static void numbers_are_seconds_since_1970(void **state)
{
        (void)state;
        is_read("0", 0, 0);
        is_read("1700000000", 1700000000, 0);
        is_read("1700000000.000000001", 1700000000, 1);
        is_read("1700000000.5", 1700000000, 500000000);
}

static void durations_are_before_now(void **state)
{
        (void)state;
        is_read("0s", 1000000000, 250000000);
        is_read("90s", 1000000000 - 90, 250000000);
        is_read("10m", 1000000000 - 600, 250000000);
        is_read("1h30m", 1000000000 - 5400, 250000000);
        is_read("2d", 1000000000 - 172800, 250000000);
        is_read("1.5h", 1000000000 - 5400, 250000000);
        is_read("500ms", 1000000000 - 1, 750000000);
        is_read("100000d", 0, 0);
}

static void what_is_no_time_is_refused(void **state)
{
        static const char *const texts[] = {
                "",
                "now",
                "-5",
                ".5",
                "5.",
                "10x",
                "m",
                "1h30",
                "1m-",
                "106752d",
                "99999999999h",
                "2001-13-01",
                "2001-00-01",
                "2001-02-29",
                "2100-02-29",
                "2001-04-31",
                "2001-1-1",
                "1969-12-31",
                "2001-09-09T",
                "2001-09-09T24:00:00Z",
                "2001-09-09T01:60:00Z",
                "2001-09-09T01:46:40+0200",
                "2001-09-09T01:46:40X",
                "2001-09-09T01:46:40.Z",
                "2001-09-09T01:46:40ZZ",
                "253402300800",
        };

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
                struct error err = ERROR_INIT;
                struct timespec ts;

                assert_int_equal(moment_parse(texts[i], &now, &ts, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(dates_are_those_of_rfc_3339),
                cmocka_unit_test(the_end_of_a_date_may_be_missing),
                cmocka_unit_test(numbers_are_seconds_since_1970),
                cmocka_unit_test(durations_are_before_now),
                cmocka_unit_test(what_is_no_time_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
