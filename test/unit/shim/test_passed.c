/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors to pass on, as metadata of a call names them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/limits.h"

#include "shim/passed.h"
#include "test/unit/unit.h"

static void process_count_and_map_are_read(void **state)
{
        struct error err = ERROR_INIT;
        struct passed passed = {0};
        char text[64];
        int pidfd;

        (void)state;
        snprintf(text, sizeof(text), "%d/1/1011", (int)getpid());
        assert_int_equal(passed_parse(&passed, text, &err), 0);
        assert_int_equal(passed.n_listen, 1);
        assert_string_equal(passed.map, "1011");
        assert_string_equal(passed_for_executor(&passed).map, "1011");
        pidfd = passed.pidfd;
        assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
        passed_deinit(&passed);
        passed_deinit(&passed);
        assert_int_equal(fcntl(pidfd, F_GETFD), -1);
}

static void what_does_not_name_descriptors_is_refused(void **state)
{
        static const char *const bad[] = {"",      "1",       "1/0",    "1/0/",           "x/0/1",
                                          "0/0/1", "1/2/1",   "1/-1/1", "1/0/2",          "1/0/1 ",
                                          "/0/1",  "1/0/1/1", "-1/0/1", "99999999999/0/1"};

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                struct error err = ERROR_INIT;
                struct passed passed = {0};

                if (passed_parse(&passed, bad[i], &err) == 0)
                        fail_msg("'%s' is taken", bad[i]);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_null(passed.map);
        }
}

static void more_than_the_limit_is_refused(void **state)
{
        char text[LIMIT_PASSED_FDS + 32];
        struct error err = ERROR_INIT;
        struct passed passed = {0};
        int n;

        (void)state;
        n = snprintf(text, sizeof(text), "%d/0/", (int)getpid());
        memset(text + n, '1', LIMIT_PASSED_FDS);
        text[n + LIMIT_PASSED_FDS] = '\0';
        assert_int_equal(passed_parse(&passed, text, &err), 0);
        passed_deinit(&passed);
        memcpy(text + n + LIMIT_PASSED_FDS, "1", 2);
        assert_int_equal(passed_parse(&passed, text, &err), -1);
}

static void a_process_that_is_gone_is_named(void **state)
{
        struct error err = ERROR_INIT;
        struct passed passed = {0};

        (void)state;
        assert_int_equal(passed_parse(&passed, "2147483647/0/1", &err), -1);
        assert_non_null(strstr(err.msg, "2147483647"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(process_count_and_map_are_read),
                cmocka_unit_test(what_does_not_name_descriptors_is_refused),
                cmocka_unit_test(more_than_the_limit_is_refused),
                cmocka_unit_test(a_process_that_is_gone_is_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
