/* SPDX-License-Identifier: Apache-2.0
 *
 * The store of events on a disk that is full, or takes no change, and what another process image
 * finds of it: each event once, in order, and those that are lost, counted; also between any two of
 * its steps. Those within the memory are tested in test_event_memory.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"

#include "shim/event_memory.h"
#include "shim/event_store.h"
#include "test/unit/unit.h"

CLEANUP_DEFINE(struct event_store, event_store_free)

enum { MEMORY = 3 << 20, EVENTS_MAX = 32 };

struct fixture {
        char dir[64];
        int dir_fd;
        void *memory;
        struct event_store *store;
        struct list queue;
        uint64_t n_lost;
};

struct found {
        uint64_t seqs[EVENTS_MAX];
        size_t n;
        uint64_t n_lost;
};

/* ---- Steps: whatever the store does that somebody else could find ---- */

/* What the disk does not take. */
static bool is_full;
static bool is_constant;

/* Whether somebody looks between the steps, and what he has found last. */
static struct fixture *watched;
static struct found found;
static size_t n_looks;
static size_t n_gone; /* and not lost */

static void look_again(void);

ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at);
int __real_ftruncate64(int fd, off_t len);
int __wrap_ftruncate64(int fd, off_t len);
int __real_event_memory_add(struct event_memory *memory, const uint8_t *entry, size_t len,
                            size_t left, uint64_t *ret_at);
int __wrap_event_memory_add(struct event_memory *memory, const uint8_t *entry, size_t len,
                            size_t left, uint64_t *ret_at);
void __real_event_memory_remove(struct event_memory *memory, uint64_t at);
void __wrap_event_memory_remove(struct event_memory *memory, uint64_t at);
void __real_event_memory_set_lost(struct event_memory *memory, uint32_t n, uint64_t seq);
void __wrap_event_memory_set_lost(struct event_memory *memory, uint32_t n, uint64_t seq);
void __real_event_memory_set_done(struct event_memory *memory, uint64_t seq);
void __wrap_event_memory_set_done(struct event_memory *memory, uint64_t seq);

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at)
{
        ssize_t n = -1;

        if (is_constant || (is_full && len > 1))
                errno = ENOSPC;
        else
                n = __real_pwrite64(fd, data, len, at);
        look_again();
        return n;
}

int __wrap_ftruncate64(int fd, off_t len)
{
        int r = -1;

        if (is_constant)
                errno = EIO;
        else
                r = __real_ftruncate64(fd, len);
        look_again();
        return r;
}

int __wrap_event_memory_add(struct event_memory *memory, const uint8_t *entry, size_t len,
                            size_t left, uint64_t *ret_at)
{
        int r = __real_event_memory_add(memory, entry, len, left, ret_at);

        look_again();
        return r;
}

void __wrap_event_memory_remove(struct event_memory *memory, uint64_t at)
{
        __real_event_memory_remove(memory, at);
        look_again();
}

void __wrap_event_memory_set_lost(struct event_memory *memory, uint32_t n, uint64_t seq)
{
        __real_event_memory_set_lost(memory, n, seq);
        look_again();
}

void __wrap_event_memory_set_done(struct event_memory *memory, uint64_t seq)
{
        __real_event_memory_set_done(memory, seq);
        look_again();
}

static struct event_store *store_of(const struct fixture *f)
{
        struct event_store *store = event_store_new(f->dir_fd, f->memory, MEMORY);

        assert_non_null(store);
        return store;
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void)snprintf(f->dir, sizeof(f->dir), "/tmp/event-store-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->dir_fd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir_fd >= 0);
        f->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_ptr_not_equal(f->memory, MAP_FAILED);
        list_init(&f->queue);
        f->store = store_of(f);
        *state = f;
        return 0;
}

static void forget(struct fixture *f)
{
        while (!list_is_empty(&f->queue))
                task_event_free(list_first(&f->queue, struct task_event, node));
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        is_full = false;
        is_constant = false;
        forget(f);
        event_store_free(f->store);
        (void)munmap(f->memory, MEMORY);
        (void)unlinkat(f->dir_fd, EVENT_STORE_FILE, 0);
        fd_close(f->dir_fd);
        assert_int_equal(rmdir(f->dir), 0);
        free(f);
        return 0;
}

/* Its place; the queue has it. */
static enum event_place add_of(struct fixture *f, size_t len)
{
        struct task_event *event = task_event_new(len);

