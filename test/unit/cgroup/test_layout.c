/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/cgroup.h"

#include "test/unit/unit.h"

#define HYBRID                                                                                           \
        "23 1 0:21 / / rw - ext4 /dev/root rw\n"                                                         \
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"                            \
        "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:4 master:2 - cgroup cgroup rw,cpu,cpuacct\n" \
        "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,clone_children\n"               \
        "34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"                 \
        "35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"

#define UNIFIED                                   \
        "23 1 0:21 / / rw - ext4 /dev/root rw\n"  \
        "24 23 0:22 / /sys rw - sysfs sysfs rw\n" \
        "31 24 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

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

static struct cgroup_layout parse(struct arena *arena, const char *text)
{
        struct cgroup_layout layout;
        struct error err = ERROR_INIT;

        if (cgroup_layout_parse(text, arena, &layout, &err) < 0)
                fail_msg("%s", err.msg);
        return layout;
}

static void a_hybrid_host_has_v1_hierarchies_and_a_v2_tree(void **state)
{
        struct cgroup_layout layout = parse(*state, HYBRID);

        assert_int_equal(layout.n_hierarchies, 4);
        assert_false(layout.is_unified);
        assert_string_equal(layout.hierarchies[0].mountpoint, "/sys/fs/cgroup/cpu");
        assert_string_equal(layout.hierarchies[0].controllers, "cpu,cpuacct");
        assert_string_equal(layout.hierarchies[0].root, "/");
        assert_false(layout.hierarchies[0].is_v2);
        assert_string_equal(layout.hierarchies[1].controllers, "memory");
        assert_string_equal(layout.hierarchies[2].controllers, "name=systemd");
        assert_string_equal(layout.hierarchies[3].controllers, "");
        assert_true(layout.hierarchies[3].is_v2);
}

static void a_unified_host_is_told_apart(void **state)
{
        struct cgroup_layout layout = parse(*state, UNIFIED);

        assert_int_equal(layout.n_hierarchies, 1);
        assert_true(layout.is_unified);
        assert_string_equal(layout.hierarchies[0].mountpoint, "/sys/fs/cgroup");
}

static void escapes_in_paths_are_resolved(void **state)
{
        struct cgroup_layout layout =
                parse(*state, "30 1 0:1 /a\\040b /mnt/c\\040g\\134x\\011 rw - cgroup x rw,pids\n");

        assert_string_equal(layout.hierarchies[0].mountpoint, "/mnt/c g\\x\t");
        assert_string_equal(layout.hierarchies[0].root, "/a b");
}

static void of_several_mounts_of_a_hierarchy_the_whole_one_is_taken(void **state)
{
        struct cgroup_layout layout =
                parse(*state, "30 1 0:1 /docker/x /mnt/part rw - cgroup x rw,pids\n"
                              "31 1 0:1 / /mnt/whole rw - cgroup x rw,pids\n"
                              "32 1 0:1 / /mnt/again rw - cgroup x rw,pids\n");

        assert_int_equal(layout.n_hierarchies, 1);
        assert_string_equal(layout.hierarchies[0].mountpoint, "/mnt/whole");
}

static void mounts_that_are_covered_by_another_do_not_count(void **state)
{
        /* cgroup2 on top of the tmpfs, as a private mount namespace may have it. */
        struct cgroup_layout above =
                parse(*state, HYBRID "40 31 0:32 / /sys/fs/cgroup rw - cgroup2 none rw\n");
        /* Another mount on the same mountpoint. */
        struct cgroup_layout same =
                parse(*state, HYBRID "41 32 0:50 / /sys/fs/cgroup/cpu rw - tmpfs x rw\n");
        /* On a parent's mount, a level higher. */
        struct cgroup_layout higher = parse(*state, HYBRID "42 23 0:51 / /sys rw - tmpfs x rw\n");

        assert_int_equal(above.n_hierarchies, 1);
        assert_true(above.is_unified);
        assert_string_equal(above.hierarchies[0].mountpoint, "/sys/fs/cgroup");
        assert_int_equal(same.n_hierarchies, 3);
        assert_string_equal(same.hierarchies[0].controllers, "memory");
        assert_int_equal(higher.n_hierarchies, 0);
}

static void a_mount_beside_or_below_covers_nothing(void **state)
{
        struct cgroup_layout layout =
                parse(*state, HYBRID "40 31 0:50 / /sys/fs/cgroup/cp rw - tmpfs x rw\n"
                                     "41 32 0:51 / /sys/fs/cgroup/cpu/below rw - tmpfs x rw\n");

        assert_int_equal(layout.n_hierarchies, 4);
}

static void a_hierarchy_without_controllers_or_name_is_left_out(void **state)
{
        struct cgroup_layout layout = parse(*state, "30 1 0:1 / /x rw - cgroup x rw,noprefix\n");

        assert_int_equal(layout.n_hierarchies, 0);
        assert_int_equal(parse(*state, "").n_hierarchies, 0);
}

