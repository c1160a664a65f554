/* SPDX-License-Identifier: Apache-2.0
 *
 * The watch for OOM kills: on v2 with plain files in the place of the kernel's, where what the
 * files say decides. Plain files cannot be polled, so here the watch is never told of anything;
 * that it is, test_v2.c tests. pread(2) is wrapped by the linker, for what happens between two
 * reads.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/cgroup/oom.h"

#include "test/unit/unit.h"

enum { LEVELS = 3 }; /* the container's own, its parent, and one above that */

struct tree {
        char top[64];
        char path[LEVELS][128]; /* 0: the container's own */
        struct cgroup cg;
        struct cgroup_oom *oom;
};

static void put_group(const char *dir, const char *file, unsigned oom, unsigned kill,
                      unsigned group)
{
        char path[192];
        char text[128];
        _cleanup_close_ int fd = -1;
        int n;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        /* As long as before, so that there is never half a file. */
        n = snprintf(text, sizeof(text),
                     "low 0\nhigh 0\nmax 9\noom %u\noom_kill %u\noom_group_kill %u\n", oom, kill,
                     group);
        assert_int_equal(write(fd, text, (size_t)n), n);
}

static void put(const char *dir, const char *file, unsigned oom, unsigned kill)
{
        put_group(dir, file, oom, kill, 0);
}

static void set_own(const struct tree *t, unsigned local_oom, unsigned all_oom, unsigned kill)
{
        put(t->path[0], "memory.events.local", local_oom, kill);
        put(t->path[0], "memory.events", all_oom, kill);
}

static void end_own(const struct tree *t)
{
        char path[192];

        (void)snprintf(path, sizeof(path), "%s/memory.events", t->path[0]);
        assert_int_equal(truncate(path, 0), 0);
}

static int set_up(void **state)
{
        struct tree *t = calloc(1, sizeof(*t));

        assert_non_null(t);
        (void)snprintf(t->top, sizeof(t->top), "/tmp/belay-oom-XXXXXX");
        assert_non_null(mkdtemp(t->top));
        (void)snprintf(t->path[2], sizeof(t->path[2]), "%s/top", t->top);
        (void)snprintf(t->path[1], sizeof(t->path[1]), "%s/top/pod", t->top);
        (void)snprintf(t->path[0], sizeof(t->path[0]), "%s/top/pod/c", t->top);
        for (int i = LEVELS - 1; i >= 0; i--) {
                assert_int_equal(mkdir(t->path[i], 0700), 0);
                put(t->path[i], "memory.events.local", 0, 0);
                put(t->path[i], "memory.events", 0, 0);
        }
        t->cg = (struct cgroup){
                .dirs = {{.path = t->path[0], .controllers = "", .is_v2 = true, .created = true}},
                .n_dirs = 1,
        };
        *state = t;
        return 0;
}

static void remove_files(const char *dir)
{
        char path[192];

        (void)snprintf(path, sizeof(path), "%s/memory.events", dir);
        (void)unlink(path);
        (void)snprintf(path, sizeof(path), "%s/memory.events.local", dir);
        (void)unlink(path);
}

static int tear_down(void **state)
{
        struct tree *t = *state;

        cgroup_oom_free(t->oom);
        for (int i = 0; i < LEVELS; i++) {
                remove_files(t->path[i]);
                (void)rmdir(t->path[i]);
        }
        assert_int_equal(rmdir(t->top), 0);
        free(t);
        return 0;
}

/* The container's limit is hit, and somebody killed, before the last of so many reads; with no
 * kills the cgroup is removed then. */
static struct during {
        const struct tree *tree;
        unsigned left;
        unsigned kills;
} during;

/* A look reads the file itself, those of the levels, and the file again. */
enum { N_READS = 1 + LEVELS + 1 };

ssize_t __real_pread64(int fd, void *buf, size_t n, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t offset);

ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t offset)
{
        if (during.left > 0 && --during.left == 0) {
                if (during.kills > 0)
                        set_own(during.tree, during.kills, during.kills, during.kills);
                else
                        end_own(during.tree);
        }
        return __real_pread64(fd, buf, n, offset);
}