        assert_non_null(event);
        memset(event->data, 'e', len);
        event->len = len;
        event->topic = "/tasks/test";
        event->type_url = "test";
        (void)event_store_add(f->store, event, NULL);
        list_append(&f->queue, &event->node);
        return event->place;
}

static enum event_place add(struct fixture *f)
{
        return add_of(f, 10);
}

/* containerd has the first. */
static void accept_first(struct fixture *f)
{
        struct task_event *event = list_first(&f->queue, struct task_event, node);

        event_store_remove(f->store, event, true);
        task_event_free(event);
}

static void give_up(struct fixture *f, struct task_event *event)
{
        f->n_lost++;
        event_store_set_lost(f->store, f->n_lost, event);
        event_store_remove(f->store, event, false);
        task_event_free(event);
        event_store_set_lost(f->store, f->n_lost, NULL);
}

/* The process image goes, and another one takes over; text: the numbers that it finds. */
static void succeed(struct fixture *f, uint64_t until_seq, const char *text)
{
        char text_found[256] = "";
        struct error err = ERROR_INIT;
        size_t n_missing = 0;

        forget(f);
        event_store_free(f->store);
        f->store = store_of(f);
        if (event_store_load(f->store, until_seq, &f->queue, &f->n_lost, &err) < 0)
                fail_msg("%s", err.msg);
        (void)event_store_settle(f->store, &f->queue, &n_missing, &err);
        f->n_lost += n_missing;
        list_for_each(event, &f->queue, struct task_event, node) {
                char number[24];

                (void)snprintf(number, sizeof(number), " %s%llu",
                               event->place == EVENT_IS_NOTED ? "-" : "",
                               (unsigned long long)event->seq);
                if (strlen(text_found) + strlen(number) < sizeof(text_found))
                        strcat(text_found, number);
        }
        assert_string_equal(text_found, text);
}

static void what_the_disk_does_not_take_is_in_memory_in_its_order(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(add(f), EVENT_IN_FILE);
        is_full = true;
        assert_int_equal(add(f), EVENT_IN_MEMORY);
        assert_int_equal(add(f), EVENT_IN_MEMORY);
        is_full = false;
        assert_int_equal(add(f), EVENT_IN_FILE);
        is_full = true;
        assert_int_equal(add(f), EVENT_IN_MEMORY);
        succeed(f, 6, " 1 2 3 4 5");
        accept_first(f);
        accept_first(f);
        succeed(f, 6, " 3 4 5");
        assert_int_equal(event_store_n_in_memory(f->store), 2);
        accept_first(f);
        accept_first(f);
        accept_first(f);
        assert_int_equal(event_store_n_in_memory(f->store), 0);
        succeed(f, 6, "");
        assert_int_equal(f->n_lost, 0);
}

static void what_has_not_happened_is_not_in_memory_either(void **state)
{
        struct fixture *f = *state;

        is_full = true;
        add(f);
        add(f);
        add(f);
        succeed(f, 2, " 1");
        assert_int_equal(event_store_n_in_memory(f->store), 1);
        add(f);
        succeed(f, 3, " 1 2");
        assert_int_equal(f->n_lost, 0);
}

static void without_a_bundle_all_is_in_memory(void **state)
{
        struct fixture *f = *state;
        int dir_fd = f->dir_fd;

        f->dir_fd = -1;
        succeed(f, 1, "");
        assert_int_equal(add(f), EVENT_IN_MEMORY);
        succeed(f, 2, " 1");
        f->dir_fd = dir_fd;
}

/* The disk says neither that an event is done with nor that the file is empty. */
static void what_cannot_be_marked_is_not_found_again(void **state)
{
        struct fixture *f = *state;

        add(f);
        add(f);
        add(f);
        is_constant = true;
        accept_first(f);
        succeed(f, 4, " 2 3");
        accept_first(f);
        accept_first(f);
        succeed(f, 4, "");
        assert_int_equal(add(f), EVENT_IN_MEMORY);
        is_constant = false;
        succeed(f, 5, " 4");
        assert_int_equal(f->n_lost, 0);
}

static void what_is_given_up_is_counted_and_not_found_again(void **state)
{
        struct fixture *f = *state;

        add(f);
        is_full = true;
        add(f);
        add(f);
        give_up(f, container_of(f->queue.next->next, struct task_event, node));
        succeed(f, 4, " 1 3");
        assert_int_equal(f->n_lost, 1);
        give_up(f, list_first(&f->queue, struct task_event, node));
        succeed(f, 4, " 3");
        assert_int_equal(f->n_lost, 2);
}

