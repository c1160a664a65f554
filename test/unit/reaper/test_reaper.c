/* SPDX-License-Identifier: Apache-2.0
 *
 * The reaper: exits of children, watched, kept and forgotten.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"

#include "test/unit/reaper/children.h"
#include "test/unit/unit.h"

static void an_exit_arrives_with_status_and_time(void **state)
{
        struct fixture *f = *state;
        struct timespec before = clock_realtime();
        pid_t pid = child_new(NULL, 7);

        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        children_run_until(f, 1);
        assert_int_equal(f->seen[0].pid, pid);
        assert_int_equal(f->seen[0].code, CLD_EXITED);
        assert_int_equal(f->seen[0].status, 7);
        assert_true(f->seen[0].at.tv_sec >= before.tv_sec);
        assert_false(children_is_ours(pid));
}

static void a_death_by_signal_is_told_apart(void **state)
{
        struct fixture *f = *state;
        int gate[2];
        pid_t pid;

        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        pid = child_new(gate, 0);
        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        assert_int_equal(kill(pid, SIGKILL), 0);
        children_run_until(f, 1);
        assert_int_equal(f->seen[0].code, CLD_KILLED);
        assert_int_equal(f->seen[0].status, SIGKILL);
        close(gate[0]);
        close(gate[1]);
}

static void many_exits_of_one_signal_all_arrive(void **state)
{
        enum { N = 20 };
        struct fixture *f = *state;
        bool found[N] = {false};
        pid_t pids[N];

        for (int i = 0; i < N; i++) {
                pids[i] = child_new(NULL, i);
                assert_non_null(reaper_watch_new(f->reaper, pids[i], children_on_exit, f));
        }
        for (int i = 0; i < N; i++)
                children_await_zombie(pids[i]);
        children_run_until(f, N);
        for (size_t i = 0; i < N; i++) {
                int status = f->seen[i].status;

                assert_in_range(status, 0, N - 1);
                assert_int_equal(f->seen[i].pid, pids[status]);
                assert_false(found[status]);
                found[status] = true;
        }
}

static void poll_delivers_before_it_returns(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 3);

        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        children_await_zombie(pid);
        assert_int_equal(f->n_seen, 0);
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 1);
        assert_int_equal(f->seen[0].status, 3);
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 1);
}

static void poll_leaves_a_living_child_alone(void **state)
{
        struct fixture *f = *state;
        int gate[2];
        pid_t pid;

        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        pid = child_new(gate, 1);
        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 0);
        close(gate[1]);
        children_run_until(f, 1);
        close(gate[0]);
}

static void a_late_watch_finds_an_exit_that_was_kept(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 9);

        reaper_expect(f->reaper, &f->expected[0]);
        children_await_zombie(pid);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_PRESENT);
        reaper_poll(f->reaper);
        assert_false(children_is_ours(pid));
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
        assert_int_equal(reaper_find(f->reaper, getpid()), REAPER_STRANGER);
        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        reaper_unexpect(f->reaper, &f->expected[0]);
        assert_int_equal(f->n_seen, 0); /* never from inside the call */
        children_run_round(f);
        assert_int_equal(f->n_seen, 1);
        assert_int_equal(f->seen[0].pid, pid);
        assert_int_equal(f->seen[0].status, 9);
}

static void kept_exits_are_delivered_in_the_order_of_reaping(void **state)
{
        struct fixture *f = *state;
        pid_t pids[3];

        reaper_expect(f->reaper, &f->expected[0]);
        for (int i = 0; i < 3; i++) {
                pids[i] = child_new(NULL, i);
                children_await_zombie(pids[i]);
                reaper_poll(f->reaper);
        }
        for (int i = 2; i >= 0; i--)
                assert_non_null(reaper_watch_new(f->reaper, pids[i], children_on_exit, f));
        children_run_round(f);
        assert_int_equal(f->n_seen, 3);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(f->seen[i].pid, pids[i]);
        reaper_unexpect(f->reaper, &f->expected[0]);
}

static void more_exits_are_kept_than_there_was_room_for(void **state)
{
        enum { N = 100 };
        struct fixture *f = *state;
        pid_t pids[N];

        reaper_expect(f->reaper, &f->expected[0]);
        for (int i = 0; i < N; i++)
                pids[i] = child_new(NULL, i);
        for (int i = 0; i < N; i++)
                children_await_zombie(pids[i]);
        reaper_poll(f->reaper);
        for (int i = 0; i < N; i++)
                assert_non_null(reaper_watch_new(f->reaper, pids[i], children_on_exit, f));
        children_run_round(f);
        assert_int_equal(f->n_seen, N);
        reaper_unexpect(f->reaper, &f->expected[0]);
}

