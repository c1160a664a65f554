/* SPDX-License-Identifier: Apache-2.0
 *
 * The reaper with real children. Every child waits for the closing of a gate (a pipe), so nothing
 * depends on time; a test that hangs is ended by alarm(2).
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/reaper/notes.h"
#include "pkg/reaper/reaper.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 30, SEEN_MAX = 256 };

struct fixture {
        struct loop *loop;
        struct reaper *reaper;
        struct loop_deferred quit;
        size_t n_quit_at;
        struct reaper_exit seen[SEEN_MAX];
        size_t n_seen;
        struct reaper_watch *victim; /* freed by the next callback */
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        assert_int_equal(loop_new(&f->loop, &err), 0);
        assert_int_equal(reaper_new(&f->reaper, f->loop, &err), 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        f->reaper = reaper_free(f->reaper);
        loop_free(f->loop);
        free(f);
        (void)alarm(0);
        return 0;
}

static void on_exit_seen(const struct reaper_exit *exit, void *userdata)
{
        struct fixture *f = userdata;

        assert_true(f->n_seen < SEEN_MAX);
        f->seen[f->n_seen++] = *exit;
        f->victim = reaper_watch_free(f->victim);
        if (f->n_seen == f->n_quit_at)
                loop_quit(f->loop);
}

static void run_until(struct fixture *f, size_t n)
{
        struct error err = ERROR_INIT;

        f->n_quit_at = n;
        if (f->n_seen < n)
                assert_int_equal(loop_run(f->loop, &err), 0);
}

static void on_quit(struct loop_deferred *deferred)
{
        loop_quit(container_of(deferred, struct fixture, quit)->loop);
}

/* One round of the loop, with what is deferred by now. */
static void run_round(struct fixture *f)
{
        struct error err = ERROR_INIT;

        loop_deferred_init(&f->quit, on_quit);
        loop_defer(f->loop, &f->quit);
        assert_int_equal(loop_run(f->loop, &err), 0);
}

/* A child that waits until the gate is closed (-1: does not wait), then exits. */
static pid_t child_new(int gate[2], int status)
{
        pid_t pid = fork();
        char c;

        assert_true(pid >= 0);
        if (pid == 0) {
                if (gate) {
                        close(gate[1]);
                        (void)!read(gate[0], &c, 1);
                }
                _exit(status);
        }
        return pid;
}

/* Returns when the child is a zombie. */
static void await_zombie(pid_t pid)
{
        siginfo_t info;

        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static bool is_our_child(pid_t pid)
{
        siginfo_t info;

        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0;
}

static void an_exit_arrives_with_status_and_time(void **state)
{
        struct fixture *f = *state;
        struct timespec before = clock_realtime();
        pid_t pid = child_new(NULL, 7);

        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        run_until(f, 1);
        assert_int_equal(f->seen[0].pid, pid);
        assert_int_equal(f->seen[0].code, CLD_EXITED);
        assert_int_equal(f->seen[0].status, 7);
        assert_true(f->seen[0].at.tv_sec >= before.tv_sec);
        assert_false(is_our_child(pid));
}

static void a_death_by_signal_is_told_apart(void **state)
{
        struct fixture *f = *state;
        int gate[2];
        pid_t pid;

        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        pid = child_new(gate, 0);
        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        assert_int_equal(kill(pid, SIGKILL), 0);
        run_until(f, 1);
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
                assert_non_null(reaper_watch_new(f->reaper, pids[i], on_exit_seen, f));
        }
        for (int i = 0; i < N; i++)
                await_zombie(pids[i]);
        run_until(f, N);
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

        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        await_zombie(pid);
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
        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 0);
        close(gate[1]);
        run_until(f, 1);
        close(gate[0]);
}

static void a_late_watch_finds_an_exit_that_was_kept(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 9);

        reaper_expect(f->reaper);
        await_zombie(pid);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_PRESENT);
        reaper_poll(f->reaper);
        assert_false(is_our_child(pid));
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
        assert_int_equal(reaper_find(f->reaper, getpid()), REAPER_STRANGER);
        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        reaper_unexpect(f->reaper);
        assert_int_equal(f->n_seen, 0); /* never from inside the call */
        run_round(f);
        assert_int_equal(f->n_seen, 1);
        assert_int_equal(f->seen[0].pid, pid);
        assert_int_equal(f->seen[0].status, 9);
}

