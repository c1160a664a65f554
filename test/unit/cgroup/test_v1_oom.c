/* SPDX-License-Identifier: Apache-2.0
 *
 * OOM kills on the memory hierarchy of this host, where it is v1.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/oom.h"

#include "test/unit/cgroup/harness.h"
#include "test/unit/inotify.h"
#include "test/unit/unit.h"

CLEANUP_DEFINE(struct cgroup_oom, cgroup_oom_free)

enum { EXIT_SKIP = 77, MIB = 1 << 20 };

/* A path below the container's directory. */
static const char *below(struct harness *h, const char *controller, const char *name)
{
        return arena_printf(h->arena, "%s%s", harness_dir(&h->cg, controller), name);
}

static void set_limit(const char *dir, size_t limit)
{
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char text[32];

        (void)snprintf(text, sizeof(text), "%zu", limit);
        assert_int_equal(file_write(fd, "memory.limit_in_bytes", text), 0);
        (void)file_write(fd, "memory.memsw.limit_in_bytes", text); /* without swap: not there */
}

static struct cgroup_oom *watch_oom(struct harness *h)
{
        struct cgroup_oom *oom = NULL;
        struct error err;

        assert_ok(cgroup_oom_new(&h->cg, &oom, &err), err);
        return oom;
}

static struct cgroup_oom_news oom_news(struct cgroup_oom *oom)
{
        struct cgroup_oom_news news;

        cgroup_oom_read(oom, false, &news);
        return news;
}

static void await_readable(const struct cgroup_oom *oom)
{
        struct pollfd p = {.fd = cgroup_oom_fd(oom), .events = POLLIN};

        assert_int_equal(poll(&p, 1, HARNESS_TIMEOUT_MS), 1);
}

static void assert_oom(struct cgroup_oom *oom, unsigned long n, enum cgroup_oom_level level,
                       unsigned n_up)
{
        struct cgroup_oom_news news = oom_news(oom);

        assert_int_equal(news.n_kills, n);
        assert_int_equal(news.level, level);
        assert_int_equal(news.n_up, n_up);
}

/* Reads as often as it is told to; the last news of a kill, with the sum of all kills. */
static struct cgroup_oom_news oom_settled(struct cgroup_oom *oom)
{
        struct cgroup_oom_news all = {.n_kills = 0};
        struct cgroup_oom_news news;

        do {
                struct pollfd p = {.fd = cgroup_oom_fd(oom), .events = POLLIN};

                news = oom_news(oom);
                if (news.n_kills > 0) {
                        news.n_kills += all.n_kills;
                        all = news;
                }
                (void)poll(&p, 1, (int)news.look_again_ms);
        } while (news.look_again_ms > 0);
        return all;
}

static void oom_kills_are_counted(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = NULL;

        harness_set_memory(h, 16 * MIB, 16 * MIB);
        oom = watch_oom(h);
        assert_int_equal(oom_news(oom).n_kills, 0);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, harness_touch_memory, &size)),
                         1000 + SIGKILL);
        assert_oom(oom, 1, CGROUP_OOM_OWN, 0);
        assert_int_equal(oom_news(oom).n_kills, 0);
}

/* A cgroup below the container's memory directory, with a limit of its own (0: none). */
static struct cgroup make_below(struct harness *h, const char *name, size_t limit)
{
        struct cgroup sub = {
                .dirs = {{.path = below(h, "memory", name), .controllers = "memory"}},
                .n_dirs = 1,
        };

        assert_int_equal(mkdir(sub.dirs[0].path, 0755), 0);
        if (limit > 0)
                set_limit(sub.dirs[0].path, limit);
        return sub;
}

static void oom_kills_in_sub_cgroups_are_counted(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = NULL;
        struct cgroup before = make_below(h, "/before", 8 * MIB);
        struct cgroup after;

        harness_set_memory(h, 32 * MIB, 32 * MIB);
        oom = watch_oom(h);
        (void)harness_wait(h, harness_child(h, &before, harness_touch_memory, &size));
        await_readable(oom);
        assert_oom(oom, 1, CGROUP_OOM_BELOW, 0);
        after = make_below(h, "/after", 0);
        await_readable(oom); /* a new one is noticed */
        assert_int_equal(oom_news(oom).n_kills, 0);
        (void)harness_wait(h, harness_child(h, &after, harness_touch_memory, &size));
        await_readable(oom);
        assert_oom(oom, 1, CGROUP_OOM_OWN, 0); /* of the container's limit */
        assert_int_equal(rmdir(before.dirs[0].path), 0);
        assert_int_equal(rmdir(after.dirs[0].path), 0);
        assert_int_equal(oom_settled(oom).n_kills, 0); /* what is gone stays counted */
}

static void a_kill_in_a_sub_cgroup_that_is_removed_at_once_is_not_lost(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = watch_oom(h);
        struct cgroup_oom_news news;
        struct cgroup sub = make_below(h, "/sub", 8 * MIB);

        assert_int_equal(oom_news(oom).n_kills, 0);
        (void)harness_wait(h, harness_child(h, &sub, harness_touch_memory, &size));
        while (rmdir(sub.dirs[0].path) < 0)
                assert_int_equal(errno, EBUSY);
        news = oom_settled(oom);
        assert_int_equal(news.n_kills, 1);
        assert_int_equal(news.level, CGROUP_OOM_BELOW);
}

/* What is made below is seen at the next look. */
static void without_inotify_it_says_when_to_look_again(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = NULL;
        struct cgroup sub;

        harness_set_memory(h, 32 * MIB, 32 * MIB);
        inotify_is_used_up = true;
        oom = watch_oom(h);
        inotify_is_used_up = false;
        assert_true(cgroup_oom_is_blind(oom));
        sub = make_below(h, "/sub", 8 * MIB);
        assert_int_equal(oom_news(oom).look_again_ms, LIMIT_OOM_BLIND_MS);
        (void)harness_wait(h, harness_child(h, &sub, harness_touch_memory, &size));
        await_readable(oom);
        assert_oom(oom, 1, CGROUP_OOM_BELOW, 0);
        assert_int_equal(rmdir(sub.dirs[0].path), 0);
}

static void the_limit_of_a_parent_is_told_from_the_own_one(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        char *parent = arena_strdup(h->arena, harness_dir(&h->cg, "memory"));
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = watch_oom(h);

        *strrchr(parent, '/') = '\0';
        set_limit(parent, 16 * MIB);
        (void)harness_wait(h, harness_child(h, &h->cg, harness_touch_memory, &size));
        await_readable(oom);
        assert_oom(oom, 1, CGROUP_OOM_ANCESTOR, 1);
}

static void the_end_of_the_cgroup_ends_the_watch(void **state)
{
        struct harness *h = *state;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = watch_oom(h);
        struct error err;

        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        await_readable(oom);
        assert_true(oom_news(oom).is_over);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_set_up, harness_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(oom_kills_are_counted),
                CASE(oom_kills_in_sub_cgroups_are_counted),
                CASE(a_kill_in_a_sub_cgroup_that_is_removed_at_once_is_not_lost),
                CASE(without_inotify_it_says_when_to_look_again),
                CASE(the_limit_of_a_parent_is_told_from_the_own_one),
                CASE(the_end_of_the_cgroup_ends_the_watch),
        };

        return harness_has_v1() ? cmocka_run_group_tests(tests, NULL, NULL) : EXIT_SKIP;
}
