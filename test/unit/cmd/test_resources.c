/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of update as linux.resources.
 */
#include <stdlib.h>

#include "cmd/belay/resources.h"
#include "test/unit/unit.h"

static void is_formatted(const char *const limits[static _ARG_LIMIT_MAX], const char *expected)
{
        struct error err = ERROR_INIT;
        char *json = NULL;

        assert_int_equal(resources_format(limits, &json, &err), 0);
        assert_string_equal(json, expected);
        free(json);
}

static void is_refused(enum arg_limit limit, const char *text, enum status code)
{
        const char *limits[_ARG_LIMIT_MAX] = {NULL};
        struct error err = ERROR_INIT;
        char *json = NULL;

        limits[limit] = text;
        assert_int_equal(resources_format(limits, &json, &err), -1);
        assert_int_equal(err.code, code);
        assert_null(json);
}

static void what_is_not_given_is_not_there(void **state)
{
        const char *limits[_ARG_LIMIT_MAX] = {NULL};

        (void)state;
        is_formatted(limits, "{}");
        limits[LIMIT_MEMORY] = "64m";
        limits[LIMIT_PIDS_LIMIT] = "-1";
        is_formatted(limits, "{\"memory\":{\"limit\":67108864},\"pids\":{\"limit\":-1}}");
}

static void a_zero_changes_nothing_but_idle(void **state)
{
        const char *limits[_ARG_LIMIT_MAX] = {
                [LIMIT_CPU_PERIOD] = "0",
                [LIMIT_KERNEL_MEMORY] = "1g",
                [LIMIT_CPU_IDLE] = "0",
                [LIMIT_CPUSET_CPUS] = "0-1",
        };

        (void)state;
        is_formatted(limits, "{\"cpu\":{\"idle\":0,\"cpus\":\"0-1\"}}");
}

static void bytes_have_units_of_1024(void **state)
{
        static const struct {
                const char *text;
                int64_t value;
        } good[] = {{"512", 512}, {"1k", 1024}, {"2MB", 2 << 20}, {"3GiB", INT64_C(3) << 30},
                    {"-1", -1},   {"7b", 7}};
        struct error err = ERROR_INIT;
        int64_t value = 0;

        (void)state;
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                assert_int_equal(resources_parse_bytes(good[i].text, &value, &err), 0);
                assert_true(value == good[i].value);
        }
}

static void what_is_no_limit_is_refused(void **state)
{
        (void)state;
        is_refused(LIMIT_MEMORY, "lots", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_MEMORY, "-2", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_MEMORY, "-1k", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_MEMORY, "9000000000000000g", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_MEMORY, "1kk", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_CPU_SHARE, "-5", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_CPU_SHARE, "10x", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_CPU_IDLE, "2", STATUS_INVALID_ARGUMENT);
        is_refused(LIMIT_MEM_BW_SCHEMA, "MB:0=10", STATUS_UNIMPLEMENTED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_not_given_is_not_there),
                cmocka_unit_test(a_zero_changes_nothing_but_idle),
                cmocka_unit_test(bytes_have_units_of_1024),
                cmocka_unit_test(what_is_no_limit_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
