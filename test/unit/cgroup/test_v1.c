/* SPDX-License-Identifier: Apache-2.0
 *
 * A container's processes and the end of its directories on the hierarchies of this host, where
 * they are v1.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/cgroup/internal.h"

#include "test/unit/cgroup/harness.h"
#include "test/unit/unit.h"

enum { EXIT_SKIP = 77 };

/* A path below the container's directory. */
static const char *below(struct harness *h, const char *controller, const char *name)
{
        return arena_printf(h->arena, "%s%s", harness_dir(&h->cg, controller), name);
}

static void members_are_listed_with_those_of_sub_cgroups(void **state)
{
        struct harness *h = *state;
        struct error err;
        pid_t pids[3];
        pid_t *list;
        size_t n;

        assert_ok(cgroup_pids(&h->cg, &list, &n, &err), err);
        assert_int_equal(n, 0);
        free(list);
        for (int i = 0; i < 3; i++)
                pids[i] = harness_child(h, &h->cg, NULL, NULL);
        assert_int_equal(mkdir(below(h, "freezer", "/sub"), 0755), 0);
        assert_int_equal(mkdir(below(h, "freezer", "/sub/sub"), 0755), 0);
        assert_int_equal(file_write(AT_FDCWD, below(h, "freezer", "/sub/sub/tasks"),
                                    arena_printf(h->arena, "%d", (int)pids[1])),
                         0);
        assert_ok(cgroup_pids(&h->cg, &list, &n, &err), err);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < 3; i++) {
                bool found = false;

                for (size_t k = 0; k < n; k++)
                        found |= list[k] == pids[i];
                assert_true(found);
                assert_true(i == 0 || list[i - 1] < list[i]);
        }
        free(list);
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(kill(pids[i], SIGKILL), 0);
                (void)harness_wait(h, pids[i]);
        }
        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_ok(cgroup_pids(&h->cg, &list, &n, &err), err); /* gone: nobody */
        assert_int_equal(n, 0);
        free(list);
}

static void assert_all_killed(struct harness *h, const struct cgroup *cg, int signo)
{
        struct error err;
        pid_t pids[3];
        pid_t *list;
        size_t n;

        for (int i = 0; i < 3; i++)
                pids[i] = harness_child(h, cg, NULL, NULL);
        assert_ok(cgroup_kill(cg, signo, HARNESS_TIMEOUT_MS, &err), err);
        for (int i = 0; i < 3; i++)
                assert_int_equal(harness_wait(h, pids[i]), 1000 + signo);
        assert_ok(cgroup_pids(cg, &list, &n, &err), err);
        assert_int_equal(n, 0);
        free(list);
}

static void a_signal_reaches_all(void **state)
{
        struct harness *h = *state;

        assert_all_killed(h, &h->cg, SIGTERM);
        assert_all_killed(h, &h->cg, SIGKILL);
}

/* The same container without its v2 directory, as on a host that has none. */
static struct cgroup only_v1(const struct cgroup *cg)
{
        struct cgroup v1 = {0};

        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (!cg->dirs[i].is_v2)
                        v1.dirs[v1.n_dirs++] = cg->dirs[i];
        }
        return v1;
}

static void all_can_be_killed_without_cgroup_kill(void **state)
{
        struct harness *h = *state;
        struct cgroup v1 = only_v1(&h->cg);

        assert_false(cgroup_has_kill(&v1));
        assert_all_killed(h, &v1, SIGKILL);
        assert_file(&h->cg, "freezer", "freezer.state", "THAWED");
}

static void what_v2_does_not_know_is_killed_nevertheless(void **state)
{
        struct harness *h = *state;
        struct cgroup v1 = only_v1(&h->cg);
        struct error err;
        pid_t stray;
        pid_t member;

        if (!cgroup_has_kill(&h->cg))
                return;
        stray = harness_child(h, &v1, NULL, NULL);
        member = harness_child(h, &h->cg, NULL, NULL);
        assert_ok(cgroup_kill(&h->cg, SIGKILL, HARNESS_TIMEOUT_MS, &err), err);
        assert_int_equal(harness_wait(h, stray), 1000 + SIGKILL);
        assert_int_equal(harness_wait(h, member), 1000 + SIGKILL);
}

