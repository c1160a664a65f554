/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader as a process of its own, as the shim has it; the test is the shim, and writes the log,
 * by hand or through the real file with its rotation.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/log/file.h"
#include "pkg/log/log.h"
#include "pkg/log/read_files.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 40, TEXT_ROOM = 64 << 10 };

struct fixture {
        char dir[64];
        char path[128];
        struct log_config config;
        struct log_query query;
        pid_t pid;
        int fd;
        int hold;
        size_t n_input;
        char input[4 * LOG_FRAME_MAX];
        struct log_frame last;
        char last_text[LOG_READ_TEXT_MAX + 1];
        size_t n_text;
        char text[TEXT_ROOM]; /* of entries, each part with a "|" behind it */
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        strcpy(f->dir, "/tmp/belay-read-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
        log_config_init(&f->config, f->path);
        f->fd = -1;
        f->hold = -1;
        *state = f;
        return 0;
}

static void end_reader(struct fixture *f)
{
        fd_close(f->fd);
        fd_close(f->hold);
        f->fd = -1;
        f->hold = -1;
        if (f->pid > 0)
                assert_int_equal(waitpid(f->pid, NULL, 0), f->pid);
        f->pid = 0;
        f->n_input = 0;
        f->n_text = 0;
        f->text[0] = '\0';
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        char pattern[160];
        glob_t found;

        end_reader(f);
        snprintf(pattern, sizeof(pattern), "%s/*", f->dir);
        if (glob(pattern, 0, NULL, &found) == 0) {
                for (size_t i = 0; i < found.gl_pathc; i++)
                        (void)unlink(found.gl_pathv[i]);
                globfree(&found);
        }
        assert_int_equal(rmdir(f->dir), 0);
        free(f);
        return 0;
}

/* number: of a file that was rotated away; 0: the log. */
static void put(struct fixture *f, int number, const char *text)
{
        char path[160];
        int fd;

        if (number == 0)
                snprintf(path, sizeof(path), "%s", f->path);
        else
                snprintf(path, sizeof(path), "%s.%d", f->path, number);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        assert_true(fd >= 0);
        assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
        fd_close(fd);
}

/* has_ended: nobody writes the log any more. */
static void start(struct fixture *f, bool has_ended)
{
        struct error err = ERROR_INIT;

        f->query.has_ended = has_ended;
        f->pid = log_reader_start(&f->config, &f->query, &f->fd, &f->hold, &err);
        assert_true(f->pid > 0);
}

/* One more frame. */
static void next(struct fixture *f)
{
        for (;;) {
                const char *text;
                ssize_t size = log_frame_parse(f->input, f->n_input, &f->last, &text);
                struct pollfd p = {.fd = f->fd, .events = POLLIN};
                ssize_t n;

                assert_true(size >= 0);
                if (size > 0) {
                        memcpy(f->last_text, text, f->last.n);
                        f->last_text[f->last.n] = '\0';
                        f->n_input -= (size_t)size;
                        memmove(f->input, f->input + size, f->n_input);
                        return;
                }
                assert_int_equal(poll(&p, 1, -1), 1);
                n = read(f->fd, f->input + f->n_input, sizeof(f->input) - f->n_input);
                assert_true(n > 0);
                f->n_input += (size_t)n;
        }
}

/* All of the entries, up to the end. */
static const char *rest(struct fixture *f)
{
        for (next(f); f->last.kind == LOG_FRAME_ENTRY; next(f)) {
                assert_true(f->n_text + f->last.n + 2 < sizeof(f->text));
                f->n_text += (size_t)snprintf(f->text + f->n_text, sizeof(f->text) - f->n_text,
                                              "%s%s", f->last_text, f->last.is_partial ? "|" : "");
        }
        assert_int_equal(f->last.kind, LOG_FRAME_END);
        return f->text;
}

static const char *read_all(struct fixture *f, bool has_ended)
{
        end_reader(f);
        start(f, has_ended);
        return rest(f);
}

#define CRI(second, stream, rest) "2023-11-14T22:13:" second ".000000000Z " stream " " rest "\n"

/* 22:13:20 */
#define SECONDS(s) ((UINT64_C(1700000000) + (s)-20) * UINT64_C(1000000000))

static void all_files_are_read_from_the_oldest_on(void **state)
{
        struct fixture *f = *state;

        put(f, 3, CRI("20", "stdout", "F a"));
        put(f, 1, CRI("21", "stderr", "F b"));
        put(f, 0, CRI("22", "stdout", "P c") CRI("22", "stdout", "F d"));
        assert_string_equal(read_all(f, false), "a\nb\nc|d\n");
}

static void an_entry_has_its_stream_and_time(void **state)
{
        struct fixture *f = *state;

        put(f, 0, "2023-11-14T22:13:20.000000007Z stderr F b\n");
        start(f, false);
        next(f);
        assert_int_equal(f->last.kind, LOG_FRAME_ENTRY);
        assert_int_equal(f->last.stream, LOG_STDERR);
        assert_int_equal(f->last.time_ns, UINT64_C(1700000000000000007));
}

static void a_log_that_is_gone_is_not_found(void **state)
{
        struct fixture *f = *state;

        start(f, false);
        next(f);
        assert_int_equal(f->last.kind, LOG_FRAME_FAILURE);
        assert_int_equal(f->last.code, STATUS_NOT_FOUND);
        assert_non_null(strstr(f->last_text, f->path));
}

static void a_line_that_is_being_written_is_given_when_the_log_has_ended(void **state)
{
        struct fixture *f = *state;

        put(f, 0, CRI("20", "stdout", "F a") "2023-11-14T22:13:21.000000000Z stdout F b");
        assert_string_equal(read_all(f, false), "a\n");
        assert_string_equal(read_all(f, true), "a\nb|");
        f->query.tail = 1;
        assert_string_equal(read_all(f, false), "a\n");
        assert_string_equal(read_all(f, true), "b|");
}

static void a_torn_line_of_an_older_file_is_given(void **state)
{
        struct fixture *f = *state;

        put(f, 1, "2023-11-14T2");
        put(f, 0, CRI("20", "stdout", "F a"));
        assert_string_equal(read_all(f, false), "2023-11-14T2|a\n");
}

static void tail_counts_from_the_end_across_files(void **state)
{
        struct fixture *f = *state;

        put(f, 2, CRI("20", "stdout", "F a"));
        put(f, 1, CRI("21", "stdout", "F b") CRI("22", "stdout", "F c"));
        put(f, 0, CRI("23", "stdout", "F d"));
        f->query.tail = 1;
        assert_string_equal(read_all(f, false), "d\n");
        f->query.tail = 2;
        assert_string_equal(read_all(f, false), "c\nd\n");
        f->query.tail = 3;
        assert_string_equal(read_all(f, false), "b\nc\nd\n");
        f->query.tail = 4;
        assert_string_equal(read_all(f, false), "a\nb\nc\nd\n");
        f->query.tail = 9;
        assert_string_equal(read_all(f, false), "a\nb\nc\nd\n");
        f->query.tail = -1;
        assert_string_equal(read_all(f, false), "");
}

static void tail_takes_the_parts_of_a_line_for_one(void **state)
{
        struct fixture *f = *state;

        put(f, 0,
            CRI("20", "stdout", "F a") CRI("21", "stdout", "P b") CRI("21", "stdout", "P c")
                    CRI("21", "stdout", "F d") CRI("22", "stdout", "P e"));
        f->query.tail = 1;
        assert_string_equal(read_all(f, false), "e|");
        f->query.tail = 2;
        assert_string_equal(read_all(f, false), "b|c|d\ne|");
        f->query.tail = 3;
        assert_string_equal(read_all(f, false), "a\nb|c|d\ne|");
}

static void tail_counts_lines_of_the_stream_that_is_asked_for(void **state)
{
        struct fixture *f = *state;

        put(f, 0,
            CRI("20", "stderr", "F a") CRI("21", "stderr", "F b") CRI("22", "stdout", "F c")
                    CRI("23", "stdout", "F d"));
        f->query.tail = 1;
        f->query.err = true;
        assert_string_equal(read_all(f, false), "b\n");
}

/* A log of 40 GiB, sparse but for its end: who reads it does not come to an end in time. */
static void tail_does_not_read_a_large_log(void **state)
{
        struct fixture *f = *state;

        put(f, 0, "");
        assert_int_equal(truncate(f->path, (off_t)40 << 30), 0);
        put(f, 0, "\n\n" CRI("20", "stdout", "F a") CRI("21", "stdout", "F b"));
        f->query.tail = 2;
        assert_string_equal(read_all(f, false), "a\nb\n");
}

static void since_and_until_bound_the_times(void **state)
{
        struct fixture *f = *state;

        put(f, 1, CRI("20", "stdout", "F a") "no entry\n" CRI("21", "stdout", "F b"));
        put(f, 0, CRI("22", "stdout", "F c") "neither\n" CRI("23", "stdout", "F d"));
        f->query.since_ns = SECONDS(21);
        assert_string_equal(read_all(f, false), "b\nc\nneither\nd\n");
        f->query.until_ns = SECONDS(23);
        assert_string_equal(read_all(f, false), "b\nc\nneither\n");
        f->query.since_ns = 0;
        assert_string_equal(read_all(f, false), "a\nno entry\nb\nc\nneither\n");
        f->query.tail = 2;
        assert_string_equal(read_all(f, false), "c\nneither\n");
        f->query.follow = true; /* it is over by now */
        assert_string_equal(read_all(f, false), "c\nneither\n");
}

static void since_finds_its_place_in_a_large_file(void **state)
{
        struct fixture *f = *state;
        FILE *file = fopen(f->path, "we");

        assert_non_null(file);
        for (int i = 0; i < 24 * 3600; i++)
                fprintf(file, "2023-11-14T%02d:%02d:%02d.000000000Z stdout F %d\n", i / 3600,
                        i / 60 % 60, i % 60, i);
        fclose(file);
        f->query.since_ns = SECONDS(20);
        f->query.until_ns = SECONDS(23);
        assert_string_equal(read_all(f, false), "80000\n80001\n80002\n");
}

static void a_json_log_is_read(void **state)
{
        struct fixture *f = *state;

        f->config.format = LOG_FORMAT_JSON;
        put(f, 0,
            "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n{\"log\":");
        assert_string_equal(read_all(f, true), "a\n{\"log\":|");
}

static void a_raw_log_is_read_and_has_no_times(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        f->config.format = LOG_FORMAT_RAW;
        put(f, 0, "a\n\nb");
        assert_string_equal(read_all(f, true), "a\n\nb|");
        f->query.since_ns = 1;
        assert_int_equal(log_query_check(&f->query, LOG_FORMAT_RAW, &err), -1);
        assert_int_equal(err.code, STATUS_FAILED_PRECONDITION);
}

/* Longer than all that is read at once: it comes in parts, and the next line is whole. */
static void a_line_of_any_length_comes_in_parts(void **state)
{
        struct fixture *f = *state;
        size_t n = 0;
        char *line = malloc(1 << 20);

        assert_non_null(line);
        memset(line, 'x', 1 << 20);
        strcpy(line + (1 << 20) - 3, "\n");
        put(f, 0, "2023-11-14T22:13:20.000000000Z stderr F ");
        put(f, 0, line);
        put(f, 0, CRI("21", "stdout", "F end"));
        free(line);
        start(f, false);
        for (next(f); f->last.is_partial; next(f)) {
                assert_int_equal(f->last.stream, LOG_STDERR);
                n += f->last.n;
        }
        assert_int_equal(n + f->last.n, (1 << 20) - 2);
        next(f);
        assert_string_equal(f->last_text, "end\n");
        end_reader(f);
        f->query.tail = 1;
        assert_string_equal(read_all(f, false), "end\n");
}

/* ---- Following ---- */

static void who_follows_gets_what_is_written_and_then_the_end(void **state)
{
        struct fixture *f = *state;

        put(f, 0, CRI("20", "stdout", "F a") CRI("21", "stdout", "F b"));
        f->query.follow = true;
        f->query.tail = 1;
        start(f, false);
        next(f);
        assert_string_equal(f->last_text, "b\n");
        put(f, 0, CRI("22", "stdout", "F c"));
        next(f);
        assert_string_equal(f->last_text, "c\n");
        put(f, 0, "torn");
        f->hold = fd_close(f->hold);
        assert_string_equal(rest(f), "torn|");
}

static void who_follows_without_a_tail_gets_only_what_is_new(void **state)
{
        struct fixture *f = *state;
        struct pollfd p = {.events = POLLIN};

        put(f, 0, CRI("20", "stdout", "F a"));
        f->query.follow = true;
        f->query.tail = -1;
        start(f, false);
        p.fd = f->fd;
        /* When it has begun is not to be seen from here. */
        do
                put(f, 0, CRI("22", "stdout", "F c"));
        while (poll(&p, 1, 10) == 0);
        next(f);
        assert_string_equal(f->last_text, "c\n");
}

static void a_log_that_has_ended_is_followed_to_its_end(void **state)
{
        struct fixture *f = *state;

        put(f, 0, CRI("20", "stdout", "F a"));
        f->query.follow = true;
        assert_string_equal(read_all(f, true), "a\n");
}

static void the_reader_dies_when_nobody_listens(void **state)
{
        struct fixture *f = *state;
        int status;

        put(f, 0, CRI("20", "stdout", "F a"));
        f->query.follow = true;
        start(f, false);
        next(f);
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
        start(f, false);
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
                                next(f);
                                assert_int_equal(strtol(f->last_text, NULL, 10), seen);
                        }
                }
        }
        f->hold = fd_close(f->hold);
        for (next(f); f->last.kind == LOG_FRAME_ENTRY; next(f))
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