static void unclaimed_exits_are_forgotten_with_the_last_expectation(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 0);
        struct reaper_watch *watch;

        reaper_expect(f->reaper, &f->expected[0]);
        reaper_expect(f->reaper, &f->expected[1]);
        children_await_zombie(pid);
        reaper_poll(f->reaper);
        reaper_unexpect(f->reaper, &f->expected[0]);
        reaper_unexpect(f->reaper, &f->expected[1]);
        watch = reaper_watch_new(f->reaper, pid, children_on_exit, f);
        assert_non_null(watch);
        children_run_round(f);
        assert_int_equal(f->n_seen, 0);
        reaper_watch_free(watch);
}

static void an_inner_expectation_forgets_nothing(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 0);

        reaper_expect(f->reaper, &f->expected[0]);
        reaper_expect(f->reaper, &f->expected[1]);
        children_await_zombie(pid);
        reaper_poll(f->reaper);
        reaper_unexpect(f->reaper, &f->expected[0]);
        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        children_run_round(f);
        assert_int_equal(f->n_seen, 1);
        reaper_unexpect(f->reaper, &f->expected[1]);
}

static void an_exit_of_before_an_expectation_is_not_kept_for_it(void **state)
{
        struct fixture *f = *state;
        pid_t old = child_new(NULL, 0);
        pid_t young;

        reaper_expect(f->reaper, &f->expected[0]);
        children_await_zombie(old);
        reaper_poll(f->reaper);
        reaper_expect(f->reaper, &f->expected[1]);
        young = child_new(NULL, 3);
        children_await_zombie(young);
        reaper_poll(f->reaper);
        assert_int_equal(reaper_find(f->reaper, old), REAPER_KEPT);
        reaper_unexpect(f->reaper, &f->expected[0]);
        assert_int_equal(reaper_find(f->reaper, old), REAPER_STRANGER);
        assert_int_equal(reaper_find(f->reaper, young), REAPER_KEPT);
        reaper_unexpect(f->reaper, &f->expected[1]);
        assert_int_equal(reaper_find(f->reaper, young), REAPER_STRANGER);
}

static void an_exit_is_kept_for_who_expects_longest(void **state)
{
        struct fixture *f = *state;
        pid_t pid;

        reaper_expect(f->reaper, &f->expected[0]);
        reaper_expect(f->reaper, &f->expected[1]);
        pid = child_new(NULL, 0);
        children_await_zombie(pid);
        reaper_poll(f->reaper);
        reaper_unexpect(f->reaper, &f->expected[1]);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
        reaper_unexpect(f->reaper, &f->expected[0]);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_STRANGER);
}

static void to_end_what_is_not_expected_is_harmless(void **state)
{
        struct fixture *f = *state;
        struct reaper_expectation never = {0};
        pid_t pid = child_new(NULL, 0);

        reaper_expect(f->reaper, &f->expected[0]);
        reaper_expect(f->reaper, &f->expected[1]);
        children_await_zombie(pid);
        reaper_poll(f->reaper);
        reaper_unexpect(f->reaper, &never);
        reaper_unexpect(f->reaper, &f->expected[1]);
        reaper_unexpect(f->reaper, &f->expected[1]);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
        reaper_unexpect(f->reaper, &f->expected[0]);
}

static void an_unknown_child_leaves_no_zombie(void **state)
{
        struct fixture *f = *state;
        pid_t unknown = child_new(NULL, 0);
        pid_t known;

        children_await_zombie(unknown);
        known = child_new(NULL, 0);
        assert_non_null(reaper_watch_new(f->reaper, known, children_on_exit, f));
        children_run_until(f, 1);
        reaper_poll(f->reaper);
        assert_false(children_is_ours(unknown));
}

static void an_orphan_is_adopted_and_reaped(void **state)
{
        struct fixture *f = *state;
        pid_t orphan = 0;
        pid_t parent;
        int gate[2];
        int told[2];

        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        assert_int_equal(pipe2(told, O_CLOEXEC), 0);
        parent = fork();
        assert_true(parent >= 0);
        if (parent == 0) {
                orphan = child_new(gate, 5);
                _exit(write(told[1], &orphan, sizeof(orphan)) == sizeof(orphan) ? 0 : 1);
        }
        assert_int_equal(read(told[0], &orphan, sizeof(orphan)), sizeof(orphan));
        assert_non_null(reaper_watch_new(f->reaper, parent, children_on_exit, f));
        assert_false(reaper_is_watched(f->reaper, orphan));
        assert_non_null(reaper_watch_new(f->reaper, orphan, children_on_exit, f));
        assert_true(reaper_is_watched(f->reaper, orphan));
        children_run_until(f, 1);
        assert_int_equal(f->seen[0].pid, parent);
        close(gate[1]);
        children_run_until(f, 2);
        assert_int_equal(f->seen[1].pid, orphan);
        assert_int_equal(f->seen[1].status, 5);
        close(gate[0]);
        close(told[0]);
        close(told[1]);
}

