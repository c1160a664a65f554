/* SPDX-License-Identifier: Apache-2.0
 *
 * Exits that outlive an image: a reaper that is made anew on the same memory.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/reaper/notes.h"

#include "test/unit/reaper/children.h"
#include "test/unit/unit.h"

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
        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        children_await_zombie(pid);
        reaper_poll(f->reaper);
        assert_int_equal(f->n_seen, 1);
        assert_false(children_is_ours(pid));
        for (int i = 0; i < 2; i++) {
                struct timespec at = f->seen[0].at;

                begin_anew(f, notes);
                assert_int_equal(reaper_find(f->reaper, pid), REAPER_KEPT);
                assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
                children_run_round(f);
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
        children_await_zombie(pid);
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
        children_await_zombie(pids[0]);
        reaper_poll(f->reaper);
        reaper_restored(f->reaper);
        pids[1] = child_new(NULL, 1);
        children_await_zombie(pids[1]);
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
        const struct reaped reaped = {.exit = {.pid = pid, .code = CLD_EXITED, .status = 6}};
        struct error err = ERROR_INIT;
        struct notes notes;

        children_await_zombie(pid);
        assert_int_equal(notes_open(&notes, memory, NOTES, &err), 0);
        notes_add(&notes, &reaped);
        begin_anew(f, memory);
        assert_non_null(reaper_watch_new(f->reaper, pid, children_on_exit, f));
        reaper_restored(f->reaper);
        reaper_poll(f->reaper);
        children_run_round(f);
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

static void *shared_notes_new(void)
{
        void *notes = mmap(NULL, NOTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(notes != MAP_FAILED);
        return notes;
}

static size_t count_pages(void *notes)
{
        unsigned char is_there[NOTES / 4096];
        size_t n = 0;

        assert_int_equal(mincore(notes, NOTES, is_there), 0);
        for (size_t i = 0; i < sizeof(is_there); i++)
                n += is_there[i] & 1;
        return n;
}

/* A page of a file that is read for the first time is a page that it has from then on. */
static void memory_without_exits_is_hardly_touched(void **state)
{
        struct fixture *f = *state;
        void *notes = shared_notes_new();

        for (int i = 0; i < 3; i++)
                begin_anew(f, notes);
        assert_int_equal(count_pages(notes), 1);
        f->reaper = reaper_free(f->reaper);
        assert_int_equal(munmap(notes, NOTES), 0);
}

/* So what many exits at once have taken is not there for ever. */
static void pages_of_exits_that_are_gone_are_given_back(void **state)
{
        enum { N = 600, LAST = 300, BYTES = 32 };
        void *memory = shared_notes_new();
        struct error err = ERROR_INIT;
        struct reaped reaped = {.exit = {.code = CLD_EXITED}};
        struct notes notes;
        size_t i = 0;

        (void)state;
        assert_int_equal(notes_open(&notes, memory, NOTES, &err), 0);
        for (int round = 0; round < 2; round++) {
                for (reaped.exit.pid = 1; reaped.exit.pid <= N; reaped.exit.pid++)
                        notes_add(&notes, &reaped);
                assert_in_range(count_pages(memory), N * BYTES / 4096, NOTES / 4096);
                for (pid_t pid = 1; pid <= N; pid++) {
                        if (pid != LAST)
                                notes_remove(&notes, pid);
                }
                assert_int_equal(notes_open(&notes, memory, NOTES, &err), 0);
                i = 0;
                assert_true(notes_next(&notes, &i, &reaped));
                assert_int_equal(reaped.exit.pid, LAST);
                assert_false(notes_next(&notes, &i, &reaped));
                notes_set_delivered(&notes, LAST);
                notes_remove_delivered(&notes);
                assert_int_equal(count_pages(memory), 1);
                assert_int_equal(notes_open(&notes, memory, NOTES, &err), 0);
                assert_int_equal(count_pages(memory), 1);
        }
        assert_int_equal(munmap(memory, NOTES), 0);
}

/*
 * Execs of many clients overlap without end, and each leaves an exit that nobody claims. What is
 * kept is what ended within the longest of them.
 */
