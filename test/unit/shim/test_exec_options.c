/* SPDX-License-Identifier: Apache-2.0
 *
 * What an exec is asked for in metadata of the call.
 */
#include <string.h>

#include "pkg/base/limits.h"

#include "shim/exec_options.h"
#include "test/unit/unit.h"

static void a_paused_container_takes_only_an_exec_that_ignores_it(void **state)
{
        struct exec_options options = {NULL};

        (void)state;
        assert_int_equal(exec_options_verb(&options), VERB_EXEC);
        options.ignore_paused = true;
        assert_int_equal(exec_options_verb(&options), VERB_EXEC_PAUSED);
}

static void cgroups_are_kept_as_they_are(void **state)
{
        struct exec_options options = {NULL};
        struct error err = ERROR_INIT;

        (void)state;
        assert_int_equal(exec_options_set_cgroup(&options, "memory:a\ncpu:b", &err), 0);
        assert_string_equal(options.cgroup, "memory:a\ncpu:b");
        exec_options_deinit(&options);
        exec_options_deinit(&options);
}

static void is_refused(const char *cgroup)
{
        struct exec_options options = {NULL};
        struct error err = ERROR_INIT;

        assert_int_equal(exec_options_set_cgroup(&options, cgroup, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_null(options.cgroup);
}

static void nothing_and_too_much_are_refused(void **state)
{
        char lines[2 * LIMIT_EXEC_CGROUPS + 2];
        char bytes[LIMIT_EXEC_CGROUP_BYTES + 2];

        (void)state;
        is_refused("");
        for (size_t i = 0; i < sizeof(lines); i++)
                lines[i] = i % 2 ? '\n' : 'a';
        lines[sizeof(lines) - 1] = '\0';
        is_refused(lines);
        memset(bytes, 'a', sizeof(bytes));
        bytes[sizeof(bytes) - 1] = '\0';
        is_refused(bytes);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_paused_container_takes_only_an_exec_that_ignores_it),
                cmocka_unit_test(cgroups_are_kept_as_they_are),
                cmocka_unit_test(nothing_and_too_much_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