static void a_frozen_container_can_be_killed(void **state)
{
        struct harness *h = *state;
        struct error err;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);

        assert_ok(cgroup_freeze(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_int_equal(kill(pid, SIGTERM), 0);
        assert_true(harness_is_alive(pid));
        assert_ok(cgroup_kill(&h->cg, SIGKILL, HARNESS_TIMEOUT_MS, &err), err);
        (void)harness_wait(h, pid);
}

/* The directory at the end of a nest in the freezer's hierarchy. */
static int make_nest(struct harness *h, int depth)
{
        int fd = open(harness_dir(&h->cg, "freezer"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        for (int i = 0; i < depth; i++) {
                int next;

                assert_int_equal(mkdirat(fd, "x", 0755), 0);
                assert_int_equal(mkdirat(fd, "y", 0755), 0); /* a side branch on each level */
                next = openat(fd, "x", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                assert_int_equal(close(fd), 0);
                fd = next;
        }
        return fd;
}

static void however_deep_a_process_is_it_is_listed_and_killed(void **state)
{
        struct harness *h = *state;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);
        _cleanup_close_ int fd = make_nest(h, 300);
        struct cgroup v1 = {
                .dirs = {{.path = harness_dir(&h->cg, "freezer"), .controllers = "freezer"}},
                .n_dirs = 1};
        _cleanup_free_ pid_t *list = NULL;
        struct error err;
        size_t n;

        assert_int_equal(file_write(fd, "tasks", arena_printf(h->arena, "%d", (int)pid)), 0);
        assert_ok(cgroup_pids(&v1, &list, &n, &err), err);
        assert_int_equal(n, 1);
        assert_int_equal(list[0], pid);
        assert_int_equal(file_write(fd, "freezer.state", "FROZEN"), 0);
        assert_ok(cgroup_kill(&h->cg, SIGKILL, HARNESS_TIMEOUT_MS, &err), err);
        assert_int_equal(harness_wait(h, pid), 1000 + SIGKILL);
        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
}

static void what_sigkill_was_sent_to_is_let_go(void **state)
{
        struct harness *h = *state;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);
        _cleanup_close_ int fd = make_nest(h, 2);
        struct error err;

        assert_int_equal(file_write(fd, "tasks", arena_printf(h->arena, "%d", (int)pid)), 0);
        assert_int_equal(file_write(fd, "freezer.state", "FROZEN"), 0);
        assert_ok(cgroup_freeze(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_true(harness_is_alive(pid));
        cgroup_let_go(&h->cg);
        assert_int_equal(harness_wait(h, pid), 1000 + SIGKILL);
}

static void a_thaw_that_a_cgroup_above_prevents_says_so(void **state)
{
        struct harness *h = *state;
        char *parent = arena_strdup(h->arena, harness_dir(&h->cg, "freezer"));
        char *file;
        struct error err;

        *strrchr(parent, '/') = '\0';
        file = arena_printf(h->arena, "%s/freezer.state", parent);
        assert_int_equal(file_write(AT_FDCWD, file, "FROZEN"), 0);
        assert_error(cgroup_thaw(&h->cg, 20, &err), err, "is a cgroup above it frozen?");
        assert_int_equal(err.code, STATUS_DEADLINE_EXCEEDED);
        assert_int_equal(file_write(AT_FDCWD, file, "THAWED"), 0);
        assert_ok(cgroup_thaw(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
}

static void sub_cgroups_are_removed_first(void **state)
{
        struct harness *h = *state;
        struct error err;

        for (size_t i = 0; i < h->cg.n_dirs; i++) {
                char *path = arena_strdup(h->arena, h->cg.dirs[i].path);

                for (int depth = 0; depth < 5; depth++) {
                        path = arena_printf(h->arena, "%s/d%d", path, depth);
                        assert_int_equal(mkdir(path, 0755), 0);
                        assert_int_equal(mkdir(arena_printf(h->arena, "%s-b", path), 0755), 0);
                }
        }
        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        for (size_t i = 0; i < h->cg.n_dirs; i++)
                assert_false(harness_exists(h->cg.dirs[i].path));
}

static void a_cgroup_in_use_is_not_removed_and_the_wait_is_bounded(void **state)
{
        struct harness *h = *state;
        uint64_t begin = clock_monotonic_ns();
        struct error err;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);

        assert_error(cgroup_remove(&h->cg, 50, &err), err, "remove cgroup");
        assert_true(clock_monotonic_ns() - begin < 5 * NSEC_PER_SEC);
        assert_true(harness_is_alive(pid));
}

static void directories_of_others_are_left_alone(void **state)
{
        struct harness *h = *state;
        struct cgroup other = h->cg;
        struct error err;

        for (size_t i = 0; i < other.n_dirs; i++)
                other.dirs[i].created = false;
        assert_ok(cgroup_remove(&other, 0, &err), err);
        for (size_t i = 0; i < other.n_dirs; i++)
                assert_true(harness_exists(other.dirs[i].path));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_set_up, harness_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(members_are_listed_with_those_of_sub_cgroups),
                CASE(a_signal_reaches_all),
                CASE(all_can_be_killed_without_cgroup_kill),
                CASE(what_v2_does_not_know_is_killed_nevertheless),
                CASE(a_frozen_container_can_be_killed),
                CASE(however_deep_a_process_is_it_is_listed_and_killed),
                CASE(what_sigkill_was_sent_to_is_let_go),
                CASE(a_thaw_that_a_cgroup_above_prevents_says_so),
                CASE(sub_cgroups_are_removed_first),
                CASE(a_cgroup_in_use_is_not_removed_and_the_wait_is_bounded),
                CASE(directories_of_others_are_left_alone),
        };

        return harness_has_v1() ? cmocka_run_group_tests(tests, NULL, NULL) : EXIT_SKIP;
}
