/* SPDX-License-Identifier: Apache-2.0
 *
 * A reader that follows a log while it is written and rotated, also where the kernel has no inotify
 * instance left for it: then it looks by itself. inotify_init1(2) is wrapped by the linker.
 */
#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/log/file.h"
#include "pkg/log/read_files.h"

#include "test/unit/log/reader.h"
#include "test/unit/unit.h"

static bool is_blind; /* in readers that are started */

int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);

int __wrap_inotify_init1(int flags)
{
        if (!is_blind)
                return __real_inotify_init1(flags);
        errno = EMFILE;
        return -1;
}

static int set_up(void **state)
{
        is_blind = false;
        return reader_set_up(state);
}

static void who_follows_gets_what_is_written_and_then_the_end(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0, CRI("20", "stdout", "F a") CRI("21", "stdout", "F b"));
        f->query.follow = true;
        f->query.tail = 1;
        reader_start(f, false);
        reader_next(f);
        assert_string_equal(f->last_text, "b\n");
        reader_put(f, 0, CRI("22", "stdout", "F c"));
        reader_next(f);
        assert_string_equal(f->last_text, "c\n");
        reader_put(f, 0, "torn");
        f->hold = fd_close(f->hold);
        assert_string_equal(reader_rest(f), "torn|");
}

static void who_follows_without_a_tail_gets_only_what_is_new(void **state)
{
        struct fixture *f = *state;
        struct pollfd p = {.events = POLLIN};

        reader_put(f, 0, CRI("20", "stdout", "F a"));
        f->query.follow = true;
        f->query.tail = -1;
        reader_start(f, false);
        p.fd = f->fd;
        /* When it has begun is not to be seen from here. */
        do
                reader_put(f, 0, CRI("22", "stdout", "F c"));
        while (poll(&p, 1, 10) == 0);
        reader_next(f);
        assert_string_equal(f->last_text, "c\n");
}

static void a_log_that_has_ended_is_followed_to_its_end(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0, CRI("20", "stdout", "F a"));
        f->query.follow = true;
        assert_string_equal(reader_all(f, true), "a\n");
}

static void the_reader_dies_when_nobody_listens(void **state)
{
        struct fixture *f = *state;
        int status;

        reader_put(f, 0, CRI("20", "stdout", "F a"));
        f->query.follow = true;
        reader_start(f, false);
        reader_next(f);
        f->fd = fd_close(f->fd);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        f->pid = 0;
}

static bool has_open(pid_t pid, const struct stat *file)
{
        char pattern[64];
        bool found = false;
        glob_t fds;

        snprintf(pattern, sizeof(pattern), "/proc/%d/fd/*", (int)pid);
        if (glob(pattern, GLOB_NOSORT, NULL, &fds) != 0)
                return false;
        for (size_t i = 0; i < fds.gl_pathc && !found; i++) {
                struct stat st;

                found = stat(fds.gl_pathv[i], &st) == 0 && st.st_dev == file->st_dev &&
                        st.st_ino == file->st_ino;
        }
        globfree(&fds);
        return found;
}

/* Its look comes by itself, whatever its pipe is; only not before it gets a processor. */
static void await_look(struct fixture *f)
{
        struct stat st;

        assert_int_equal(stat(f->path, &st), 0);
        while (!has_open(f->pid, &st))
                (void)poll(NULL, 0, 1);
}

/* Writes numbered lines through the real file, which rotates, and follows them; slow: the reader's
 * pipe is full meanwhile. */