static void what_memory_has_no_room_for_is_noted(void **state)
{
        struct fixture *f = *state;
        char text[64];
        uint64_t n;

        is_full = true;
        for (n = 1; add_of(f, 100 << 10) == EVENT_IN_MEMORY; n++)
                assert_true(n < MEMORY / (100 << 10));
        assert_int_equal(container_of(f->queue.prev, struct task_event, node)->place,
                         EVENT_IS_NOTED);
        is_full = false;
        assert_int_equal(add(f), EVENT_IN_FILE);
        while (list_first(&f->queue, struct task_event, node)->seq < n - 1)
                accept_first(f);
        (void)snprintf(text, sizeof(text), " %llu -%llu %llu", (unsigned long long)n - 1,
                       (unsigned long long)n, (unsigned long long)n + 1);
        succeed(f, n + 2, text);
        succeed(f, n + 2, text);
        assert_int_equal(f->n_lost, 0); /* whoever gives it up counts it */
}

static void all_that_may_be_queued_can_be_noted(void **state)
{
        struct fixture *f = *state;

        is_full = true;
        while (add_of(f, 20 << 10) == EVENT_IN_MEMORY)
                ;
        for (int i = 1; i < LIMIT_EVENTS_QUEUED; i++)
                assert_int_equal(add_of(f, 20 << 10), EVENT_IS_NOTED);
}

/* ---- Between any two steps ---- */

/* What another image finds, of events up to the last that there may be. */
static struct found look(const struct fixture *f)
{
        _cleanup_(event_store_free_p) struct event_store *store = store_of(f);
        struct list queue = LIST_INIT(queue);
        struct found ret = {.n = 0};

        assert_int_equal(event_store_load(store, EVENTS_MAX, &queue, &ret.n_lost, NULL), 0);
        while (!list_is_empty(&queue)) {
                struct task_event *event = list_first(&queue, struct task_event, node);

                assert_true(ret.n < EVENTS_MAX);
                ret.seqs[ret.n++] = event->seq;
                task_event_free(event);
        }
        return ret;
}

/* Each step adds one at the end, or takes one away; it may count it, and only then. */
static void compare(const struct found *before, const struct found *now)
{
        bool is_lost = now->n_lost > before->n_lost;
        size_t gone = 0;

        if (now->n > before->n) {
                assert_int_equal(now->n, before->n + 1);
                assert_memory_equal(now->seqs, before->seqs, before->n * sizeof(now->seqs[0]));
        } else if (now->n < before->n) {
                assert_int_equal(now->n, before->n - 1);
                while (gone < now->n && now->seqs[gone] == before->seqs[gone])
                        gone++;
                assert_memory_equal(now->seqs + gone, before->seqs + gone + 1,
                                    (now->n - gone) * sizeof(now->seqs[0]));
                n_gone += !is_lost;
        }
        assert_int_equal(now->n_lost, before->n_lost + is_lost);
        assert_true(!is_lost || now->n < before->n);
}

static void look_again(void)
{
        struct fixture *f = watched;
        struct found now;

        if (!f)
                return;
        watched = NULL; /* whoever looks takes steps, too */
        now = look(f);
        compare(&found, &now);
        found = now;
        n_looks++;
        watched = f;
}

static void whoever_takes_over_between_any_two_steps_finds_each_event_once(void **state)
{
        struct fixture *f = *state;

        add(f);
        add(f);
        found = look(f);
        assert_int_equal(found.n, 2);
        n_gone = 0;
        watched = f;
        accept_first(f);
        is_full = true;
        add(f);
        add(f);
        give_up(f, container_of(f->queue.next->next, struct task_event, node));
        is_full = false;
        add(f);
        accept_first(f);
        accept_first(f);
        give_up(f, list_first(&f->queue, struct task_event, node));
        add(f);
        add(f);
        is_constant = true;
        accept_first(f);
        add(f);
        accept_first(f);
        accept_first(f);
        watched = NULL;
        assert_int_equal(found.n, 0);
        assert_int_equal(found.n_lost, 2);
        assert_int_equal(n_gone, 6);
        assert_true(n_looks > 25);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(what_the_disk_does_not_take_is_in_memory_in_its_order),
                CASE(what_has_not_happened_is_not_in_memory_either),
                CASE(without_a_bundle_all_is_in_memory),
                CASE(what_cannot_be_marked_is_not_found_again),
                CASE(what_is_given_up_is_counted_and_not_found_again),
                CASE(what_memory_has_no_room_for_is_noted),
                CASE(all_that_may_be_queued_can_be_noted),
                CASE(whoever_takes_over_between_any_two_steps_finds_each_event_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
