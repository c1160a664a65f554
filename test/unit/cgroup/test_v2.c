/* SPDX-License-Identifier: Apache-2.0
 *
 * Cgroup v2, in a mount namespace of its own in which the v2 tree lies on /sys/fs/cgroup: the tree
 * is the host's, so only directories of the test's name are made in it, and controllers that had to
 * be enabled at its root are disabled again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/oom.h"
#include "pkg/cgroup/oom_private.h"

#include "test/unit/cgroup/harness.h"
#include "test/unit/unit.h"

enum { EXIT_SKIP = 77, MIB = 1 << 20 };

static void the_layout_is_unified(void **state)
{
        struct harness *h = *state;

        assert_true(h->layout.is_unified);
        assert_int_equal(h->cg.n_dirs, 1);
        assert_true(cgroup_is_on_v2(&h->cg));
        assert_int_equal(h->cg.dirs[0].n_parents, 1);
        assert_true(harness_exists(h->cg.dirs[0].path));
}

static void members_are_listed_with_those_of_sub_cgroups(void **state)
{
        struct harness *h = *state;
        char *sub = arena_printf(h->arena, "%s/sub", h->cg.dirs[0].path);
        struct error err;
        pid_t *list;
        size_t n;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);

        assert_int_equal(mkdir(sub, 0755), 0);
        assert_int_equal(file_write(AT_FDCWD, arena_printf(h->arena, "%s/cgroup.procs", sub),
                                    arena_printf(h->arena, "%d", (int)pid)),
                         0);
        (void)harness_child(h, &h->cg, NULL, NULL);
        assert_ok(cgroup_pids(&h->cg, &list, &n, &err), err);
        assert_int_equal(n, 2);
        free(list);
}

static void one_write_kills_all(void **state)
{
        struct harness *h = *state;
        struct error err;
        pid_t a = harness_child(h, &h->cg, NULL, NULL);
        pid_t b = harness_child(h, &h->cg, NULL, NULL);

        if (!cgroup_has_kill(&h->cg))
                return;
        assert_ok(cgroup_kill(&h->cg, SIGKILL, 0, &err), err);
        assert_int_equal(harness_wait(h, a), 1000 + SIGKILL);
        assert_int_equal(harness_wait(h, b), 1000 + SIGKILL);
}

static void other_signals_reach_all(void **state)
{
        struct harness *h = *state;
        struct error err;
        pid_t a = harness_child(h, &h->cg, NULL, NULL);
        pid_t b = harness_child(h, &h->cg, NULL, NULL);

        assert_ok(cgroup_kill(&h->cg, SIGTERM, 0, &err), err);
        assert_int_equal(harness_wait(h, a), 1000 + SIGTERM);
        assert_int_equal(harness_wait(h, b), 1000 + SIGTERM);
}

static void a_frozen_container_waits_and_can_be_killed(void **state)
{
        struct harness *h = *state;
        struct cgroup again = harness_plan(h, h->path);
        struct error err;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);
        _cleanup_free_ char *frozen = NULL;

        assert_ok(cgroup_freeze(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        frozen = harness_read(&h->cg, "", "cgroup.freeze");
        assert_string_equal(frozen, "1");
        assert_error(cgroup_create(&again, &err), err, "has processes in it");
        assert_ok(cgroup_kill(&h->cg, SIGKILL, HARNESS_TIMEOUT_MS, &err), err);
        assert_int_equal(harness_wait(h, pid), 1000 + SIGKILL);
        assert_error(cgroup_create(&again, &err), err, "is frozen");
        assert_ok(cgroup_thaw(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        harness_create(&again);
}

static int open_status(const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);

        return fd < 0 ? errno : 0;
}

static int use_devices(void *userdata)
{
        int want_kmsg = *(int *)userdata;

        if (open_status("/dev/null") != 0 || open_status("/dev/zero") != 0)
                return 1;
        return open_status("/dev/kmsg") == want_kmsg ? 0 : 2;
}

static void device_rules_are_in_force(void **state)
{
        struct harness *h = *state;
        struct error err;

        assert_ok(harness_apply(&h->cg, NULL, &err), err);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, use_devices, &(int){EPERM})), 0);
}

static void a_rule_of_the_document_allows_more(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule rules[] = {
                {.type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true},
                {.allow = true, .type = 'c', .major = 1, .minor = 11, .read = true, .write = true},
        };
        struct oci_resources r = {.devices = rules, .n_devices = UNIT_COUNT(rules)};
        struct error err;

        assert_ok(harness_apply(&h->cg, &r, &err), err);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, use_devices, &(int){0})), 0);
}

static void as_many_rules_as_are_allowed_can_be_loaded(void **state)
{
        enum { N = LIMIT_DEVICE_RULES };
        struct harness *h = *state;
        struct oci_device_rule *rules = calloc(N, sizeof(*rules));
        struct oci_resources r = {.devices = rules, .n_devices = N};
        struct error err;

        assert_non_null(rules);
        for (int i = 0; i < N; i++)
                rules[i] = (struct oci_device_rule){
                        .allow = i & 1, .type = 'c', .major = i + 300, .minor = i, .read = true};
        assert_ok(harness_apply(&h->cg, &r, &err), err);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, use_devices, &(int){EPERM})), 0);
        free(rules);
}

static bool has_controller(struct harness *h, const char *name)
{
        _cleanup_free_ char *have = harness_read(&h->cg, "", "cgroup.controllers");

        for (char *p = have; *p; p++)
                *p = *p == ' ' ? ',' : *p;
        return controllers_have(have, name);
}

static void what_the_host_lacks_is_refused_by_field(void **state)
{
        struct harness *h = *state;
        struct oci_resources memory = {.has_memory = true,
                                       .memory = {.has_limit = true, .limit = 64 * MIB}};
        struct oci_resources swappiness = {.has_memory = true, .memory = {.has_swappiness = true}};
        struct oci_resources realtime = {.has_cpu = true,
                                         .cpu = {.has_rt_runtime = true, .rt_runtime = 1}};
        struct oci_unified bad[] = {{.file = (char *)"nosuch.file", .value = (char *)"1"},
                                    {.file = (char *)"../x", .value = (char *)"1"},
                                    {.file = (char *)"cgroup.max.depth", .value = (char *)"x"}};
        struct oci_resources r = {.n_unified = 1};
        struct error err;

        if (!has_controller(h, "memory"))
                assert_error(cgroup_update(&h->cg, &memory, &err), err,
                             "linux.resources.memory.limit: this host has no 'memory.max'");
        assert_error(cgroup_update(&h->cg, &swappiness, &err), err, "memory.swappiness");
        assert_error(cgroup_update(&h->cg, &realtime, &err), err, "cpu.realtimeRuntime");
        r.unified = &bad[0];
        assert_error(cgroup_update(&h->cg, &r, &err), err, "this host has no 'nosuch.file'");
        r.unified = &bad[1];
        assert_error(cgroup_update(&h->cg, &r, &err), err, "no file name");
        r.unified = &bad[2];
        assert_error(cgroup_update(&h->cg, &r, &err), err, "write 'x' to");
}

static void unified_values_are_written_verbatim_and_set_back_on_failure(void **state)
{
        struct harness *h = *state;
        struct oci_unified files[] = {{.file = (char *)"cgroup.max.depth", .value = (char *)"7"},
                                      {.file = (char *)"nosuch", .value = (char *)"1"}};
        struct oci_resources r = {.unified = files, .n_unified = 1};
        struct error err;
        _cleanup_free_ char *depth = NULL;
        _cleanup_free_ char *again = NULL;

        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        depth = harness_read(&h->cg, "", "cgroup.max.depth");
        assert_string_equal(depth, "7");
        files[0].value = (char *)"9";
        r.n_unified = 2;
        assert_error(cgroup_update(&h->cg, &r, &err), err, "nosuch");
        again = harness_read(&h->cg, "", "cgroup.max.depth");
        assert_string_equal(again, "7");
}

static void controllers_are_handed_down_to_the_container(void **state)
{
        struct harness *h = *state;
        struct oci_hugepage_limit huge = {.page_size = (char *)"2MB", .limit = 4 * MIB};
        struct oci_resources r = {.hugepage_limits = &huge, .n_hugepage_limits = 1};
        struct error err;
        _cleanup_free_ char *max = NULL;

        if (!has_controller(h, "hugetlb"))
                return;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        max = harness_read(&h->cg, "", "hugetlb.2MB.max");
        assert_string_equal(max, "4194304");
}

static void cgroups_nested_beyond_path_max_are_removed(void **state)
{
        struct harness *h = *state;
        int fd = dir_open(AT_FDCWD, h->cg.dirs[0].path);
        struct error err;

        assert_true(fd >= 0);
        for (int depth = 0; depth < 100; depth++) {
                int next;

                assert_int_equal(
                        mkdirat(fd, "a-name-that-makes-the-path-longer-than-PATH_MAX", 0755), 0);
                next = dir_open(fd, "a-name-that-makes-the-path-longer-than-PATH_MAX");
                assert_true(next >= 0);
                fd_close(fd);
                fd = next;
        }
        fd_close(fd);
        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_false(harness_exists(h->cg.dirs[0].path));
}

static void makers_and_removers_of_a_parent_do_not_disturb_each_other(void **state)
{
        struct harness *h = *state;
        uint64_t end = clock_monotonic_ns() + 200 * NSEC_PER_MSEC;
        struct cgroup mine;
        struct error err;
        char path[96];
        unsigned n = 0;
        pid_t pid;

        /* A child makes and removes containers below the same parent all the time. */
        (void)snprintf(path, sizeof(path), "%s/shared/child", h->path);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                mine = harness_plan(h, path);
                (void)alarm(10);
                for (;;) {
                        if (cgroup_create(&mine, NULL) < 0 || cgroup_remove(&mine, 100, NULL) < 0)
                                _exit(1);
                }
        }
        h->children[h->n_children++] = pid;
        (void)snprintf(path, sizeof(path), "%s/shared/own", h->path);
        mine = harness_plan(h, path);
        while (clock_monotonic_ns() < end) {
                assert_ok(cgroup_create(&mine, &err), err);
                assert_ok(cgroup_remove(&mine, 100, &err), err);
                n++;
        }
        assert_true(harness_is_alive(pid));
        assert_true(n > 10);
}

