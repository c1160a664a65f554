/* SPDX-License-Identifier: Apache-2.0
 *
 * Making the directories of a container on the hierarchies of this host, where they are v1: what is
 * told of them before, what is refused, and what is left when it fails.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

#include "test/unit/cgroup/harness.h"
#include "test/unit/unit.h"

enum { EXIT_SKIP = 77 };

static void directories_are_made_everywhere_and_removed_with_their_parents(void **state)
{
        struct harness *h = *state;
        struct cgroup cg = h->cg;
        struct error err;

        for (size_t i = 0; i < cg.n_dirs; i++) {
                assert_true(harness_exists(cg.dirs[i].path));
                assert_true(cg.dirs[i].created);
                assert_int_equal(cg.dirs[i].n_parents, 1);
        }
        assert_ok(cgroup_remove(&cg, 0, &err), err);
        for (size_t i = 0; i < cg.n_dirs; i++) {
                char *parent = arena_strdup(h->arena, cg.dirs[i].path);

                assert_false(harness_exists(cg.dirs[i].path));
                *strrchr(parent, '/') = '\0';
                assert_false(harness_exists(parent));
                *strrchr(parent, '/') = '\0';
                assert_true(harness_exists(parent));
        }
        assert_ok(cgroup_remove(&cg, 0, &err), err); /* again: nothing to do */
}

static void a_parent_in_use_stays(void **state)
{
        struct harness *h = *state;
        char path[80];
        struct cgroup other;
        struct error err;

        (void)snprintf(path, sizeof(path), "%.*s/other", (int)strlen(h->path) - 2, h->path);
        other = harness_plan(h, path);
        harness_create(&other);
        assert_int_equal(other.dirs[0].n_parents, 0);
        assert_ok(cgroup_remove(&h->cg, 0, &err), err);
        for (size_t i = 0; i < other.n_dirs; i++) {
                assert_false(harness_exists(h->cg.dirs[i].path));
                assert_true(harness_exists(other.dirs[i].path));
                other.dirs[i].n_parents = 1; /* leave nothing behind */
        }
        assert_ok(cgroup_remove(&other, 0, &err), err);
}

static void what_is_empty_is_removed_and_nothing_else(void **state)
{
        struct harness *h = *state;
        struct cgroup theirs = h->cg;
        struct cgroup below;
        char path[80];
        struct error err;
        pid_t pid;

        (void)snprintf(path, sizeof(path), "%s/below", h->path);
        below = harness_plan(h, path);
        harness_create(&below);
        assert_error(cgroup_remove_empty(&theirs, 0, &err), err, "remove cgroup");
        for (size_t i = 0; i < below.n_dirs; i++)
                assert_true(harness_exists(below.dirs[i].path));
        assert_ok(cgroup_remove_empty(&below, 0, &err), err);
        pid = harness_child(h, &theirs, NULL, NULL);
        assert_error(cgroup_remove_empty(&theirs, 0, &err), err, "remove cgroup");
        assert_true(harness_is_alive(pid));
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)harness_wait(h, pid);
        theirs.dirs[0].created = false;
        assert_ok(cgroup_remove_empty(&theirs, HARNESS_TIMEOUT_MS, &err), err);
        for (size_t i = 0; i < theirs.n_dirs; i++)
                assert_true(harness_exists(theirs.dirs[i].path) == (i == 0));
        theirs.dirs[0].created = true;
        assert_ok(cgroup_remove_empty(&theirs, 0, &err), err);
}

static void new_cpusets_have_the_cpus_of_their_parents(void **state)
{
        struct harness *h = *state;
        _cleanup_free_ char *cpus = harness_read(&h->cg, "cpuset", "cpuset.cpus");
        _cleanup_free_ char *mems = harness_read(&h->cg, "cpuset", "cpuset.mems");

        assert_true(*cpus != '\0');
        assert_true(*mems != '\0');
}

