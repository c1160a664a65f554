/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/cgroup/convert.h"
#include "pkg/cgroup/internal.h"

#include "test/unit/unit.h"

static const struct cgroup_layout hybrid = {
        .n_hierarchies = 3,
        .hierarchies =
                {
                        {.mountpoint = "/sys/fs/cgroup/cpu",
                         .root = "/",
                         .controllers = "cpu,cpuacct"},
                        {.mountpoint = "/sys/fs/cgroup/systemd",
                         .root = "/x",
                         .controllers = "name=systemd"},
                        {.mountpoint = "/sys/fs/cgroup/unified",
                         .root = "/",
                         .controllers = "",
                         .is_v2 = true},
                },
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

static void assert_planned(struct arena *arena, const char *path, const char *want)
{
        struct cgroup cg;
        struct error err = ERROR_INIT;
        char full[256];

        if (cgroup_plan(&hybrid, path, "id1", arena, &cg, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(cg.n_dirs, 3);
        for (size_t i = 0; i < cg.n_dirs; i++) {
                strcpy(full, hybrid.hierarchies[i].mountpoint);
                strcat(full, want);
                assert_string_equal(cg.dirs[i].path, full);
                assert_int_equal(cg.dirs[i].is_v2, hybrid.hierarchies[i].is_v2);
                assert_false(cg.dirs[i].created);
        }
}

static void assert_refused(struct arena *arena, const char *path, int code, const char *text)
{
        struct cgroup cg;
        struct error err = ERROR_INIT;

        assert_int_equal(cgroup_plan(&hybrid, path, "id1", arena, &cg, &err), -1);
        assert_int_equal(err.code, code);
        if (strncmp(err.msg, "linux.cgroupsPath", 17) != 0 || !strstr(err.msg, text))
                fail_msg("'%s' lacks '%s'", err.msg, text);
}

static void a_container_is_below_the_mount_of_every_hierarchy(void **state)
{
        assert_planned(*state, "/default/redis", "/default/redis");
        assert_planned(*state, "", "/id1");
        assert_planned(*state, NULL, "/id1");
        assert_planned(*state, "relative/path", "/relative/path");
        assert_planned(*state, "//a/./b//c/", "/a/b/c");
        assert_planned(*state, "/a..b/...", "/a..b/...");
        assert_planned(*state, "/with:colons:in/it", "/with:colons:in/it");
        assert_planned(*state, "/a b", "/a b");
}

static void paths_that_escape_are_refused(void **state)
{
        char longest[PATH_MAX + 10];

        assert_refused(*state, "/../x", STATUS_INVALID_ARGUMENT, "'..'");
        assert_refused(*state, "a/../b", STATUS_INVALID_ARGUMENT, "'..'");
        assert_refused(*state, "..", STATUS_INVALID_ARGUMENT, "'..'");
        assert_refused(*state, "/", STATUS_INVALID_ARGUMENT, "root");
        assert_refused(*state, "/.", STATUS_INVALID_ARGUMENT, "root");
        assert_refused(*state, "/a\nb", STATUS_INVALID_ARGUMENT, "control character");
        memset(longest, 'a', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        assert_refused(*state, longest, STATUS_INVALID_ARGUMENT, "too long");
        longest[NAME_MAX + 1] = '\0';
        assert_refused(*state, longest, STATUS_INVALID_ARGUMENT, "component");
        for (size_t i = 0; i < sizeof(longest); i++)
                longest[i] = i % 100 ? 'a' : '/';
        longest[PATH_MAX - 20] = '\0';
        assert_refused(*state, longest, STATUS_INVALID_ARGUMENT, "too long");
}

static void the_systemd_form_is_refused_by_name(void **state)
{
        assert_refused(*state, "system.slice:cri-containerd:abc", STATUS_INVALID_ARGUMENT,
                       "systemd");
        assert_refused(*state, ":docker:abc", STATUS_INVALID_ARGUMENT, "systemd");
}

static void a_host_without_cgroups_is_an_error(void **state)
{
        struct cgroup_layout none = {0};
        struct cgroup cg;
        struct error err = ERROR_INIT;

        assert_int_equal(cgroup_plan(&none, "/x", "x", *state, &cg, &err), -1);
}

static void what_is_formatted_is_parsed_back(void **state)
{
        struct cgroup cg = {
                .n_dirs = 4,
                .dirs = {{.path = "/a b/c:d", .controllers = "cpu,cpuacct", .created = true},
                         {.path = "/x", .controllers = "name=systemd"},
                         {.path = "/y",
                          .controllers = "",
                          .is_v2 = true,
                          .created = true,
                          .n_parents = 2},
                         {.path = "/z", .controllers = "", .is_v2 = true}},
        };
        struct cgroup back;
        struct error err = ERROR_INIT;
        char *text;

        assert_int_equal(cgroup_format(&cg, *state, &text, &err), 0);
        assert_string_equal(text,
                            "v1+0:cpu,cpuacct /a b/c:d\nv1:name=systemd /x\nv2+2 /y\nv2 /z\n");
        assert_int_equal(cgroup_parse(text, *state, &back, &err), 0);
        assert_int_equal(back.n_dirs, 4);
        for (size_t i = 0; i < 4; i++) {
                assert_string_equal(back.dirs[i].path, cg.dirs[i].path);
                assert_string_equal(back.dirs[i].controllers, cg.dirs[i].controllers);
                assert_int_equal(back.dirs[i].is_v2, cg.dirs[i].is_v2);
                assert_int_equal(back.dirs[i].created, cg.dirs[i].created);
                assert_int_equal(back.dirs[i].n_parents, cg.dirs[i].n_parents);
        }
        assert_int_equal(cgroup_parse("", *state, &back, &err), 0);
        assert_int_equal(back.n_dirs, 0);
        assert_int_equal(cgroup_parse("v2+ /y", *state, &back, &err), 0);
        assert_true(back.dirs[0].created);
}

static void a_forged_text_is_refused(void **state)
{
        static const char *const bad[] = {
                "v3 /x\n",       "v1 /x\n",  "v2:cpu /x\n", "v2\n",
                "v2 x\n",        "v2 \n",    "v2 /\n",      "v2 /a/../b\n",
                "v2 /a//b\n",    "v2 /a/\n", "v2- /x\n",    "v2+1x /x\n",
                "v2+99999 /x\n", "\n",       "v1+:cpu\n",   "v2 /./a\n",
        };

        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                struct cgroup cg;
                struct error err = ERROR_INIT;

                if (cgroup_parse(bad[i], *state, &cg, &err) == 0)
                        fail_msg("'%s' was taken", bad[i]);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        }
}

static void shares_become_weights_as_runc_has_it(void **state)
{
        assert_int_equal(cgroup_v2_weight(0), 1);
        assert_int_equal(cgroup_v2_weight(2), 1);
        assert_int_equal(cgroup_v2_weight(1024), 100);
        assert_int_equal(cgroup_v2_weight(262144), 10000);
        assert_int_equal(cgroup_v2_weight(UINT64_MAX), 10000);
        for (uint64_t shares = 2; shares < 262144; shares += 97) {
                assert_in_range(cgroup_v2_weight(shares), 1, 10000);
                assert_true(cgroup_v2_weight(shares) <= cgroup_v2_weight(shares + 97));
        }
}

static int64_t swap_of(struct oci_memory m)
{
        struct error err = ERROR_INIT;
        int64_t value = -2;
        bool has;

        assert_int_equal(cgroup_v2_swap(&m, &has, &value, &err), 0);
        return has ? value : -2;
}

static void swap_is_counted_without_memory_on_v2(void **state)
{
        struct error err = ERROR_INIT;
        struct oci_memory below = {.has_limit = true, .limit = 100, .has_swap = true, .swap = 99};
        struct oci_memory alone = {.has_swap = true, .swap = 99};
        int64_t value;
        bool has;

        assert_int_equal(swap_of((struct oci_memory){.has_limit = true, .limit = 100}), -2);
        assert_int_equal(swap_of((struct oci_memory){.has_limit = true, .limit = -1}), -1);
        assert_int_equal(swap_of((struct oci_memory){.has_swap = true, .swap = -1}), -1);
        assert_int_equal(swap_of((struct oci_memory){
                                 .has_limit = true, .limit = 100, .has_swap = true, .swap = 300}),
                         200);
        assert_int_equal(swap_of((struct oci_memory){
                                 .has_limit = true, .limit = 100, .has_swap = true, .swap = 100}),
                         0);
        assert_int_equal(cgroup_v2_swap(&below, &has, &value, &err), -1);
        assert_non_null(strstr(err.msg, "linux.resources.memory.swap"));
        assert_int_equal(cgroup_v2_swap(&alone, &has, &value, &err), -1);
}

static void page_sizes_are_checked_before_they_become_file_names(void **state)
{
        struct error err = ERROR_INIT;

        assert_int_equal(hugepage_size_check("2MB", 0, &err), 0);
        assert_int_equal(hugepage_size_check("64KB", 0, &err), 0);
        assert_int_equal(hugepage_size_check("1GB", 0, &err), 0);
        assert_int_equal(hugepage_size_check("MB", 1, &err), -1);
        assert_non_null(strstr(err.msg, "hugepageLimits[1].pageSize"));
        assert_int_equal(hugepage_size_check("2MB/../x", 0, &err), -1);
        assert_int_equal(hugepage_size_check("2", 0, &err), -1);
        assert_int_equal(hugepage_size_check("", 0, &err), -1);
        assert_int_equal(hugepage_size_check(NULL, 0, &err), -1);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_container_is_below_the_mount_of_every_hierarchy),
                CASE(paths_that_escape_are_refused),
                CASE(the_systemd_form_is_refused_by_name),
                CASE(a_host_without_cgroups_is_an_error),
                CASE(what_is_formatted_is_parsed_back),
                CASE(a_forged_text_is_refused),
                CASE(shares_become_weights_as_runc_has_it),
                CASE(swap_is_counted_without_memory_on_v2),
                CASE(page_sizes_are_checked_before_they_become_file_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