static void a_user_gets_what_is_fit_to_be_given_and_no_more(void **state)
{
        struct harness *h = *state;
        const char *dir = h->cg.dirs[0].path;
        struct stat st;
        struct error err;

        assert_ok(cgroup_delegate(&h->cg, 12345, &err), err);
        assert_int_equal(stat(dir, &st), 0);
        assert_int_equal(st.st_uid, 12345);
        assert_int_equal(st.st_gid, 0);
        assert_int_equal(stat(arena_printf(h->arena, "%s/cgroup.procs", dir), &st), 0);
        assert_int_equal(st.st_uid, 12345);
        assert_int_equal(stat(arena_printf(h->arena, "%s/cgroup.max.depth", dir), &st), 0);
        assert_int_equal(st.st_uid, 0);
}

static void an_update_replaces_the_device_program(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule rule = {
                .allow = true, .type = 'c', .major = 1, .minor = 11, .read = true, .write = true};
        struct oci_resources r = {.has_devices = true, .devices = &rule, .n_devices = 1};
        struct error err;

        assert_ok(harness_apply(&h->cg, NULL, &err), err);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, use_devices, &(int){EPERM})), 0);
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, use_devices, &(int){0})), 0);
        r.has_devices = false;
        assert_ok(cgroup_update(&h->cg, &r, &err), err); /* not given: not touched */
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, use_devices, &(int){0})), 0);
        r.has_devices = true;
        r.n_devices = 0;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, use_devices, &(int){EPERM})), 0);
}

