/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of cgroups below a container's, as an exec gives them.
 */
#include <string.h>

#include "pkg/cgroup/cgroup.h"

#include "test/unit/unit.h"

static const struct cgroup hybrid = {
        .n_dirs = 4,
        .dirs = {{"/nowhere/cpu/c", "cpu,cpuacct", false, true, 1},
                 {"/nowhere/memory/c", "memory", false, true, 1},
                 {"/nowhere/systemd/c", "name=systemd", false, true, 1},
                 {"/nowhere/unified/c", "", true, true, 1}},
};
static const struct cgroup unified = {
        .n_dirs = 1,
        .dirs = {{"/nowhere/c", "", true, true, 1}},
};

static int set_up(void **state)
{
        *state = arena_new(1 << 20);
        assert_non_null(*state);
        return 0;
}

static int tear_down(void **state)
{
        arena_free(*state);
        return 0;
}

/* paths: of all directories, in their order. */
static void is_placed(struct arena *arena, const struct cgroup *cg, const char *text,
                      const char *const *paths)
{
        struct error err = ERROR_INIT;
        struct cgroup got;

        if (cgroup_below(cg, text, arena, &got, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(got.n_dirs, cg->n_dirs);
        for (size_t i = 0; i < got.n_dirs; i++) {
                assert_string_equal(got.dirs[i].path, paths[i]);
                assert_int_equal(got.dirs[i].is_v2, cg->dirs[i].is_v2);
        }
}

static void is_refused(struct arena *arena, const struct cgroup *cg, const char *text,
                       const char *why)
{
        struct error err = ERROR_INIT;
        struct cgroup got;

        if (cgroup_below(cg, text, arena, &got, &err) == 0)
                fail_msg("'%s' is taken", text);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        if (!strstr(err.msg, why))
                fail_msg("'%s' does not say '%s'", err.msg, why);
}

static void a_path_is_below_the_containers_own_in_all_hierarchies(void **state)
{
        static const char *const below[] = {"/nowhere/cpu/c/a/b", "/nowhere/memory/c/a/b",
                                            "/nowhere/systemd/c/a/b", "/nowhere/unified/c"};
        static const char *const own[] = {"/nowhere/cpu/c", "/nowhere/memory/c",
                                          "/nowhere/systemd/c", "/nowhere/unified/c"};
        static const char *const v2[] = {"/nowhere/c/a"};

        is_placed(*state, &hybrid, "a/b", below);
        is_placed(*state, &hybrid, "//a/./b/", below);
        is_placed(*state, &hybrid, "/", own);
        is_placed(*state, &unified, "a", v2);
        is_placed(*state, &unified, "/a", v2);
}

static void on_v1_each_controller_may_have_its_own(void **state)
{
        static const char *const one[] = {"/nowhere/cpu/c", "/nowhere/memory/c/a",
                                          "/nowhere/systemd/c", "/nowhere/unified/c"};
        static const char *const several[] = {"/nowhere/cpu/c/x", "/nowhere/memory/c/x",
                                              "/nowhere/systemd/c/y", "/nowhere/unified/c"};

        is_placed(*state, &hybrid, "memory:a", one);
        is_placed(*state, &hybrid, "cpuacct,memory:x\nname=systemd:/y", several);
        is_placed(*state, &hybrid, "cpu,cpuacct,memory:x\nname=systemd:/y", several);
}

static void nothing_leads_out_of_the_containers_cgroup(void **state)
{
        static const char *const bad[] = {"..", "/..", "a/..", "../c", "a/../../b", "/../../"};

        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                is_refused(*state, &hybrid, bad[i], "'..'");
                is_refused(*state, &unified, bad[i], "'..'");
        }
        is_refused(*state, &hybrid, "memory:..", "'..'");
}

static void what_names_no_cgroup_is_refused(void **state)
{
        char longest[5000];

        is_refused(*state, &hybrid, "whatever:/", "'whatever'");
        is_refused(*state, &hybrid, "mem:/", "'mem'");
        is_refused(*state, &unified, "memory:a", "'memory'");
        is_refused(*state, &hybrid, ":a", "empty");
        is_refused(*state, &hybrid, "memory,:a", "empty");
        is_refused(*state, &hybrid, "a\nmemory:b", "each needs its controllers");
        is_refused(*state, &hybrid, "cpu:a\ncpuacct:b", "another path");
        is_refused(*state, &hybrid, "a\tb", "control character");
        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        is_refused(*state, &unified, longest, "too long");
        for (size_t i = 0; i < sizeof(longest) - 1; i += 100)
                longest[i] = '/';
        is_refused(*state, &unified, longest, "too long");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(
                        a_path_is_below_the_containers_own_in_all_hierarchies, set_up, tear_down),
                cmocka_unit_test_setup_teardown(on_v1_each_controller_may_have_its_own, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(nothing_leads_out_of_the_containers_cgroup, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(what_names_no_cgroup_is_refused, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