static void watch(struct tree *t)
{
        struct error err = ERROR_INIT;

        if (cgroup_oom_new(&t->cg, &t->oom, &err) < 0)
                fail_msg("%s", err.msg);
}

static struct cgroup_oom_news news_of(const struct tree *t)
{
        struct cgroup_oom_news news;

        cgroup_oom_read(t->oom, false, &news);
        return news;
}

static void a_kill_is_told_once(void **state)
{
        struct tree *t = *state;

        watch(t);
        set_own(t, 1, 1, 1);
        assert_int_equal(news_of(t).n_kills, 1);
        assert_int_equal(news_of(t).n_kills, 0);
        set_own(t, 2, 2, 4);
        assert_int_equal(news_of(t).n_kills, 3);
}

/* Each read takes the kernel's word that the file has changed: what comes before the last of them
 * would not be heard of again. */
static void a_kill_during_a_look_is_told_by_it(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        watch(t);
        for (unsigned kill = 1; kill <= N_READS; kill++) {
                during = (struct during){.tree = t, .left = kill, .kills = kill};
                news = news_of(t);
                assert_int_equal(during.left, 0);
                assert_int_equal(news.n_kills, 1);
                assert_int_equal(news.level, CGROUP_OOM_OWN);
        }
}

static void an_oom_without_a_kill_is_no_news(void **state)
{
        struct tree *t = *state;

        watch(t);
        set_own(t, 5, 5, 0);
        assert_int_equal(news_of(t).n_kills, 0);
}

static void the_level_is_the_one_whose_limit_was_hit(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        watch(t);
        set_own(t, 1, 1, 1);
        assert_int_equal(news_of(t).level, CGROUP_OOM_OWN);
        set_own(t, 1, 2, 2); /* counted in the subtree, but not at the own level */
        assert_int_equal(news_of(t).level, CGROUP_OOM_BELOW);
        put(t->path[1], "memory.events.local", 1, 0);
        set_own(t, 1, 2, 3);
        news = news_of(t);
        assert_int_equal(news.level, CGROUP_OOM_ANCESTOR);
        assert_int_equal(news.n_up, 1);
        put(t->path[2], "memory.events.local", 1, 0);
        set_own(t, 1, 2, 4);
        news = news_of(t);
        assert_int_equal(news.level, CGROUP_OOM_ANCESTOR);
        assert_int_equal(news.n_up, 2);
}

static void of_two_levels_that_were_hit_none_is_guessed(void **state)
{
        struct tree *t = *state;

        watch(t);
        put(t->path[1], "memory.events.local", 1, 0); /* a neighbour's, perhaps */
        set_own(t, 1, 1, 1);
        assert_int_equal(news_of(t).level, CGROUP_OOM_UNKNOWN);
        set_own(t, 2, 2, 2); /* that of the pod is accounted for */
        assert_int_equal(news_of(t).level, CGROUP_OOM_OWN);
}

static void the_rest_of_a_group_is_killed_for_the_same_limit(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        watch(t);
        set_own(t, 1, 1, 1);
        assert_int_equal(news_of(t).level, CGROUP_OOM_OWN);
        for (unsigned kill = 2; kill <= 3; kill++) {
                put_group(t->path[0], "memory.events", 1, kill, 1);
                news = news_of(t);
                assert_int_equal(news.n_kills, 1);
                assert_int_equal(news.level, CGROUP_OOM_OWN);
        }
        put(t->path[1], "memory.events.local", 1, 0); /* the next one is the pod's */
        put_group(t->path[0], "memory.events", 1, 4, 1);
        news = news_of(t);
        assert_int_equal(news.level, CGROUP_OOM_ANCESTOR);
        assert_int_equal(news.n_up, 1);
        put_group(t->path[0], "memory.events", 1, 5, 1); /* without a group */
        assert_int_equal(news_of(t).level, CGROUP_OOM_UNKNOWN);
}

