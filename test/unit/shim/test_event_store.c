/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of events as another process image finds it: whole, damaged, or too large for the memory
 * that there is. What the publisher does with it is tested in test_publisher.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "shim/event_store.h"
#include "test/unit/unit.h"

CLEANUP_DEFINE(struct event_store, event_store_free)

#define BAD_FILE EVENT_STORE_FILE ".unreadable"

struct fixture {
        char dir[64];
        int dir_fd;
        size_t n; /* events that were loaded */
        struct list queue;
        size_t n_lost;
        uint64_t n_noted; /* by another image, as lost */
};

/* From this byte on the disk gives EIO; -1: nowhere. */
static off_t bad_from = -1;

ssize_t __real_pread64(int fd, void *buf, size_t len, off_t at);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t at);

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t at)
{
        if (bad_from >= 0 && at >= bad_from) {
                errno = EIO;
                return -1;
        }
        if (bad_from >= 0 && (off_t)len > bad_from - at)
                len = (size_t)(bad_from - at);
        return __real_pread64(fd, buf, len, at);
}

/* Whether the process ends, with status 0, behind the first rename. */
static bool ends_at_rename;

int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
        int r = __real_renameat(from_dir, from, to_dir, to);

        if (ends_at_rename)
                _exit(0);
        return r;
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void)snprintf(f->dir, sizeof(f->dir), "/tmp/event-store-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->dir_fd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir_fd >= 0);
        list_init(&f->queue);
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

        bad_from = -1;
        forget(f);
        (void)unlinkat(f->dir_fd, EVENT_STORE_FILE, 0);
        (void)unlinkat(f->dir_fd, BAD_FILE, 0);
        fd_close(f->dir_fd);
        assert_int_equal(rmdir(f->dir), 0);
        free(f);
        return 0;
}

static void add(struct event_store *store, size_t len)
{
        struct task_event *event = task_event_new(len);
        struct error err = ERROR_INIT;

        assert_non_null(event);
        memset(event->data, 'e', len);
        event->len = len;
        event->topic = "/tasks/test";
        event->type_url = "test";
        if (event_store_add(store, event, &err) < 0)
                fail_msg("%s", err.msg);
        task_event_free(event);
}

/* Events as an image leaves them that ends with the queue full. */
static void leave(const struct fixture *f, const size_t *lens, size_t n)
{
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);

        assert_non_null(store);
        for (size_t i = 0; i < n; i++)
                add(store, lens[i]);
        event_store_free(store);
}

static off_t size_of(const struct fixture *f, const char *name)
{
        struct stat st;

        assert_int_equal(fstatat(f->dir_fd, name, &st, 0), 0);
        return st.st_size;
}

static off_t file_size(const struct fixture *f)
{
        return size_of(f, EVENT_STORE_FILE);
}

/* Instead of what was loaded before. */
static int load(struct fixture *f, struct event_store *store, uint64_t until_seq, struct error *err)
{
        int r;

        forget(f);
        r = event_store_load(store, until_seq, &f->queue, &f->n_noted, err);
        f->n = 0;
        list_for_each(event, &f->queue, struct task_event, node)
                f->n++;
        return r;
}

static void what_was_left_is_loaded_up_to_what_has_happened(void **state)
{
        struct fixture *f = *state;
        _cleanup_(event_store_free_p) struct event_store *store =
                event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;
        off_t before;

        leave(f, (const size_t[]){10, 20, 30}, 3);
        before = file_size(f);
        assert_int_equal(load(f, store, 3, &err), 0);
        assert_int_equal(file_size(f), before);
        assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), 0);
        assert_true(file_size(f) < before);
        assert_int_equal(f->n, 2);
        assert_int_equal(event_store_next_seq(store), 3);
        assert_int_equal(f->n_lost, 0);
}

static void what_lies_behind_damage_is_cut_off(void **state)
{
        struct fixture *f = *state;
        _cleanup_(event_store_free_p) struct event_store *store =
                event_store_new(f->dir_fd, NULL, 0);
        _cleanup_close_ int fd = -1;
        struct error err = ERROR_INIT;
        off_t first;

        leave(f, (const size_t[]){10}, 1);
        first = file_size(f);
        leave(f, (const size_t[]){10, 20, 30}, 3);
        fd = openat(f->dir_fd, EVENT_STORE_FILE, O_RDWR | O_CLOEXEC);
        /* The first field of the second event's message. */
        assert_int_equal(pwrite(fd, "\xff\xff\xff", 3, first + 12), 3);
        assert_int_equal(load(f, store, 4, &err), 0);
        assert_true(file_size(f) > first);
        assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), -1);
        assert_int_equal(err.code, STATUS_DATA_LOSS);
        assert_non_null(strstr(err.msg, "is damaged"));
        assert_int_equal(f->n, 1);
        assert_int_equal(f->n_lost, 2);
        assert_int_equal(file_size(f), first);
}