static void kept_exits_are_delivered_in_the_order_of_reaping(void **state)
{
        struct fixture *f = *state;
        pid_t pids[3];

        reaper_expect(f->reaper);
        for (int i = 0; i < 3; i++) {
                pids[i] = child_new(NULL, i);
                await_zombie(pids[i]);
                reaper_poll(f->reaper);
        }
        for (int i = 2; i >= 0; i--)
                assert_non_null(reaper_watch_new(f->reaper, pids[i], on_exit_seen, f));
        run_round(f);
        assert_int_equal(f->n_seen, 3);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(f->seen[i].pid, pids[i]);
        reaper_unexpect(f->reaper);
}

static void more_exits_are_kept_than_there_was_room_for(void **state)
{
        enum { N = 100 };
        struct fixture *f = *state;
        pid_t pids[N];

        reaper_expect(f->reaper);
        for (int i = 0; i < N; i++)
                pids[i] = child_new(NULL, i);
        for (int i = 0; i < N; i++)
                await_zombie(pids[i]);
        reaper_poll(f->reaper);
        for (int i = 0; i < N; i++)
                assert_non_null(reaper_watch_new(f->reaper, pids[i], on_exit_seen, f));
        run_round(f);
        assert_int_equal(f->n_seen, N);
        reaper_unexpect(f->reaper);
}

static void unclaimed_exits_are_forgotten_with_the_last_expectation(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 0);
        struct reaper_watch *watch;

        reaper_expect(f->reaper);
        reaper_expect(f->reaper);
        await_zombie(pid);
        reaper_poll(f->reaper);
        reaper_unexpect(f->reaper);
        reaper_unexpect(f->reaper);
        watch = reaper_watch_new(f->reaper, pid, on_exit_seen, f);
        assert_non_null(watch);
        run_round(f);
        assert_int_equal(f->n_seen, 0);
        reaper_watch_free(watch);
}

static void an_inner_expectation_forgets_nothing(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 0);

        reaper_expect(f->reaper);
        reaper_expect(f->reaper);
        await_zombie(pid);
        reaper_poll(f->reaper);
        reaper_unexpect(f->reaper);
        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        run_round(f);
        assert_int_equal(f->n_seen, 1);
        reaper_unexpect(f->reaper);
}

static void an_unknown_child_leaves_no_zombie(void **state)
{
        struct fixture *f = *state;
        pid_t unknown = child_new(NULL, 0);
        pid_t known;

        await_zombie(unknown);
        known = child_new(NULL, 0);
        assert_non_null(reaper_watch_new(f->reaper, known, on_exit_seen, f));
        run_until(f, 1);
        reaper_poll(f->reaper);
        assert_false(is_our_child(unknown));
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
        assert_non_null(reaper_watch_new(f->reaper, parent, on_exit_seen, f));
        assert_false(reaper_is_watched(f->reaper, orphan));
        assert_non_null(reaper_watch_new(f->reaper, orphan, on_exit_seen, f));
        assert_true(reaper_is_watched(f->reaper, orphan));
        run_until(f, 1);
        assert_int_equal(f->seen[0].pid, parent);
        close(gate[1]);
        run_until(f, 2);
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
                await_zombie(pids[i]);
        }
        for (int i = 0; i < 2; i++)
                watches[i] =
                        reaper_watch_new(f->reaper, pids[i], on_exit_free_other, &watches[1 - i]);
        reaper_poll(f->reaper);
        assert_true((watches[0] == NULL) != (watches[1] == NULL));
        assert_false(is_our_child(pids[0]));
        assert_false(is_our_child(pids[1]));
}

static void a_callback_may_free_a_watch_whose_kept_exit_is_due(void **state)
{
        struct fixture *f = *state;
        pid_t pids[2];

        reaper_expect(f->reaper);
        for (int i = 0; i < 2; i++) {
                pids[i] = child_new(NULL, i);
                await_zombie(pids[i]);
                reaper_poll(f->reaper);
        }
        assert_non_null(reaper_watch_new(f->reaper, pids[0], on_exit_seen, f));
        f->victim = reaper_watch_new(f->reaper, pids[1], on_exit_seen, f);
        run_round(f);
        assert_int_equal(f->n_seen, 1);
        assert_int_equal(f->seen[0].pid, pids[0]);
        reaper_unexpect(f->reaper);
}

static void two_watches_of_one_pid_both_fire(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 4);

        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        run_until(f, 2);
        assert_int_equal(f->seen[0].pid, pid);
        assert_int_equal(f->seen[1].pid, pid);
}