static void expectations_that_overlap_without_end_keep_little(void **state)
{
        enum { N = 200, AT_ONCE = 2 };
        struct fixture *f = *state;
        void *notes = shared_notes_new();

        set_notes(f, notes);
        reaper_restored(f->reaper);
        for (int i = 0; i < N; i++) {
                struct reaper_exit exit;
                size_t n = 0;

                reaper_unexpect(f->reaper, &f->expected[i % AT_ONCE]);
                reaper_expect(f->reaper, &f->expected[i % AT_ONCE]);
                children_await_zombie(child_new(NULL, 0));
                reaper_poll(f->reaper);
                for (size_t at = 0; reaper_next_note(f->reaper, &at, &exit); n++)
                        ;
                assert_in_range(n, 1, AT_ONCE);
        }
        assert_int_equal(count_pages(notes), 1);
        for (int i = 0; i < AT_ONCE; i++)
                reaper_unexpect(f->reaper, &f->expected[i]);
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
                        assert_non_null(reaper_watch_new(f->reaper, pids[i], children_on_exit, f));
                children_await_zombie(pids[i]);
                reaper_poll(f->reaper);
        }
        begin_anew(f, notes);
        assert_int_equal(reaper_find(f->reaper, pids[0]), REAPER_KEPT);
        assert_int_equal(reaper_find(f->reaper, pids[1]), REAPER_STRANGER);
        assert_int_equal(reaper_find(f->reaper, pids[2]), REAPER_KEPT);
        free(notes);
}

/* The second child takes the place of one that is settled, so that places do not tell the order. */
static void of_too_many_the_oldest_goes_wherever_it_is_noted(void **state)
{
        struct fixture *f = *state;
        void *notes = notes_new();
        struct error err = ERROR_INIT;
        pid_t pids[5];

        assert_int_equal(reaper_set_notes(f->reaper, notes, 32 + 3 * 32, &err), 0);
        for (int i = 0; i < 5; i++) {
                pids[i] = child_new(NULL, i);
                if (i == 0)
                        assert_non_null(reaper_watch_new(f->reaper, pids[i], children_on_exit, f));
                children_await_zombie(pids[i]);
                reaper_poll(f->reaper);
                if (i == 2)
                        reaper_settle(f->reaper);
        }
        begin_anew(f, notes);
        assert_int_equal(reaper_find(f->reaper, pids[1]), REAPER_STRANGER);
        for (int i = 4; i >= 2; i--)
                assert_non_null(reaper_watch_new(f->reaper, pids[i], children_on_exit, f));
        children_run_round(f);
        assert_int_equal(f->n_seen, 3);
        for (int i = 0; i < 3; i++)
                assert_int_equal(f->seen[i].pid, pids[2 + i]);
        free(notes);
}

static size_t count_notes(const struct fixture *f)
{
        struct reaper_exit exit;
        size_t at = 0;
        size_t n = 0;

        while (reaper_next_note(f->reaper, &at, &exit))
                n++;
        return n;
}

static void a_kept_exit_whose_watch_is_freed_is_kept_for_the_next_one(void **state)
{
        struct fixture *f = *state;
        void *notes = notes_new();
        pid_t pids[2];

        set_notes(f, notes);
        for (int i = 0; i < 2; i++) {
                pids[i] = child_new(NULL, i);
                children_await_zombie(pids[i]);
                reaper_poll(f->reaper);
        }
        reaper_watch_free(reaper_watch_new(f->reaper, pids[0], children_on_exit, f));
        assert_int_equal(reaper_find(f->reaper, pids[0]), REAPER_KEPT);
        assert_int_equal(count_notes(f), 2);
        for (int i = 0; i < 2; i++)
                assert_non_null(reaper_watch_new(f->reaper, pids[1 - i], children_on_exit, f));
        children_run_round(f);
        assert_int_equal(f->n_seen, 2);
        assert_int_equal(f->seen[0].pid, pids[0]);
        free(notes);
}

static void a_kept_exit_that_nobody_can_claim_any_more_leaves_no_note(void **state)
{
        struct fixture *f = *state;
        void *notes = notes_new();
        pid_t pid = child_new(NULL, 1);
        struct reaper_watch *watch;

        set_notes(f, notes);
        children_await_zombie(pid);
        reaper_poll(f->reaper);
        watch = reaper_watch_new(f->reaper, pid, children_on_exit, f);
        reaper_restored(f->reaper);
        assert_int_equal(count_notes(f), 1);
        reaper_watch_free(watch);
        assert_int_equal(count_notes(f), 0);
        assert_int_equal(reaper_find(f->reaper, pid), REAPER_STRANGER);
        free(notes);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, children_set_up, children_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(an_exit_is_told_again_until_it_is_settled),
                CASE(what_was_not_delivered_is_not_settled),
                CASE(what_nobody_has_claimed_is_forgotten_in_the_notes_too),
                CASE(a_child_that_was_noted_and_not_reaped_is_told_once),
                CASE(memory_that_is_none_of_notes_is_refused),
                CASE(memory_without_exits_is_hardly_touched),
                CASE(pages_of_exits_that_are_gone_are_given_back),
                CASE(expectations_that_overlap_without_end_keep_little),
                CASE(of_too_many_those_that_were_delivered_go_first),
                CASE(of_too_many_the_oldest_goes_wherever_it_is_noted),
                CASE(a_kept_exit_whose_watch_is_freed_is_kept_for_the_next_one),
                CASE(a_kept_exit_that_nobody_can_claim_any_more_leaves_no_note),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