/* Loads what a store has left that is gone, and expects so many. */
static void assert_left(struct fixture *f, uint64_t until_seq, size_t n)
{
        _cleanup_(event_store_free_p) struct event_store *store =
                event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;

        if (load(f, store, until_seq, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(f->n, n);
}

static void what_cannot_be_read_is_kept_and_counted(void **state)
{
        struct fixture *f = *state;
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;
        off_t size;

        leave(f, (const size_t[]){10, 20}, 2);
        bad_from = file_size(f) + 20;
        leave(f, (const size_t[]){10, 20, 30, 40}, 4);
        size = file_size(f);
        assert_int_equal(load(f, store, 5, &err), 0);
        assert_int_equal(file_size(f), size);
        assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), -1);
        assert_int_equal(err.errnum, EIO);
        assert_int_equal(f->n, 2);
        assert_int_equal(f->n_lost, 2);
        assert_int_equal(size_of(f, BAD_FILE), size);
        bad_from = -1;
        add(store, 50);
        event_store_free(store);
        assert_left(f, 6, 3);
}

static void a_file_that_cannot_be_opened_is_kept_and_counted(void **state)
{
        struct fixture *f = *state;
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;

        assert_int_equal(symlinkat("/dev/null", f->dir_fd, EVENT_STORE_FILE), 0);
        assert_int_equal(load(f, store, 5, &err), 0);
        assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), -1);
        assert_int_equal(err.errnum, ELOOP);
        assert_int_equal(f->n_lost, 1);
        assert_int_equal(faccessat(f->dir_fd, BAD_FILE, F_OK, AT_SYMLINK_NOFOLLOW), 0);
        add(store, 50);
        event_store_free(store);
        assert_left(f, 6, 1);
}

static void what_cannot_be_read_and_not_be_set_aside_is_not_written_to(void **state)
{
        struct fixture *f = *state;
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
        struct task_event *event = task_event_exec_added("c1", "e1");
        struct error err = ERROR_INIT;
        off_t size;

        leave(f, (const size_t[]){10, 20}, 2);
        size = file_size(f);
        bad_from = size - 1;
        assert_int_equal(mkdirat(f->dir_fd, BAD_FILE, 0700), 0);
        assert_int_equal(load(f, store, 3, &err), 0);
        assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), -1);
        assert_int_equal(event_store_add(store, event, &err), -1);
        assert_int_equal(file_size(f), size);
        bad_from = -1;
        assert_int_equal(unlinkat(f->dir_fd, BAD_FILE, AT_REMOVEDIR), 0);
        assert_int_equal(event_store_add(store, event, &err), 0);
        assert_int_equal(size_of(f, BAD_FILE), size);
        task_event_free(event);
        event_store_free(store);
        assert_left(f, 5, 1);
}

static void what_nothing_could_be_read_of_outlives_a_store_that_is_given_up(void **state)
{
        struct fixture *f = *state;
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;

        leave(f, (const size_t[]){10, 20}, 2);
        bad_from = 0;
        assert_int_equal(load(f, store, 3, &err), 0);
        event_store_free(store);
        bad_from = -1;
        assert_left(f, 3, 2);
}

/* Of a full disk. */
static void what_was_never_in_the_file_is_counted_once(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        uint64_t until_seq = 6;

        leave(f, (const size_t[]){10, 20}, 2);
        for (int image = 0; image < 2; image++) {
                _cleanup_(event_store_free_p) struct event_store *store =
                        event_store_new(f->dir_fd, NULL, 0);

                assert_int_equal(load(f, store, until_seq, &err), 0);
                assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), 0);
                assert_int_equal(f->n, 2);
                assert_int_equal(f->n_lost, image == 0 ? 3 : 0);
                event_store_renumber(store);
                until_seq = event_store_next_seq(store);
        }
}

/* The state still says that six have happened when the image crashes that has added one. */
static void what_is_added_before_the_state_says_so_has_not_happened(void **state)
{
        struct fixture *f = *state;
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;

        leave(f, (const size_t[]){10, 20}, 2);
        assert_int_equal(load(f, store, 6, &err), 0);
        assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), 0);
        assert_int_equal(f->n_lost, 3);
        add(store, 50);
        event_store_renumber(store);
        assert_int_equal(event_store_next_seq(store), 7);
        event_store_free(store);
        assert_left(f, 6, 2);
        assert_left(f, 7, 3);
}