static void a_freed_watch_is_silent_and_the_child_is_reaped(void **state)
{
        struct fixture *f = *state;
        pid_t pid = child_new(NULL, 4);
        struct reaper_watch *watch = reaper_watch_new(f->reaper, pid, on_exit_seen, f);

        assert_non_null(watch);
        assert_null(reaper_watch_free(watch));
        await_zombie(pid);
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 0);
        assert_false(is_our_child(pid));
}

static void a_watch_may_outlive_the_reaper(void **state)
{
        struct fixture *f = *state;
        struct reaper_watch *watch = reaper_watch_new(f->reaper, getpid(), on_exit_seen, f);

        assert_non_null(watch);
        f->reaper = reaper_free(f->reaper);
        assert_null(reaper_watch_free(watch));
        assert_null(reaper_watch_free(NULL));
        assert_null(reaper_free(NULL));
}

/* ---- Exits that outlive an image: a reaper that is made anew on the same memory ---- */

enum { NOTES = 64 << 10 };

static void *notes_new(void)
{
        void *notes = calloc(1, NOTES);

        assert_non_null(notes);
        return notes;
}

static void set_notes(struct fixture *f, void *notes)
{
        struct error err = ERROR_INIT;

        if (reaper_set_notes(f->reaper, notes, NOTES, &err) < 0)
                fail_msg("%s", err.msg);
}

/* As another image does; what the one before had in its own memory is gone. */
static void begin_anew(struct fixture *f, void *notes)
{
        struct error err = ERROR_INIT;

        f->reaper = reaper_free(f->reaper);
        assert_int_equal(reaper_new(&f->reaper, f->loop, &err), 0);
        f->n_seen = 0;
        set_notes(f, notes);
}

static void an_exit_is_told_again_until_it_is_settled(void **state)
{
        struct fixture *f = *state;
        void *notes = notes_new();
        pid_t pid = child_new(NULL, 7);

        set_notes(f, notes);
        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        await_zombie(pid);
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 1);
        assert_false(is_our_child(pid));
        for (int i = 0; i < 2; i++) {
                struct timespec at = f->seen[0].at;

                begin_anew(f, notes);
                assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
                assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
                run_round(f);
                assert_int_equal(f->n_seen, 1);
                assert_int_equal(f->seen[0].pid, pid);
                assert_int_equal(f->seen[0].code, CLD_EXITED);
                assert_int_equal(f->seen[0].status, 7);
                assert_memory_equal(&f->seen[0].at, &at, sizeof(at));
                reaper_restored(f->reaper);
        }
        reaper_settle(f->reaper);
        begin_anew(f, notes);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_STRANGER);
        free(notes);
}

static void what_was_not_delivered_is_not_settled(void **state)
{
        struct fixture *f = *state;
        void *notes = notes_new();
        pid_t pid = child_new(NULL, 1);

        set_notes(f, notes);
        await_zombie(pid);
        reaper_poll(f->reaper); /* kept, since the notes are being restored */
        reaper_settle(f->reaper);
        begin_anew(f, notes);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
        free(notes);
}

static void what_nobody_has_claimed_is_forgotten_in_the_notes_too(void **state)
{
        struct fixture *f = *state;
        void *notes = notes_new();
        pid_t pids[2] = {child_new(NULL, 1), 0};

        set_notes(f, notes);
        await_zombie(pids[0]);
        reaper_poll(f->reaper);
        reaper_restored(f->reaper);
        pids[1] = child_new(NULL, 1);
        await_zombie(pids[1]);
        reaper_poll(f->reaper);
        begin_anew(f, notes);
        assert_int_equal(reaper_find(f->reaper, pids[0]), REAPER_STRANGER);
        assert_int_equal(reaper_find(f->reaper, pids[1]), REAPER_STRANGER);
        free(notes);
}

/* The image died between the note and the reaping: the child is there, and its note, too. */
static void a_child_that_was_noted_and_not_reaped_is_told_once(void **state)
{
        struct fixture *f = *state;
        void *memory = notes_new();
        pid_t pid = child_new(NULL, 6);
        const struct reaper_exit exit = {.pid = pid, .code = CLD_EXITED, .status = 6};
        struct error err = ERROR_INIT;
        struct notes notes;

        await_zombie(pid);
        assert_int_equal(notes_open(&notes, memory, NOTES, &err), 0);
        notes_add(&notes, &exit);
        begin_anew(f, memory);
        assert_non_null(reaper_watch_new(f->reaper, pid, on_exit_seen, f));
        reaper_restored(f->reaper);
        reaper_poll(f->reaper);
        run_round(f);
        assert_int_equal(f->n_seen, 1);
        assert_int_equal(f->seen[0].status, 6);
        assert_true(f->seen[0].at.tv_sec > 0);
        /* It is in the notes until it is settled, as any other. */
        begin_anew(f, memory);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
        free(memory);
}

