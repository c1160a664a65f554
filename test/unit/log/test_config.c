/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "pkg/log/log.h"

#include "test/unit/unit.h"

static void the_defaults_are_those_of_the_documentation(void **state)
{
        struct log_config c;

        log_config_init(&c, "/var/log/x");
        assert_string_equal(c.path, "/var/log/x");
        assert_int_equal(c.format, LOG_FORMAT_CRI);
        assert_int_equal(c.policy, LOG_POLICY_BLOCK);
        assert_int_equal(c.max_size, 0);
        assert_int_equal(c.max_files, 5);
        assert_int_equal(c.spill_max, 8 << 20);
        assert_int_equal(c.ring_size, 256 << 10);
}

static void every_parameter_can_be_set(void **state)
{
        struct error err = ERROR_INIT;
        struct log_config c;

        log_config_init(&c, "/x");
        assert_int_equal(log_config_set(&c, "format", "json", &err), 0);
        assert_int_equal(log_config_set(&c, "policy", "spill", &err), 0);
        assert_int_equal(log_config_set(&c, "max_size", "10m", &err), 0);
        assert_int_equal(log_config_set(&c, "max_files", "3", &err), 0);
        assert_int_equal(log_config_set(&c, "spill", "1G", &err), 0);
        assert_int_equal(log_config_set(&c, "ring", "0", &err), 0);
        assert_int_equal(c.format, LOG_FORMAT_JSON);
        assert_int_equal(c.policy, LOG_POLICY_SPILL);
        assert_int_equal(c.max_size, 10 << 20);
        assert_int_equal(c.max_files, 3);
        assert_int_equal(c.spill_max, 1 << 30);
        assert_int_equal(c.ring_size, 0);
        assert_int_equal(log_config_set(&c, "max_size", "65536", &err), 0);
        assert_int_equal(c.max_size, 65536);
        assert_int_equal(log_config_set(&c, "format", "raw", &err), 0);
        assert_int_equal(log_config_set(&c, "policy", "drop", &err), 0);
        assert_int_equal(c.format, LOG_FORMAT_RAW);
        assert_int_equal(c.policy, LOG_POLICY_DROP);
}

static void a_bad_one_is_refused_by_name(void **state)
{
        static const char *const bad[][3] = {
                {"format", "xml", "format='xml': not cri, json or raw"},
                {"policy", "", "policy='': not block, drop or spill"},
                {"max_size", "63k", "max_size='63k': not 0 or a size of at least 64k"},
                {"max_size", "-1", "max_size='-1'"},
                {"max_size", "k", "max_size='k'"},
                {"max_size", "", "max_size=''"},
                {"max_size", "99999999999999999999g", "max_size="},
                {"max_size", "18446744073709551615k", "max_size="},
                {"max_files", "0", "max_files='0': not a number from 1 to 1000"},
                {"max_files", "1001", "max_files"},
                {"max_files", "3k", "max_files"},
                {"spill", "2g", "spill='2g': not a size of at most 1g"},
                {"ring", "17m", "ring='17m': not a size of at most 16m"},
                {"maxsize", "1m", "unknown log parameter 'maxsize'"},
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct error err = ERROR_INIT;
                struct log_config c;

                log_config_init(&c, "/x");
                assert_int_equal(log_config_set(&c, bad[i][0], bad[i][1], &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                if (!strstr(err.msg, bad[i][2]))
                        fail_msg("'%s' is not in '%s'", bad[i][2], err.msg);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_defaults_are_those_of_the_documentation),
                cmocka_unit_test(every_parameter_can_be_set),
                cmocka_unit_test(a_bad_one_is_refused_by_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
