/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of events: what it takes and gives back, and what somebody finds there who looks after
 * each single instruction of whoever changes it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

#include "shim/event_entry.h"
#include "shim/event_memory.h"
#include "test/unit/unit.h"

enum { SIZE = 64 << 10, PAGE = 4096, SEQS_MAX = 64 };

struct fixture {
        int fd;
        void *region;
        struct event_memory memory;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        f->fd = memfd_create("queue", MFD_CLOEXEC);
        assert_true(f->fd >= 0);
        assert_int_equal(ftruncate(f->fd, SIZE), 0);
        f->region = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
        assert_ptr_not_equal(f->region, MAP_FAILED);
        event_memory_init(&f->memory, f->region, SIZE);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        (void)munmap(f->region, SIZE);
        (void)close(f->fd);
        free(f);
        return 0;
}

/* An entry on the heap; its length depends on its number. */
static uint8_t *entry_of(uint64_t seq, size_t *ret_len)
{
        size_t len = 20 + seq * 97 % 300;
        struct task_event *event = task_event_new(len);
        uint8_t *entry;

        assert_non_null(event);
        memset(event->data, (int)seq, len);
        event->len = len;
        event->topic = "/tasks/test";
        event->type_url = "test";
        event->seq = seq;
        entry = event_entry_pack(event, ret_len);
        assert_non_null(entry);
        task_event_free(event);
        return entry;
}

static int add(struct event_memory *memory, uint64_t seq, uint64_t *ret_at)
{
        size_t len = 0;
        _cleanup_free_ uint8_t *entry = entry_of(seq, &len);

        return event_memory_add(memory, entry, len, 0, ret_at);
}

/* What is found. */
struct content {
        uint64_t seqs[SEQS_MAX];
        size_t n;
        uint32_t n_lost;
        uint32_t lost_seq;
        uint64_t done;
};

static bool is_whole(const struct task_event *event)
{
        for (size_t i = 0; i < event->len; i++) {
                if (event->data[i] != (uint8_t)event->seq)
                        return false;
        }
        return event->len == 20 + event->seq * 97 % 300;
}

/* As the next process image would. */
static struct content look(void *region)
{
        struct event_memory memory;
        _cleanup_free_ uint8_t *text = NULL;
        struct content ret = {.n = 0};
        struct task_event *event;
        uint64_t place;
        size_t len = 0;
        size_t at = 0;
        size_t n = 0;

        event_memory_init(&memory, region, SIZE);
        assert_int_equal(event_memory_look(&memory, NULL), 0);
        assert_int_equal(event_memory_copy(&memory, &text, &len, &place), 0);
        for (int r; (r = event_entry_read(text, len, at, &event, &n)) != 0; at += n) {
                assert_int_equal(r, 1);
                if (!event)
                        continue;
                assert_true(is_whole(event));
                assert_true(ret.n < SEQS_MAX);
                ret.seqs[ret.n++] = event->seq;
                task_event_free(event);
        }
        ret.n_lost = event_memory_lost(&memory, &ret.lost_seq);
        ret.done = event_memory_done(&memory);
        return ret;
}

static blkcnt_t pages(const struct fixture *f)
{
        struct stat st;

        assert_int_equal(fstat(f->fd, &st), 0);
        return st.st_blocks / 8;
}

static void nothing_costs_no_memory(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(pages(f), 0);
        assert_int_equal(look(f->region).n, 0);
        assert_int_equal(pages(f), 0);
}

static void what_is_removed_makes_room_for_others(void **state)
{
        struct fixture *f = *state;
        uint64_t places[400];

        for (uint64_t i = 0; i < 400; i++) {
                assert_int_equal(add(&f->memory, i + 1, &places[i]), 0);
                if (i >= 30) {
                        struct content content;

                        event_memory_remove(&f->memory, places[i - 30]);
                        content = look(f->region);
                        assert_int_equal(content.n, 30);
                        assert_int_equal(content.seqs[0], i - 28);
                        assert_int_equal(content.seqs[29], i + 1);
                }
        }
        for (uint64_t i = 370; i < 400; i++)
                event_memory_remove(&f->memory, places[i]);
        assert_int_equal(look(f->region).n, 0);
        assert_int_equal(pages(f), 1);
}

static void what_is_removed_out_of_turn_waits_for_the_first(void **state)
{
        struct fixture *f = *state;
        uint64_t first;
        uint64_t at;

        assert_int_equal(add(&f->memory, 1, &first), 0);
        for (uint64_t i = 2; add(&f->memory, i, &at) == 0; i++)
                event_memory_remove(&f->memory, at);
        assert_int_equal(look(f->region).n, 1);
        event_memory_remove(&f->memory, first);
        assert_int_equal(add(&f->memory, 2, &at), 0);
        assert_int_equal(look(f->region).n, 1);
}