/* The first look comes between the second hit and its kill. */
static void a_kill_that_is_counted_after_a_look_at_its_hit_has_its_level(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        watch(t);
        set_own(t, 2, 2, 1);
        assert_int_equal(news_of(t).level, CGROUP_OOM_OWN);
        set_own(t, 2, 2, 2);
        assert_int_equal(news_of(t).level, CGROUP_OOM_OWN);
        set_own(t, 2, 2, 3); /* all hits have had their kills */
        assert_int_equal(news_of(t).level, CGROUP_OOM_UNKNOWN);
        set_own(t, 5, 5, 4);
        assert_int_equal(news_of(t).level, CGROUP_OOM_OWN);
        put(t->path[1], "memory.events.local", 1, 0);
        set_own(t, 5, 5, 5);
        news = news_of(t); /* the one that was hit since */
        assert_int_equal(news.level, CGROUP_OOM_ANCESTOR);
        assert_int_equal(news.n_up, 1);
}

static void the_host_is_not_blamed_where_not_all_levels_are_seen(void **state)
{
        struct tree *t = *state;

        watch(t);
        set_own(t, 0, 0, 1); /* no level was hit, but /tmp is no root of a hierarchy */
        assert_int_equal(news_of(t).level, CGROUP_OOM_UNKNOWN);
}

static void what_was_counted_before_is_the_containers_if_the_cgroup_is(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        set_own(t, 1, 1, 1);
        watch(t);
        news = news_of(t);
        assert_int_equal(news.n_kills, 1);
        assert_int_equal(news.level, CGROUP_OOM_OWN);
        t->oom = cgroup_oom_free(t->oom);
        t->cg.dirs[0].created = false;
        watch(t);
        assert_int_equal(news_of(t).n_kills, 0);
        set_own(t, 1, 1, 2);
        assert_int_equal(news_of(t).n_kills, 1);
}

static void a_file_that_says_nothing_any_more_ends_it(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        watch(t);
        end_own(t);
        news = news_of(t);
        assert_true(news.is_over);
        assert_int_equal(news.n_kills, 0);
}

static void what_was_read_before_the_end_is_told(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        watch(t);
        set_own(t, 1, 1, 1);
        during = (struct during){.tree = t, .left = N_READS};
        news = news_of(t);
        assert_int_equal(during.left, 0);
        assert_true(news.is_over);
        assert_int_equal(news.n_kills, 1);
        assert_int_equal(news.level, CGROUP_OOM_OWN);
}

/* ---- In another process image ---- */

static void go_on(struct tree *t, struct cgroup_oom_past past)
{
        struct error err = ERROR_INIT;

        t->oom = cgroup_oom_free(t->oom);
        if (cgroup_oom_resume(&t->cg, &past, &t->oom, &err) < 0)
                fail_msg("%s", err.msg);
}

static void what_was_told_before_is_not_told_again_and_what_was_not_is(void **state)
{
        struct tree *t = *state;

        set_own(t, 3, 3, 3);
        go_on(t, (struct cgroup_oom_past){.n_told = 2});
        assert_int_equal(news_of(t).n_kills, 1);
        set_own(t, 4, 4, 4);
        assert_int_equal(news_of(t).n_kills, 1);
}

static void kills_before_the_container_are_those_that_the_first_watch_found(void **state)
{
        struct tree *t = *state;

        t->cg.dirs[0].created = false;
        set_own(t, 5, 5, 5);
        watch(t);
        assert_int_equal(cgroup_oom_n_before(t->oom), 5);
        set_own(t, 7, 7, 7);
        go_on(t, (struct cgroup_oom_past){.knows_before = true, .n_before = 5, .n_told = 1});
        assert_int_equal(cgroup_oom_n_before(t->oom), 5);
        assert_int_equal(news_of(t).n_kills, 1);
}

/* As a version before has left it. */
static void where_those_are_not_known_what_comes_is_told(void **state)
{
        struct tree *t = *state;

        t->cg.dirs[0].created = false;
        set_own(t, 5, 5, 5);
        go_on(t, (struct cgroup_oom_past){.n_told = 2});
        assert_int_equal(news_of(t).n_kills, 0);
        set_own(t, 6, 6, 6);
        assert_int_equal(news_of(t).n_kills, 1);
}

/* On v1 the counter of a cgroup below is gone with it. */
static void what_is_not_counted_any_more_hides_no_other_kill(void **state)
{
        struct tree *t = *state;

        go_on(t, (struct cgroup_oom_past){.knows_before = true, .n_told = 2});
        assert_int_equal(news_of(t).n_kills, 0);
        set_own(t, 1, 1, 1);
        assert_int_equal(news_of(t).n_kills, 1);
}

