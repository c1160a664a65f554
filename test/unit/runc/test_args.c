/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

#include "test/unit/unit.h"

static struct runc runtime = {
        .binary = (char *)"/sbin/runc",
        .root = (char *)"/run/r/ns",
        .bundle = (char *)"/b",
        .id = (char *)"c1",
        .log = (char *)"/b/log.json",
};

#define GLOBAL "/sbin/runc --root /run/r/ns --log /b/log.json --log-format json "

static void assert_line(const struct args *args, const char *expected)
{
        _cleanup_free_ char *line = strdup("");

        for (size_t i = 0; i < args->n; i++) {
                char *longer = str_printf("%s%s%s", line, i ? " " : "", args->items[i]);

                assert_non_null(longer);
                free(line);
                line = longer;
        }
        assert_null(args->items[args->n]);
        assert_string_equal(line, expected);
}

static void create_names_bundle_and_pid_file(void **state)
{
        struct args args;

        (void)state;
        args_create(&args, &runtime, "/b/init.pid", NULL);
        assert_line(&args, GLOBAL "create --bundle /b --pid-file /b/init.pid c1");
}

static void create_with_all_options_fits(void **state)
{
        struct runc r = runtime;
        struct args args;

        (void)state;
        r.systemd_cgroup = true;
        r.no_pivot_root = true;
        r.no_new_keyring = true;
        args_create(&args, &r, "/b/init.pid", "/tmp/s");
        assert_line(&args, GLOBAL "--systemd-cgroup create --bundle /b --pid-file /b/init.pid "
                                  "--console-socket /tmp/s --no-pivot --no-new-keyring c1");
}

static void exec_is_always_detached(void **state)
{
        struct args_of_exec exec = {.spec = "/b/e.spec", .pid_file = "/b/e.pid"};
        char cgroups[] = "memory,cpu:a\npids:/b";
        struct args args;

        (void)state;
        args_exec(&args, &runtime, &exec);
        assert_line(&args, GLOBAL "exec --process /b/e.spec --detach --pid-file /b/e.pid c1");
        exec.console = "/tmp/s";
        args_exec(&args, &runtime, &exec);
        assert_line(&args, GLOBAL "exec --process /b/e.spec --console-socket /tmp/s --detach "
                                  "--pid-file /b/e.pid c1");
        exec = (struct args_of_exec){.spec = "s", .cgroups = cgroups, .ignore_paused = true};
        args_exec(&args, &runtime, &exec);
        assert_line(&args, GLOBAL "exec --process s --detach --ignore-paused --cgroup memory,cpu:a "
                                  "--cgroup pids:/b c1");
}

static void the_other_verbs_name_the_container(void **state)
{
        struct args args;

        (void)state;
        args_start(&args, &runtime);
        assert_line(&args, GLOBAL "start c1");
        args_pause(&args, &runtime);
        assert_line(&args, GLOBAL "pause c1");
        args_resume(&args, &runtime);
        assert_line(&args, GLOBAL "resume c1");
        args_update(&args, &runtime);
        assert_line(&args, GLOBAL "update --resources - c1");
        args_kill_all(&args, &runtime, "9");
        assert_line(&args, GLOBAL "kill --all c1 9");
        args_delete(&args, &runtime, false);
        assert_line(&args, GLOBAL "delete c1");
        args_delete(&args, &runtime, true);
        assert_line(&args, GLOBAL "delete --force c1");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(create_names_bundle_and_pid_file),
                cmocka_unit_test(create_with_all_options_fits),
                cmocka_unit_test(exec_is_always_detached),
                cmocka_unit_test(the_other_verbs_name_the_container),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