static void what_has_no_room_is_refused(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ uint8_t *entry = NULL;
        size_t len = 0;
        uint64_t at;

        entry = entry_of(1, &len);
        assert_int_equal(event_memory_add(&f->memory, entry, len, SIZE - PAGE - len + 1, &at),
                         -ENOSPC);
        assert_int_equal(event_memory_add(&f->memory, entry, len, SIZE - PAGE - len, &at), 0);
        for (uint64_t i = 2; add(&f->memory, i, &at) == 0; i++)
                ;
        assert_int_equal(add(&f->memory, 99, &at), -ENOSPC);
        event_memory_init(&f->memory, NULL, 0);
        assert_int_equal(add(&f->memory, 99, &at), -ENOMEM);
        event_memory_set_lost(&f->memory, 1, 1);
        assert_int_equal(event_memory_look(&f->memory, NULL), 0);
}

static void what_is_none_is_refused(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        uint32_t *words = f->region;
        uint64_t at;

        assert_int_equal(add(&f->memory, 1, &at), 0);
        words[0] = 7;
        assert_int_equal(event_memory_look(&f->memory, &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        words[0] = 1;
        words[5] = 1; /* its end, 4 GiB behind */
        assert_int_equal(event_memory_look(&f->memory, &err), -1);
        assert_int_equal(err.code, STATUS_DATA_LOSS);
}

/* ---- Between any two steps ---- */

enum what { ADD, REMOVE, LOSE, DONE };

struct change {
        enum what what;
        uint64_t seq;
};

static const struct change changes[] = {
        {ADD, 1},  {ADD, 2},    {REMOVE, 1}, {ADD, 3},    {REMOVE, 3}, {ADD, 4},
        {LOSE, 2}, {REMOVE, 2}, {REMOVE, 4}, {LOSE, 0},   {ADD, 5},    {ADD, 6},
        {DONE, 5}, {REMOVE, 5}, {ADD, 7},    {REMOVE, 6}, {REMOVE, 7}, {ADD, 8},
};

static void content_change(struct content *content, const struct change *change)
{
        size_t n = 0;

        switch (change->what) {
        case ADD:
                content->seqs[content->n++] = change->seq;
                break;
        case REMOVE:
                for (size_t i = 0; i < content->n; i++) {
                        if (content->seqs[i] != change->seq)
                                content->seqs[n++] = content->seqs[i];
                }
                content->n = n;
                break;
        case LOSE:
                content->n_lost = change->seq ? content->n_lost + 1 : content->n_lost;
                content->lost_seq = (uint32_t)change->seq;
                break;
        case DONE:
                content->done = change->seq;
                break;
        }
}

static bool is_same(const struct content *a, const struct content *b)
{
        return a->n == b->n && memcmp(a->seqs, b->seqs, a->n * sizeof(a->seqs[0])) == 0 &&
               a->n_lost == b->n_lost && a->lost_seq == b->lost_seq && a->done == b->done;
}

/* In the child: stops, so that it is stepped from here on. */
static void change_all(struct event_memory *memory)
{
        uint64_t places[UNIT_COUNT(changes) + 1] = {0};
        uint8_t *entries[UNIT_COUNT(changes) + 1] = {NULL};
        size_t lens[UNIT_COUNT(changes) + 1] = {0};
        uint32_t n_lost = 0;

        for (size_t i = 1; i < UNIT_COUNT(changes); i++)
                entries[i] = entry_of(i, &lens[i]);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(77);
        (void)raise(SIGSTOP);
        for (size_t i = 0; i < UNIT_COUNT(changes); i++) {
                uint64_t seq = changes[i].seq;

                if (changes[i].what == ADD)
                        (void)event_memory_add(memory, entries[seq], lens[seq], 0, &places[seq]);
                else if (changes[i].what == REMOVE)
                        event_memory_remove(memory, places[seq]);
                else if (changes[i].what == LOSE)
                        event_memory_set_lost(memory, seq ? ++n_lost : n_lost, seq);
                else
                        event_memory_set_done(memory, seq);
        }
        _exit(0);
}

/* Whether it goes on; status as waitpid tells. */
static bool step(pid_t pid, int *ret_status)
{
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, ret_status, 0), pid);
        return WIFSTOPPED(*ret_status);
}

static void whoever_looks_between_any_two_steps_finds_it_before_or_after_a_change(void **state)
{
        struct fixture *f = *state;
        struct content now = {.n = 0};
        size_t n_changes = 0;
        unsigned n_steps = 0;
        int status = 0;
        pid_t pid = fork();

        if (pid == 0)
                change_all(&f->memory);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                skip();
        assert_true(WIFSTOPPED(status));
        for (; step(pid, &status); n_steps++) {
                struct content found = look(f->region);

                if (is_same(&found, &now))
                        continue;
                if (n_changes < UNIT_COUNT(changes))
                        content_change(&now, &changes[n_changes++]);
                if (!is_same(&found, &now))
                        fail_msg("neither before nor after change %zu, after %u steps", n_changes,
                                 n_steps);
        }
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_int_equal(n_changes, UNIT_COUNT(changes));
        assert_true(n_steps > 500);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(nothing_costs_no_memory),
                CASE(what_is_removed_makes_room_for_others),
                CASE(what_is_removed_out_of_turn_waits_for_the_first),
                CASE(what_has_no_room_is_refused),
                CASE(what_is_none_is_refused),
                CASE(whoever_looks_between_any_two_steps_finds_it_before_or_after_a_change),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
