/* SPDX-License-Identifier: Apache-2.0
 *
 * Durations of the command line.
 */
#include "cmd/belay/duration.h"
#include "test/unit/unit.h"

static void is_read(const char *text, uint64_t expected)
{
        struct error err = ERROR_INIT;
        uint64_t ns = 0;

        if (duration_parse(text, &ns, &err) < 0)
                fail_msg("%s", err.msg);
        assert_true(ns == expected);
}

static void units_are_those_of_runcs_callers(void **state)
{
        (void)state;
        is_read("5s", UINT64_C(5000000000));
        is_read("500ms", 500000000);
        is_read("250us", 250000);
        is_read("7ns", 7);
        is_read("1m30s", UINT64_C(90000000000));
        is_read("24h", UINT64_C(86400000000000));
        is_read("0.5s", 500000000);
        is_read(".25s", 250000000);
        is_read("1.5m", UINT64_C(90000000000));
        is_read("1.0000000000000000001s", 1000000000);
}

static void a_number_alone_is_seconds(void **state)
{
        (void)state;
        is_read("2", UINT64_C(2000000000));
        is_read("0.1", 100000000);
}

static void what_is_no_duration_is_refused(void **state)
{
        static const char *const bad[] = {"",
                                          "s",
                                          "-1s",
                                          "0",
                                          "0s",
                                          "0.0s",
                                          "1x",
                                          "1 s",
                                          " 1s",
                                          "1ss",
                                          "1.s.",
                                          "24h1ns",
                                          "1e3",
                                          "inf",
                                          ".",
                                          ".s",
                                          "99999999999999999s",
                                          "25h",
                                          "1s2h3x",
                                          "5s ",
                                          "18446744073709551617ns"};

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                struct error err = ERROR_INIT;
                uint64_t ns = 0;

                if (duration_parse(bad[i], &ns, &err) == 0)
                        fail_msg("'%s' is taken", bad[i]);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(units_are_those_of_runcs_callers),
                cmocka_unit_test(a_number_alone_is_seconds),
                cmocka_unit_test(what_is_no_duration_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