/* Each of the two watches is freed by the callback of the other one, whichever comes first. */
static void on_exit_free_other(const struct reaper_exit *exit, void *userdata)
{
        struct reaper_watch **other = userdata;

        *other = reaper_watch_free(*other);
}

static void a_callback_may_free_another_watch(void **state)
{
        struct fixture *f = *state;
        struct reaper_watch *watches[2];
        pid_t pids[2];

        for (int i = 0; i < 2; i++) {
                pids[i] = child_new(NULL, i);
                children_await_zombie(pids[i]);
        }
        for (int i = 0; i < 2; i++)
                watches[i] =
                        reaper_watch_new(f->reaper, pids[i], on_exit_free_other, &watches[1 - i]);
        reaper_poll(f->reaper);
        assert_true((watches[0] == NULL) != (watches[1] == NULL));
        assert_false(children_is_ours(pids[0]));
        assert_false(children_is_ours(pids[1]));
}

static void a_callback_may_free_a_watch_whose_kept_exit_is_due(void **state)
{
        struct fixture *f = *state;
        pid_t pids[2];

        reaper_expect(f->reaper, &f->expected[0]);
        for (int i = 0; i < 2; i++) {
                pids[i] = child_new(NULL, i);
                children_await_zombie(pids[i]);
                reaper_poll(f->reaper);
        }
        assert_non_null(reaper_watch_new(f->reaper, pids[0], children_on_exit, f));
        f->victim = reaper_watch_new(f->reaper, pids[1], children_on_exit, f);
        children_run_round(f);
        assert_int_equal(f->n_seen, 1);
        assert_int_equal(f->seen[0].pid, pids[0]);
        reaper_unexpect(f->reaper, &f->expected[0]);
}

static void two_watches_of_one_pid_both_fire(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 4);

        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        children_run_until(f, 2);
        assert_int_equal(f->seen[0].pid, pid);
        assert_int_equal(f->seen[1].pid, pid);
}

static void a_freed_watch_is_silent_and_the_child_is_reaped(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 4);
        struct reaper_watch *watch = reaper_watch_new(f->reaper, pid, children_on_exit, f);

        assert_non_null(watch);
        assert_null(reaper_watch_free(watch));
        children_await_zombie(pid);
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 0);
        assert_false(children_is_ours(pid));
}

static void a_watch_may_outlive_the_reaper(void **state)
{
        struct fixture *f = *state;
        struct reaper_watch *watch = reaper_watch_new(f->reaper, getpid(), children_on_exit, f);

        assert_non_null(watch);
        f->reaper = reaper_free(f->reaper);
        assert_null(reaper_watch_free(watch));
        assert_null(reaper_watch_free(NULL));
        assert_null(reaper_free(NULL));
}

static void children_that_nobody_watches_are_listed(void **state)
{
        struct fixture *f = *state;
        int gate[2];
        pid_t watched;
        pid_t stranger;
        pid_t *pids = NULL;
        size_t n = 0;

        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        watched = child_new(gate, 0);
        stranger = child_new(gate, 0);
        assert_non_null(reaper_watch_new(f->reaper, watched, children_on_exit, f));
        assert_int_equal(reaper_strangers(f->reaper, &pids, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(pids[0], stranger);
        free(pids);
        close(gate[0]);
        close(gate[1]);
        children_run_until(f, 1);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, children_set_up, children_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(an_exit_arrives_with_status_and_time),
                CASE(a_death_by_signal_is_told_apart),
                CASE(many_exits_of_one_signal_all_arrive),
                CASE(poll_delivers_before_it_returns),
                CASE(poll_leaves_a_living_child_alone),
                CASE(a_late_watch_finds_an_exit_that_was_kept),
                CASE(kept_exits_are_delivered_in_the_order_of_reaping),
                CASE(more_exits_are_kept_than_there_was_room_for),
                CASE(unclaimed_exits_are_forgotten_with_the_last_expectation),
                CASE(an_inner_expectation_forgets_nothing),
                CASE(an_exit_of_before_an_expectation_is_not_kept_for_it),
                CASE(an_exit_is_kept_for_who_expects_longest),
                CASE(to_end_what_is_not_expected_is_harmless),
                CASE(an_unknown_child_leaves_no_zombie),
                CASE(an_orphan_is_adopted_and_reaped),
                CASE(a_callback_may_free_another_watch),
                CASE(a_callback_may_free_a_watch_whose_kept_exit_is_due),
                CASE(two_watches_of_one_pid_both_fire),
                CASE(a_freed_watch_is_silent_and_the_child_is_reaped),
                CASE(a_watch_may_outlive_the_reaper),
                CASE(children_that_nobody_watches_are_listed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