static void without_memory_controller_no_oom_kill_is_counted(void **state)
{
        struct harness *h = *state;
        struct cgroup_oom *oom = NULL;
        struct error err;

        assert_error(cgroup_oom_new(&h->cg, &oom, &err), err, "has no memory.events");
        assert_int_equal(err.code, STATUS_NOT_FOUND);
}

static bool is_readable(int fd, int wait_ms)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return poll(&p, 1, wait_ms) == 1;
}

/* "populated 0" or "populated 1" of a file like memory.events, through an open descriptor. */
static uint64_t populated(int fd)
{
        char text[256] = {0};
        uint64_t n = 2;

        assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
        assert_true(cgroup_counter_find(text, "populated", &n));
        return n;
}

/* cgroup.events is of the same kind as memory.events, and on every host. */
static int events_open(struct harness *h)
{
        int fd = open(arena_printf(h->arena, "%s/cgroup.events", h->cg.dirs[0].path),
                      O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void a_file_of_events_is_readable_from_a_change_until_it_is_read(void **state)
{
        struct harness *h = *state;
        _cleanup_close_ int fd = events_open(h);
        _cleanup_close_ int poll_fd = oom_v2_poll(fd);
        pid_t pid;

        assert_true(poll_fd >= 0);
        assert_true(is_readable(poll_fd, 0)); /* it was never read */
        assert_int_equal(populated(fd), 0);
        assert_false(is_readable(poll_fd, 0));
        pid = harness_child(h, &h->cg, NULL, NULL);
        assert_true(is_readable(poll_fd, HARNESS_TIMEOUT_MS));
        assert_true(is_readable(poll_fd, 0)); /* a look is not a read */
        assert_int_equal(populated(fd), 1);
        assert_false(is_readable(poll_fd, 0));
        (void)kill(pid, SIGKILL);
        assert_true(is_readable(poll_fd, HARNESS_TIMEOUT_MS));
        assert_int_equal(populated(fd), 0);
        assert_false(is_readable(poll_fd, 0));
}

static void a_change_before_a_file_of_events_is_polled_is_not_lost(void **state)
{
        struct harness *h = *state;
        _cleanup_close_ int fd = events_open(h);
        _cleanup_close_ int other = events_open(h);
        _cleanup_close_ int other_poll = oom_v2_poll(other);
        _cleanup_close_ int poll_fd = -1;

        assert_int_equal(populated(fd), 0);
        assert_int_equal(populated(other), 0);
        (void)harness_child(h, &h->cg, NULL, NULL);
        assert_true(is_readable(other_poll, HARNESS_TIMEOUT_MS));
        poll_fd = oom_v2_poll(fd);
        assert_true(is_readable(poll_fd, 0));
        assert_int_equal(populated(other), 1);
        assert_false(is_readable(other_poll, 0));
        assert_true(is_readable(poll_fd, 0)); /* each of those who watch has its own turn */
}

static void a_file_of_events_whose_cgroup_is_gone_cannot_be_read(void **state)
{
        struct harness *h = *state;
        _cleanup_close_ int fd = events_open(h);
        _cleanup_close_ int poll_fd = -1;
        char c;

        assert_int_equal(populated(fd), 0);
        assert_int_equal(rmdir(h->cg.dirs[0].path), 0);
        assert_int_equal(pread(fd, &c, 1, 0), -1);
        assert_int_equal(errno, ENODEV);
        poll_fd = oom_v2_poll(fd);
        assert_true(is_readable(poll_fd, 0)); /* whoever watched before is told by some kernels */
}

static void beside_v1_a_read_only_v2_tree_is_done_without(void **state)
{
        struct harness *h = *state;
        struct cgroup_layout hybrid = {
                .n_hierarchies = 2,
                .hierarchies = {
                        {.mountpoint = "/mnt/belay-unit-v1", .root = "/", .controllers = "freezer"},
                        {.mountpoint = "/mnt/belay-unit-v2",
                         .root = "/",
                         .controllers = "",
                         .is_v2 = true}}};
        struct cgroup cg;
        struct error err;

        assert_int_equal(mount("tmpfs", "/mnt", "tmpfs", 0, NULL), 0);
        assert_int_equal(mkdir("/mnt/belay-unit-v1", 0755), 0);
        assert_int_equal(mkdir("/mnt/belay-unit-v2", 0755), 0);
        if (mount("cgroup", "/mnt/belay-unit-v1", "cgroup", 0, "freezer") < 0) {
                (void)umount2("/mnt", MNT_DETACH);
                return;
        }
        assert_int_equal(mount("none", "/mnt/belay-unit-v2", "cgroup2", 0, NULL), 0);
        assert_int_equal(
                mount(NULL, "/mnt/belay-unit-v2", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
        assert_ok(cgroup_plan(&hybrid, h->path, "x", h->arena, &cg, &err), err);
        /* That name is there already, made by the fixture; another one has to be made. */
        assert_ok(cgroup_plan(&hybrid, arena_printf(h->arena, "%s-ro", h->path), "x", h->arena, &cg,
                              &err),
                  err);
        assert_ok(cgroup_create(&cg, &err), err);
        assert_int_equal(cg.n_dirs, 1);
        assert_false(cg.dirs[0].is_v2);
        assert_ok(cgroup_remove(&cg, HARNESS_TIMEOUT_MS, &err), err);
        (void)umount2("/mnt", MNT_DETACH);
}

static void the_quick_answer_is_that_of_mountinfo(void **state)
{
        struct harness *h = *state;
        struct cgroup_layout quick;
        struct cgroup_layout slow;
        struct error err = ERROR_INIT;
        char *text = NULL;

        assert_ok(cgroup_layout_read(h->arena, &quick, &err), err);
        assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &text, NULL), 0);
        assert_ok(cgroup_layout_parse(text, h->arena, &slow, &err), err);
        free(text);
        assert_true(quick.is_unified && slow.is_unified);
        assert_int_equal(quick.n_hierarchies, 1);
        assert_int_equal(slow.n_hierarchies, 1);
        assert_string_equal(quick.hierarchies[0].mountpoint, slow.hierarchies[0].mountpoint);
        assert_string_equal(quick.hierarchies[0].root, slow.hierarchies[0].root);
        assert_string_equal(quick.hierarchies[0].controllers, slow.hierarchies[0].controllers);
        assert_true(quick.hierarchies[0].is_v2 && slow.hierarchies[0].is_v2);
}

static void a_part_of_the_hierarchy_is_known_as_such(void **state)
{
        static const char part[] = "/sys/fs/cgroup/belay-unit-part";
        struct harness *h = *state;
        struct cgroup_layout layout;
        struct error err = ERROR_INIT;

        assert_int_equal(mkdir(part, 0755), 0);
        assert_int_equal(mount(part, "/sys/fs/cgroup", NULL, MS_BIND, NULL), 0);
        assert_ok(cgroup_layout_read(h->arena, &layout, &err), err);
        assert_int_equal(umount2("/sys/fs/cgroup", MNT_DETACH), 0);
        assert_int_equal(rmdir(part), 0);
        assert_int_equal(layout.n_hierarchies, 1);
        assert_string_equal(layout.hierarchies[0].root, "/belay-unit-part");
}

/* A mount namespace in which v2 alone is to be seen. */
static bool enter_v2(void)
{
        return unshare(CLONE_NEWNS) == 0 &&
               mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL) == 0;
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_set_up, harness_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(the_layout_is_unified),
                CASE(the_quick_answer_is_that_of_mountinfo),
                CASE(a_part_of_the_hierarchy_is_known_as_such),
                CASE(members_are_listed_with_those_of_sub_cgroups),
                CASE(one_write_kills_all),
                CASE(other_signals_reach_all),
                CASE(a_frozen_container_waits_and_can_be_killed),
                CASE(device_rules_are_in_force),
                CASE(a_rule_of_the_document_allows_more),
                CASE(as_many_rules_as_are_allowed_can_be_loaded),
                CASE(what_the_host_lacks_is_refused_by_field),
                CASE(unified_values_are_written_verbatim_and_set_back_on_failure),
                CASE(controllers_are_handed_down_to_the_container),
                CASE(cgroups_nested_beyond_path_max_are_removed),
                CASE(a_user_gets_what_is_fit_to_be_given_and_no_more),
                CASE(an_update_replaces_the_device_program),
                CASE(makers_and_removers_of_a_parent_do_not_disturb_each_other),
                CASE(without_memory_controller_no_oom_kill_is_counted),
                CASE(a_file_of_events_is_readable_from_a_change_until_it_is_read),
                CASE(a_change_before_a_file_of_events_is_polled_is_not_lost),
                CASE(a_file_of_events_whose_cgroup_is_gone_cannot_be_read),
                CASE(beside_v1_a_read_only_v2_tree_is_done_without),
        };
        _cleanup_free_ char *before = NULL;
        int dir;
        int r;

        if (geteuid() != 0 || !enter_v2())
                return EXIT_SKIP;
        dir = dir_open(AT_FDCWD, "/sys/fs/cgroup");
        if (dir < 0 || dir_read(dir, "cgroup.subtree_control", &before) < 0)
                return EXIT_SKIP;
        r = cmocka_run_group_tests(tests, NULL, NULL);
        if (!strstr(before, "hugetlb"))
                (void)file_write(dir, "cgroup.subtree_control", "-hugetlb");
        fd_close(dir);
        return r;
}