static void memory_that_is_none_of_notes_is_refused(void **state)
{
        struct fixture *f = *state;
        uint32_t *notes = notes_new();
        struct error err = ERROR_INIT;

        assert_int_equal(reaper_set_notes(f->reaper, notes, 8, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        notes[0] = 9;
        assert_int_equal(reaper_set_notes(f->reaper, notes, NOTES, &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        assert_string_equal(err.msg, "exits: layout version 9, this program knows 2");
        notes[0] = 2;
        notes[1] = 1 << 20;
        assert_int_equal(reaper_set_notes(f->reaper, notes, NOTES, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.msg, "1048576 slots, at most"));
        notes[1] = 1;
        notes[8] = 77;
        assert_int_equal(reaper_set_notes(f->reaper, notes, NOTES, &err), -1);
        assert_string_equal(err.msg, "exits: slot 0 says 77");
        free(notes);
}

/* A page of a file that is read for the first time is a page that it has from then on. */
static void memory_without_exits_is_hardly_touched(void **state)
{
        struct fixture *f = *state;
        void *notes = mmap(NULL, NOTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        unsigned char is_there[NOTES / 4096];
        size_t n = 0;

        assert_true(notes != MAP_FAILED);
        for (int i = 0; i < 3; i++)
                begin_anew(f, notes);
        assert_int_equal(mincore(notes, NOTES, is_there), 0);
        for (size_t i = 0; i < sizeof(is_there); i++)
                n += is_there[i] & 1;
        assert_int_equal(n, 1);
        f->reaper = reaper_free(f->reaper);
        assert_int_equal(munmap(notes, NOTES), 0);
}

/* The smallest memory has room for one. */
static void of_too_many_those_that_were_delivered_go_first(void **state)
{
        struct fixture *f = *state;
        void *notes = notes_new();
        struct error err = ERROR_INIT;
        pid_t pids[3];

        assert_int_equal(reaper_set_notes(f->reaper, notes, 32 + 2 * 32, &err), 0);
        for (int i = 0; i < 3; i++) {
                pids[i] = child_new(NULL, i);
                if (i == 1)
                        assert_non_null(reaper_watch_new(f->reaper, pids[i], on_exit_seen, f));
                await_zombie(pids[i]);
                reaper_poll(f->reaper);
        }
        begin_anew(f, notes);
        assert_int_equal(reaper_find(f->reaper, pids[0]), REAPER_KEPT);
        assert_int_equal(reaper_find(f->reaper, pids[1]), REAPER_STRANGER);
        assert_int_equal(reaper_find(f->reaper, pids[2]), REAPER_KEPT);
        free(notes);
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
        assert_non_null(reaper_watch_new(f->reaper, watched, on_exit_seen, f));
        assert_int_equal(reaper_strangers(f->reaper, &pids, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(pids[0], stranger);
        free(pids);
        close(gate[0]);
        close(gate[1]);
        run_until(f, 1);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
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
                CASE(an_unknown_child_leaves_no_zombie),
                CASE(an_orphan_is_adopted_and_reaped),
                CASE(a_callback_may_free_another_watch),
                CASE(a_callback_may_free_a_watch_whose_kept_exit_is_due),
                CASE(two_watches_of_one_pid_both_fire),
                CASE(a_freed_watch_is_silent_and_the_child_is_reaped),
                CASE(a_watch_may_outlive_the_reaper),
                CASE(an_exit_is_told_again_until_it_is_settled),
                CASE(what_was_not_delivered_is_not_settled),
                CASE(what_nobody_has_claimed_is_forgotten_in_the_notes_too),
                CASE(a_child_that_was_noted_and_not_reaped_is_told_once),
                CASE(memory_that_is_none_of_notes_is_refused),
                CASE(memory_without_exits_is_hardly_touched),
                CASE(of_too_many_those_that_were_delivered_go_first),
                CASE(children_that_nobody_watches_are_listed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