static void malformed_lines_are_errors_with_their_number(void **state)
{
        static const char *const bad[] = {
                "x 1 0:1 / / rw - a b c\n",
                "30 y 0:1 / / rw - a b c\n",
                "30 1 0:1 / / rw a b c d e\n",
                "30 1 0:1 / / rw - a\n",
                "30 1 0:1 / relative rw - a b c\n",
                "99999999999999999999999 1 0:1 / / rw - a b c\n",
        };

        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                _cleanup_free_ char *text = NULL;
                struct cgroup_layout layout;
                struct error err = ERROR_INIT;

                assert_true(asprintf(&text, "%s%s", UNIFIED, bad[i]) > 0);
                assert_int_equal(cgroup_layout_parse(text, *state, &layout, &err), -1);
                if (!strstr(err.msg, "line 4"))
                        fail_msg("'%s' for '%s'", err.msg, bad[i]);
        }
}

static void a_loop_among_the_parents_ends(void **state)
{
        (void)parse(*state, "30 31 0:1 / /x/y rw - cgroup x rw,cpu\n"
                            "31 30 0:2 / /x rw - tmpfs x rw\n"
                            "32 77 0:2 / /x rw - tmpfs x rw\n");
}

static void more_hierarchies_than_there_is_room_for_are_an_error(void **state)
{
        _cleanup_free_ char *text = NULL;
        struct cgroup_layout layout;
        struct error err = ERROR_INIT;
        size_t len;
        FILE *f = open_memstream(&text, &len);

        assert_non_null(f);
        for (int i = 0; i <= CGROUP_HIERARCHIES_MAX; i++)
                fprintf(f, "%d 1 0:1 / /x%d rw - cgroup x rw,name=n%d\n", 30 + i, i, i);
        fclose(f);
        assert_int_equal(cgroup_layout_parse(text, *state, &layout, &err), -1);
        assert_non_null(strstr(err.msg, "more than 16"));
}

static void the_layout_of_this_host_can_be_read(void **state)
{
        struct cgroup_layout layout;
        struct error err = ERROR_INIT;

        assert_int_equal(cgroup_layout_read(*state, &layout, &err), 0);
}

static void no_memory_is_an_error(void **state)
{
        struct arena *arena = arena_new(8);
        struct cgroup_layout layout;
        struct error err = ERROR_INIT;

        assert_int_equal(cgroup_layout_parse(HYBRID, arena, &layout, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        arena_free(arena);
}

static void a_process_is_found_in_the_hierarchies_in_which_it_was_moved(void **state)
{
        struct cgroup_layout layout = parse(*state, HYBRID);
        struct error err = ERROR_INIT;
        struct cgroup cg;

        assert_int_equal(cgroup_of_process(&layout,
                                           "4:memory:/pod/c1\n3:cpu,cpuacct:/pod/c1\n"
                                           "2:name=systemd:/\n1:cpu:/not/this\n0::/shim\n",
                                           "4:memory:/shim\n3:cpu,cpuacct:/\n2:name=systemd:/shim\n"
                                           "0::/shim\n",
                                           *state, &cg, &err),
                         0);
        assert_int_equal(cg.n_dirs, 2); /* systemd: the root; v2: where we are, too */
        assert_string_equal(cg.dirs[0].path, "/sys/fs/cgroup/cpu/pod/c1");
        assert_string_equal(cg.dirs[1].path, "/sys/fs/cgroup/memory/pod/c1");
        assert_false(cg.dirs[0].created || cg.dirs[1].created);
        layout = parse(*state, UNIFIED);
        assert_int_equal(cgroup_of_process(&layout, "0::/a b/c:1\n", "0::/a\n", *state, &cg, &err),
                         0);
        assert_int_equal(cg.n_dirs, 1);
        assert_true(cg.dirs[0].is_v2);
        assert_string_equal(cg.dirs[0].path, "/sys/fs/cgroup/a b/c:1");
        assert_int_equal(cgroup_of_process(&layout, "0::/../x\n", "0::/\n", *state, &cg, &err), 0);
        assert_int_equal(cg.n_dirs, 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_hybrid_host_has_v1_hierarchies_and_a_v2_tree),
                CASE(a_process_is_found_in_the_hierarchies_in_which_it_was_moved),
                CASE(a_unified_host_is_told_apart),
                CASE(escapes_in_paths_are_resolved),
                CASE(of_several_mounts_of_a_hierarchy_the_whole_one_is_taken),
                CASE(mounts_that_are_covered_by_another_do_not_count),
                CASE(a_mount_beside_or_below_covers_nothing),
                CASE(a_hierarchy_without_controllers_or_name_is_left_out),
                CASE(malformed_lines_are_errors_with_their_number),
                CASE(a_loop_among_the_parents_ends),
                CASE(more_hierarchies_than_there_is_room_for_are_an_error),
                CASE(the_layout_of_this_host_can_be_read),
                CASE(no_memory_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