static void a_log_that_is_truncated_is_read_from_its_beginning(void **state)
{
        struct fixture *f = *state;

        put(f, 0, CRI("20", "stdout", "F a long line"));
        f->query.follow = true;
        start(f, false);
        next(f);
        assert_int_equal(truncate(f->path, 0), 0);
        put(f, 0, CRI("21", "stdout", "F b"));
        next(f);
        assert_string_equal(f->last_text, "b\n");
}

static void frames_that_make_no_sense_are_refused(void **state)
{
        struct log_frame frame = {.kind = LOG_FRAME_ENTRY, .n = LOG_READ_TEXT_MAX + 1};
        struct log_frame parsed;
        const char *text;

        (void)state;
        assert_int_equal(log_frame_parse(&frame, 3, &parsed, &text), 0);
        assert_int_equal(log_frame_parse(&frame, sizeof(frame), &parsed, &text), -EPROTO);
        frame.n = 0;
        assert_int_equal(log_frame_parse(&frame, sizeof(frame), &parsed, &text), sizeof(frame));
        frame.kind = 9;
        assert_int_equal(log_frame_parse(&frame, sizeof(frame), &parsed, &text), -EPROTO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(all_files_are_read_from_the_oldest_on),
                TEST(an_entry_has_its_stream_and_time),
                TEST(a_log_that_is_gone_is_not_found),
                TEST(a_line_that_is_being_written_is_given_when_the_log_has_ended),
                TEST(a_torn_line_of_an_older_file_is_given),
                TEST(tail_counts_from_the_end_across_files),
                TEST(tail_takes_the_parts_of_a_line_for_one),
                TEST(tail_counts_lines_of_the_stream_that_is_asked_for),
                TEST(tail_does_not_read_a_large_log),
                TEST(since_and_until_bound_the_times),
                TEST(since_finds_its_place_in_a_large_file),
                TEST(a_json_log_is_read),
                TEST(a_raw_log_is_read_and_has_no_times),
                TEST(a_line_of_any_length_comes_in_parts),
                TEST(who_follows_gets_what_is_written_and_then_the_end),
                TEST(who_follows_without_a_tail_gets_only_what_is_new),
                TEST(a_log_that_has_ended_is_followed_to_its_end),
                TEST(the_reader_dies_when_nobody_listens),
                TEST(files_that_were_gone_before_they_were_seen_are_counted),
                TEST(rotation_loses_and_doubles_nothing),
                TEST(rotation_loses_nothing_when_the_pipe_is_full),
                TEST(a_log_that_is_truncated_is_read_from_its_beginning),
                TEST(frames_that_make_no_sense_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