static void a_failed_creation_leaves_nothing(void **state)
{
        struct harness *h = *state;
        struct cgroup_layout layout = h->layout;
        char dir[] = "/tmp/belay-nocg-XXXXXX";
        char path[80];
        struct cgroup cg;
        struct error err;

        assert_non_null(mkdtemp(dir));
        assert_true(layout.n_hierarchies < CGROUP_HIERARCHIES_MAX);
        layout.hierarchies[layout.n_hierarchies++] =
                (struct cgroup_hierarchy){.mountpoint = dir, .root = "/", .controllers = "bogus"};
        (void)snprintf(path, sizeof(path), "%s/failed/deeply", h->path);
        assert_ok(cgroup_plan(&layout, path, "x", h->arena, &cg, &err), err);
        assert_error(cgroup_create(&cg, &err), err, "not in a cgroup file system");
        for (size_t i = 0; i < cg.n_dirs; i++) {
                *strrchr((char *)cg.dirs[i].path, '/') = '\0';
                assert_false(harness_exists(cg.dirs[i].path));
        }
        assert_int_equal(rmdir(dir), 0); /* nothing was made in it */
}

/* What a test has been told of, and what it then does. */
struct announcement {
        struct cgroup planned;
        unsigned n_told;
        bool was_there;
        const char *rmdir_first; /* below each mountpoint */
        bool refuse;
};

static int on_announced(const struct cgroup *planned, void *userdata, struct error *err)
{
        struct announcement *a = userdata;

        a->planned = *planned;
        a->n_told++;
        for (size_t i = 0; i < planned->n_dirs; i++) {
                a->was_there |= harness_exists(planned->dirs[i].path);
                if (a->rmdir_first)
                        assert_int_equal(rmdir(a->rmdir_first), 0);
                a->rmdir_first = NULL;
        }
        return a->refuse ? error_set(err, STATUS_INTERNAL, "not now") : 0;
}

/* The descriptors lead where the directories are now. */
static void assert_joins(const struct cgroup_join *join, const struct cgroup *cg)
{
        size_t n = 0;

        for (size_t i = 0; i < cg->n_dirs; i++) {
                int fd = cg->dirs[i].is_v2 ? join->v2_dir : join->tasks[n++];
                struct stat got;
                struct stat want;
                char path[PATH_MAX];

                (void)snprintf(path, sizeof(path), "%s%s", cg->dirs[i].path,
                               cg->dirs[i].is_v2 ? "" : "/tasks");
                assert_int_equal(fstat(fd, &got), 0);
                assert_int_equal(stat(path, &want), 0);
                assert_true(got.st_dev == want.st_dev && got.st_ino == want.st_ino);
        }
        assert_int_equal(n, join->n_tasks);
}

static void what_is_told_beforehand_is_what_is_made(void **state)
{
        struct harness *h = *state;
        struct announcement a = {0};
        struct cgroup_join join;
        char path[80];
        struct cgroup cg;
        struct error err;

        (void)snprintf(path, sizeof(path), "%s/told/deeply", h->path);
        cg = harness_plan(h, path);
        assert_ok(cgroup_create_with(&cg, on_announced, &a, &join, &err), err);
        assert_joins(&join, &cg);
        cgroup_join_close(&join);
        assert_int_equal(a.n_told, 1);
        assert_false(a.was_there);
        assert_int_equal(a.planned.n_dirs, cg.n_dirs);
        for (size_t i = 0; i < cg.n_dirs; i++) {
                assert_true(cg.dirs[i].created && a.planned.dirs[i].created);
                assert_int_equal(cg.dirs[i].n_parents, 1);
                assert_int_equal(a.planned.dirs[i].n_parents, 1);
        }
        assert_ok(cgroup_remove(&cg, 0, &err), err);
        a = (struct announcement){0}; /* what is there already is not ours */
        cg = harness_plan(h, h->path);
        assert_ok(cgroup_create_with(&cg, on_announced, &a, NULL, &err), err);
        for (size_t i = 0; i < cg.n_dirs; i++)
                assert_false(cg.dirs[i].created || a.planned.dirs[i].created);
}

static void nothing_is_made_if_who_is_told_refuses(void **state)
{
        struct harness *h = *state;
        struct announcement a = {.refuse = true};
        char path[80];
        struct cgroup cg;
        struct error err;

        (void)snprintf(path, sizeof(path), "%s/refused", h->path);
        cg = harness_plan(h, path);
        assert_error(cgroup_create_with(&cg, on_announced, &a, NULL, &err), err, "not now");
        for (size_t i = 0; i < cg.n_dirs; i++) {
                assert_false(cg.dirs[i].created);
                assert_false(harness_exists(cg.dirs[i].path));
        }
}