static void follow_rotation(struct fixture *f, int n_lines, bool slow)
{
        struct log_counters *counters;
        struct log_file file;
        uint64_t n_rotations = 0;
        bool give_up = false;
        int seen = 0;

        assert_int_equal(log_counters_new(&counters), 0);
        f->config.max_size = 64 << 10;
        assert_int_equal(log_file_open(&file, &f->config, counters), 0);
        f->query.follow = true;
        reader_start(f, false);
        for (int i = 0; i < n_lines; i++) {
                char line[160];
                int n = snprintf(line, sizeof(line), "2023-11-14T22:13:20Z stdout F %064d\n", i);

                assert_int_equal(log_file_write(&file, line, (size_t)n, &give_up), 0);
                if (slow && atomic_load(&counters->rotations) > n_rotations) {
                        n_rotations = atomic_load(&counters->rotations);
                        await_look(f);
                }
                if (!slow && i % 100 == 99) {
                        for (; seen <= i; seen++) {
                                reader_next(f);
                                assert_int_equal(strtol(f->last_text, NULL, 10), seen);
                        }
                }
        }
        f->hold = fd_close(f->hold);
        for (reader_next(f); f->last.kind == LOG_FRAME_ENTRY; reader_next(f))
                assert_int_equal(strtol(f->last_text, NULL, 10), seen++);
        assert_int_equal(f->last.kind, LOG_FRAME_END);
        assert_int_equal(seen, n_lines);
        assert_true(atomic_load(&counters->rotations) > 10);
        log_file_close(&file);
        log_counters_free(counters);
}

/* A file of one line for each number, from first on, with a rotation before each. */
static void write_files(struct log_file *file, int first, int n_files)
{
        bool give_up = false;

        for (int i = first; i < first + n_files; i++) {
                char line[120];
                int n = snprintf(line, sizeof(line), "2023-11-14T22:13:20Z stdout F %060d\n", i);

                assert_int_equal(log_file_write(file, line, (size_t)n, &give_up), 0);
        }
}

/* Three names are left of nine files that were begun between two looks. */
static void files_that_were_gone_before_they_were_seen_are_counted(void **state)
{
        struct fixture *f = *state;
        struct log_counters *counters;
        struct log_read_files files;
        struct log_file file;

        assert_int_equal(log_counters_new(&counters), 0);
        f->config.max_size = 100;
        f->config.max_files = 3;
        assert_int_equal(log_file_open(&file, &f->config, counters), 0);
        write_files(&file, 0, 2);
        assert_int_equal(log_read_files_open(&files, &f->config, counters, false), 0);
        assert_int_equal(files.n, 2);
        write_files(&file, 2, 2);
        log_read_files_look(&files);
        assert_int_equal(files.n, 4);
        assert_int_equal(files.list[2].n_missing, 0);
        write_files(&file, 4, 9);
        log_read_files_look(&files);
        assert_int_equal(files.n, 7);
        assert_int_equal(files.list[4].n_missing, 6);
        log_read_files_look(&files);
        write_files(&file, 13, 1);
        log_read_files_look(&files);
        assert_int_equal(files.n, 8);
        assert_int_equal(files.list[7].n_missing, 0);
        log_read_files_close(&files);
        log_file_close(&file);
        log_counters_free(counters);
}

static void rotation_loses_and_doubles_nothing(void **state)
{
        follow_rotation(*state, 10000, false);
}

static void rotation_loses_nothing_when_the_pipe_is_full(void **state)
{
        follow_rotation(*state, 10000, true);
}

static void without_inotify_nothing_is_lost_either(void **state)
{
        is_blind = true;
        follow_rotation(*state, 10000, true);
}

static void a_log_that_is_truncated_is_read_from_its_beginning(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0, CRI("20", "stdout", "F a long line"));
        f->query.follow = true;
        reader_start(f, false);
        reader_next(f);
        assert_int_equal(truncate(f->path, 0), 0);
        reader_put(f, 0, CRI("21", "stdout", "F b"));
        reader_next(f);
        assert_string_equal(f->last_text, "b\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, reader_tear_down)
        const struct CMUnitTest tests[] = {
                TEST(who_follows_gets_what_is_written_and_then_the_end),
                TEST(who_follows_without_a_tail_gets_only_what_is_new),
                TEST(a_log_that_has_ended_is_followed_to_its_end),
                TEST(the_reader_dies_when_nobody_listens),
                TEST(files_that_were_gone_before_they_were_seen_are_counted),
                TEST(rotation_loses_and_doubles_nothing),
                TEST(rotation_loses_nothing_when_the_pipe_is_full),
                TEST(without_inotify_nothing_is_lost_either),
                TEST(a_log_that_is_truncated_is_read_from_its_beginning),
        };
#undef TEST

        return cmocka_run_group_tests(tests, NULL, NULL);
}