static void without_a_memory_controller_there_is_nothing_to_watch(void **state)
{
        struct tree *t = *state;
        struct cgroup none = {0};
        struct error err = ERROR_INIT;

        remove_files(t->path[0]);
        assert_int_equal(cgroup_oom_new(&t->cg, &t->oom, &err), -1);
        assert_int_equal(err.code, STATUS_NOT_FOUND);
        assert_int_equal(cgroup_oom_new(&none, &t->oom, &err), -1);
        assert_int_equal(err.code, STATUS_NOT_FOUND);
        assert_null(t->oom);
}

static void a_counter_is_a_line_of_its_own_with_a_number(void **state)
{
        static const char text[] = "oom 1\noom_kill 23\nhigh\nmax x\nlow 18446744073709551616\n"
                                   "swap 18446744073709551615\ntail 5 6\nlast 7";
        uint64_t n = 0;

        (void)state;
        assert_true(cgroup_counter_find(text, "oom", &n));
        assert_int_equal(n, 1);
        assert_true(cgroup_counter_find(text, "oom_kill", &n));
        assert_int_equal(n, 23);
        assert_true(cgroup_counter_find(text, "swap", &n));
        assert_true(n == UINT64_MAX);
        assert_true(cgroup_counter_find(text, "last", &n));
        assert_int_equal(n, 7);
        assert_false(cgroup_counter_find(text, "oom_", &n));
        assert_false(cgroup_counter_find(text, "kill", &n));
        assert_false(cgroup_counter_find(text, "high", &n));
        assert_false(cgroup_counter_find(text, "max", &n));
        assert_false(cgroup_counter_find(text, "low", &n));
        assert_false(cgroup_counter_find(text, "tail", &n));
        assert_false(cgroup_counter_find("", "oom", &n));
        assert_int_equal(n, 7); /* untouched */
}

static void what_cannot_be_polled_says_when_to_look_again(void **state)
{
        struct tree *t = *state;
        struct cgroup_oom_news news;

        watch(t);
        assert_true(cgroup_oom_is_blind(t->oom));
        assert_int_equal(cgroup_oom_fd(t->oom), -1);
        cgroup_oom_read(t->oom, false, &news);
        assert_int_equal(news.n_kills, 0);
        assert_int_equal(news.look_again_ms, LIMIT_OOM_BLIND_MS);
        set_own(t, 1, 1, 2);
        cgroup_oom_read(t->oom, false, &news);
        assert_int_equal(news.n_kills, 2);
        assert_int_equal(news.level, CGROUP_OOM_OWN);
        assert_int_equal(cgroup_oom_retire(t->oom), -1);
        t->oom = NULL;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_kill_is_told_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_kill_during_a_look_is_told_by_it, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(an_oom_without_a_kill_is_no_news, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(the_level_is_the_one_whose_limit_was_hit, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(the_rest_of_a_group_is_killed_for_the_same_limit,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        a_kill_that_is_counted_after_a_look_at_its_hit_has_its_level, set_up,
                        tear_down),
                cmocka_unit_test_setup_teardown(of_two_levels_that_were_hit_none_is_guessed, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(
                        the_host_is_not_blamed_where_not_all_levels_are_seen, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        what_was_counted_before_is_the_containers_if_the_cgroup_is, set_up,
                        tear_down),
                cmocka_unit_test_setup_teardown(a_file_that_says_nothing_any_more_ends_it, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(what_was_read_before_the_end_is_told, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(
                        what_was_told_before_is_not_told_again_and_what_was_not_is, set_up,
                        tear_down),
                cmocka_unit_test_setup_teardown(
                        kills_before_the_container_are_those_that_the_first_watch_found, set_up,
                        tear_down),
                cmocka_unit_test_setup_teardown(where_those_are_not_known_what_comes_is_told,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_not_counted_any_more_hides_no_other_kill,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        without_a_memory_controller_there_is_nothing_to_watch, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_cannot_be_polled_says_when_to_look_again,
                                                set_up, tear_down),
                cmocka_unit_test(a_counter_is_a_line_of_its_own_with_a_number),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