/* When the file has its new name. */
static void a_crash_while_a_file_is_set_aside_loses_nothing(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        int status = -1;
        pid_t pid;

        leave(f, (const size_t[]){10, 20}, 2);
        bad_from = file_size(f) + 20;
        leave(f, (const size_t[]){10, 20, 30, 40}, 4);
        pid = fork();
        if (pid == 0) {
                struct event_store *store = event_store_new(f->dir_fd, NULL, 0);

                ends_at_rename = true;
                if (load(f, store, 5, &err) == 0)
                        (void)event_store_settle(store, &f->queue, &f->n_lost, &err);
                _exit(1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        bad_from = -1;
        assert_left(f, 5, 2);
}

/* Its descriptor went through an execve(2), so it has no CLOEXEC. */
static void a_file_that_has_no_name_any_more_is_taken_as_it_was_open(void **state)
{
        struct fixture *f = *state;
        uint32_t number;
        int fd;

        leave(f, (const size_t[]){10, 20}, 2);
        fd = openat(f->dir_fd, EVENT_STORE_FILE, O_RDWR);
        number = (uint32_t)fd + 1;
        assert_int_equal(unlinkat(f->dir_fd, EVENT_STORE_FILE, 0), 0);
        for (int image = 0; image < 2; image++) {
                struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
                struct error err = ERROR_INIT;

                event_store_set_file(store, number);
                assert_int_equal(load(f, store, 3, &err), 0);
                assert_int_equal(event_store_settle(store, &f->queue, &f->n_lost, &err), 0);
                assert_int_equal(f->n, 2);
                assert_int_equal(event_store_file(store), fd);
                fd = dup(fd);
                number = (uint32_t)fd + 1;
                event_store_free(store);
        }
        assert_int_equal(close(fd), 0);
}

/* What is there by its name is newer. */
static void a_file_of_that_name_goes_before_one_that_has_none(void **state)
{
        struct fixture *f = *state;
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;
        int fd;

        leave(f, (const size_t[]){10, 20}, 2);
        fd = openat(f->dir_fd, EVENT_STORE_FILE, O_RDWR);
        assert_int_equal(unlinkat(f->dir_fd, EVENT_STORE_FILE, 0), 0);
        leave(f, (const size_t[]){10}, 1);
        event_store_set_file(store, (uint32_t)fd + 1);
        assert_int_equal(load(f, store, 3, &err), 0);
        assert_int_equal(f->n, 1);
        assert_int_equal(fcntl(fd, F_GETFD), 0);
        event_store_free(store);
        assert_int_equal(close(fd), 0);
}

#ifndef __SANITIZE_ADDRESS__
/* In a child, whose memory is short. Returns its exit status: 0 if all is well. */
static int load_without_memory(struct fixture *f)
{
        const struct rlimit limit = {.rlim_cur = 72u << 20, .rlim_max = 72u << 20};
        struct event_store *store = event_store_new(f->dir_fd, NULL, 0);
        struct error err = ERROR_INIT;

        if (setrlimit(RLIMIT_AS, &limit) < 0)
                return 1;
        if (load(f, store, 100, &err) == 0)
                return 2;
        if (err.code == STATUS_DATA_LOSS || err.errnum != ENOMEM)
                return 3;
        event_store_free(store);
        return 0;
}

static void what_there_is_no_memory_for_is_left_for_another_image(void **state)
{
        struct fixture *f = *state;
        _cleanup_(event_store_free_p) struct event_store *store = NULL;
        struct error err = ERROR_INIT;
        int status = -1;
        pid_t pid;

        leave(f, (const size_t[]){10, 30u << 20, 20}, 3);
        pid = fork();
        if (pid == 0)
                _exit(load_without_memory(f));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        store = event_store_new(f->dir_fd, NULL, 0);
        if (load(f, store, 200, &err) < 0 ||
            event_store_settle(store, &f->queue, &f->n_lost, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(f->n, 3);
}
#endif

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(what_was_left_is_loaded_up_to_what_has_happened),
                CASE(what_lies_behind_damage_is_cut_off),
                CASE(what_cannot_be_read_is_kept_and_counted),
                CASE(a_file_that_cannot_be_opened_is_kept_and_counted),
                CASE(what_cannot_be_read_and_not_be_set_aside_is_not_written_to),
                CASE(what_nothing_could_be_read_of_outlives_a_store_that_is_given_up),
                CASE(what_was_never_in_the_file_is_counted_once),
                CASE(what_is_added_before_the_state_says_so_has_not_happened),
                CASE(a_crash_while_a_file_is_set_aside_loses_nothing),
                CASE(a_file_that_has_no_name_any_more_is_taken_as_it_was_open),
                CASE(a_file_of_that_name_goes_before_one_that_has_none),
#ifndef __SANITIZE_ADDRESS__
                CASE(what_there_is_no_memory_for_is_left_for_another_image),
#endif
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