static void what_will_be_refused_is_not_told(void **state)
{
        struct harness *h = *state;
        struct announcement a = {0};
        struct cgroup again = harness_plan(h, h->path);
        struct error err;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);

        assert_error(cgroup_create_with(&again, on_announced, &a, NULL, &err), err,
                     "has processes in it");
        assert_int_equal(a.n_told, 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)harness_wait(h, pid);
}

static void a_parent_that_vanishes_after_the_telling_is_made_again(void **state)
{
        struct harness *h = *state;
        struct announcement a = {0};
        char above[80];
        char path[90];
        char dir[PATH_MAX];
        struct cgroup parent;
        struct cgroup_join join;
        struct cgroup cg;
        struct error err;

        (void)snprintf(above, sizeof(above), "%s/gone", h->path);
        (void)snprintf(path, sizeof(path), "%s/c", above);
        parent = harness_plan(h, above);
        harness_create(&parent);
        cg = harness_plan(h, path);
        (void)snprintf(dir, sizeof(dir), "%s", parent.dirs[0].path);
        a.rmdir_first = dir;
        assert_ok(cgroup_create_with(&cg, on_announced, &a, &join, &err), err);
        assert_joins(&join, &cg);
        cgroup_join_close(&join);
        for (size_t i = 0; i < cg.n_dirs; i++) {
                assert_true(harness_exists(cg.dirs[i].path));
                assert_true(cg.dirs[i].created);
                assert_int_equal(cg.dirs[i].n_parents, i == 0 ? 1 : 0);
        }
        assert_ok(cgroup_remove(&cg, 0, &err), err);
        assert_false(harness_exists(dir));
        assert_ok(cgroup_remove(&parent, 0, &err), err);
}

static void a_cpuset_below_an_empty_one_is_filled_with_it(void **state)
{
        struct harness *h = *state;
        const char *own = harness_dir(&h->cg, "cpuset");
        _cleanup_free_ char *cpus = NULL;
        char above[PATH_MAX];
        char path[80];
        struct cgroup cg;
        struct error err;

        (void)snprintf(above, sizeof(above), "%s/empty", own);
        (void)snprintf(path, sizeof(path), "%s/empty/c", h->path);
        assert_int_equal(mkdir(above, 0755), 0);
        cg = harness_plan(h, path);
        assert_ok(cgroup_create(&cg, &err), err);
        cpus = harness_read(&cg, "cpuset", "cpuset.cpus");
        assert_true(*cpus != '\0');
        assert_ok(cgroup_remove(&cg, 0, &err), err);
        (void)rmdir(above);
}

static void a_directory_with_processes_or_frozen_is_refused(void **state)
{
        struct harness *h = *state;
        struct cgroup again = harness_plan(h, h->path);
        struct error err;
        pid_t pid;

        harness_create(&again); /* idle: it may be used, but it is not ours */
        for (size_t i = 0; i < again.n_dirs; i++)
                assert_false(again.dirs[i].created);
        pid = harness_child(h, &h->cg, NULL, NULL);
        assert_error(cgroup_create(&again, &err), err, "has processes in it");
        assert_int_equal(err.code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)harness_wait(h, pid);
        assert_ok(cgroup_freeze(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_error(cgroup_create(&again, &err), err, "is frozen");
        assert_ok(cgroup_thaw(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        for (size_t i = 0; i < again.n_dirs; i++)
                assert_true(harness_exists(again.dirs[i].path));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_set_up, harness_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(directories_are_made_everywhere_and_removed_with_their_parents),
                CASE(a_parent_in_use_stays),
                CASE(what_is_empty_is_removed_and_nothing_else),
                CASE(new_cpusets_have_the_cpus_of_their_parents),
                CASE(a_failed_creation_leaves_nothing),
                CASE(a_cpuset_below_an_empty_one_is_filled_with_it),
                CASE(what_is_told_beforehand_is_what_is_made),
                CASE(nothing_is_made_if_who_is_told_refuses),
                CASE(what_will_be_refused_is_not_told),
                CASE(a_parent_that_vanishes_after_the_telling_is_made_again),
                CASE(a_directory_with_processes_or_frozen_is_refused),
        };

        return harness_has_v1() ? cmocka_run_group_tests(tests, NULL, NULL) : EXIT_SKIP;
}
