/* SPDX-License-Identifier: Apache-2.0
 *
 * The file and its rotation. A full disk is played by RLIMIT_FSIZE, which makes write(2) fail or
 * come short.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/log/file.h"

#include "test/unit/unit.h"

struct fixture {
        char dir[64];
        char path[128];
        struct log_config config;
        struct log_counters *counters;
        struct log_file file;
};

static const volatile bool never;
static const volatile bool at_once = true;

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        strcpy(f->dir, "/tmp/belay-log-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/sub/folder/log", f->dir);
        log_config_init(&f->config, f->path);
        assert_int_equal(log_counters_new(&f->counters), 0);
        assert_int_equal(log_file_open(&f->file, &f->config, f->counters), 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        char name[160];

        log_file_close(&f->file);
        (void)unlink(f->path);
        for (int i = 1; i < 12; i++) {
                snprintf(name, sizeof(name), "%s.%d", f->path, i);
                (void)unlink(name);
        }
        snprintf(name, sizeof(name), "%s/sub/folder", f->dir);
        assert_int_equal(rmdir(name), 0);
        snprintf(name, sizeof(name), "%s/sub", f->dir);
        assert_int_equal(rmdir(name), 0);
        assert_int_equal(rmdir(f->dir), 0);
        log_counters_free(f->counters);
        free(f);
        return 0;
}

static void write_text(struct fixture *f, const char *text)
{
        assert_int_equal(log_file_write(&f->file, text, strlen(text), &never), 0);
}

static void expect_file(struct fixture *f, int number, const char *want)
{
        char name[160];
        char *text = NULL;
        size_t len;

        snprintf(name, sizeof(name), number ? "%s.%d" : "%s", f->path, number);
        if (!want) {
                assert_int_equal(access(name, F_OK), -1);
                return;
        }
        assert_int_equal(file_read(AT_FDCWD, name, 8 << 20, &text, &len), 0);
        assert_string_equal(text, want);
        free(text);
}

static void it_is_made_with_its_folders_and_appended_to(void **state)
{
        struct fixture *f = *state;
        struct stat st;

        write_text(f, "one\n");
        log_file_close(&f->file);
        assert_int_equal(log_file_open(&f->file, &f->config, f->counters), 0);
        write_text(f, "two\n");
        expect_file(f, 0, "one\ntwo\n");
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
}

static void it_is_no_link(void **state)
{
        struct fixture *f = *state;

        log_file_close(&f->file);
        assert_int_equal(unlink(f->path), 0);
        assert_int_equal(symlink("/dev/null", f->path), 0);
        assert_int_equal(log_file_open(&f->file, &f->config, f->counters), -ELOOP);
}

static void files_are_rotated_between_lines(void **state)
{
        struct fixture *f = *state;

        f->config.max_size = 10;
        f->config.max_files = 3;
        write_text(f, "aaaa\nbbbb\ncccc\ndddd\neeee\n");
        expect_file(f, 0, "eeee\n");
        expect_file(f, 1, "cccc\ndddd\n");
        expect_file(f, 2, "aaaa\nbbbb\n");
        write_text(f, "f\n");
        expect_file(f, 0, "eeee\nf\n");
        write_text(f, "gggggggg\n");
        expect_file(f, 0, "gggggggg\n");
        expect_file(f, 2, "cccc\ndddd\n");
        expect_file(f, 3, NULL);
        assert_int_equal(atomic_load(&f->counters->rotations), 3);
}

static void a_line_that_is_too_long_has_a_file_of_its_own(void **state)
{
        struct fixture *f = *state;

        f->config.max_size = 10;
        write_text(f, "a\nbbbbbbbbbbbbbbbb\nc\n");
        expect_file(f, 0, "c\n");
        expect_file(f, 1, "bbbbbbbbbbbbbbbb\n");
        expect_file(f, 2, "a\n");
}

static void a_single_file_begins_anew(void **state)
{
        struct fixture *f = *state;

        f->config.max_size = 10;
        f->config.max_files = 1;
        write_text(f, "aaaa\nbbbb\ncccc\n");
        expect_file(f, 0, "cccc\n");
        expect_file(f, 1, NULL);
}

static void who_reads_a_single_file_keeps_what_was_in_it(void **state)
{
        struct fixture *f = *state;
        char text[16] = {0};
        int fd;

        f->config.max_size = 10;
        f->config.max_files = 1;
        write_text(f, "aaaa\nbbbb\n");
        fd = open(f->path, O_RDONLY | O_CLOEXEC);
        write_text(f, "cccc\n");
        assert_int_equal(read(fd, text, sizeof(text)), 10);
        assert_string_equal(text, "aaaa\nbbbb\n");
        close(fd);
        expect_file(f, 0, "cccc\n");
}

static void one_that_somebody_has_moved_away_is_made_again(void **state)
{
        struct fixture *f = *state;
        char name[160];

        write_text(f, "one\n");
        snprintf(name, sizeof(name), "%s.1", f->path);
        assert_int_equal(rename(f->path, name), 0);
        write_text(f, "two\n");
        expect_file(f, 0, "two\n");
        expect_file(f, 1, "one\n");
}

static void one_that_somebody_has_emptied_is_gone_on_with(void **state)
{
        struct fixture *f = *state;

        f->config.max_size = 10;
        write_text(f, "aaaaaaaa\n");
        assert_int_equal(truncate(f->path, 0), 0);
        write_text(f, "bbbbbbbb\n");
        expect_file(f, 0, "bbbbbbbb\n");
        expect_file(f, 1, NULL);
}

static void limit_size(rlim_t size)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_told_when_nobody_waits_for_it(void **state)
{
        struct fixture *f = *state;

        limit_size(6);
        assert_int_equal(log_file_write(&f->file, "aaaa\nbbbb\n", 10, &at_once), -EFBIG);
        limit_size(RLIM_INFINITY);
        expect_file(f, 0, "aaaa\nb");
        assert_int_equal(atomic_load(&f->counters->write_errors), 1);
        assert_int_equal(atomic_load(&f->counters->last_errno), EFBIG);
}

static void make_room(int signo)
{
        const struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

        (void)setrlimit(RLIMIT_FSIZE, &limit);
}

/* The disk is full in the midst of a line; when there is room again the rest of it follows. */
static void a_full_disk_is_waited_for_and_nothing_is_lost_or_doubled(void **state)
{
        struct fixture *f = *state;
        struct sigaction action = {.sa_handler = make_room};

        assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
        limit_size(6);
        (void)alarm(1);
        write_text(f, "aaaa\nbbbb\ncccc\n");
        expect_file(f, 0, "aaaa\nbbbb\ncccc\n");
        assert_true(atomic_load(&f->counters->write_errors) > 0);
        limit_size(RLIM_INFINITY);
}

static void a_rotation_that_fails_costs_no_line(void **state)
{
        struct fixture *f = *state;
        char name[160];

        f->config.max_size = 10;
        f->config.max_files = 2;
        snprintf(name, sizeof(name), "%s.1", f->path);
        assert_int_equal(mkdir(name, 0700), 0);
        write_text(f, "aaaa\nbbbb\ncccc\n");
        expect_file(f, 0, "aaaa\nbbbb\ncccc\n");
        assert_int_equal(rmdir(name), 0);
        assert_true(atomic_load(&f->counters->write_errors) > 0);
}

static void a_torn_line_is_ended_when_the_file_is_opened_again(void **state)
{
        struct fixture *f = *state;
        char text[16] = "";
        int fd;

        assert_int_equal(log_file_write(&f->file, "torn", 4, &never), 0);
        for (int i = 0; i < 2; i++) {
                log_file_close(&f->file);
                assert_int_equal(log_file_open(&f->file, &f->config, f->counters), 0);
                assert_int_equal(f->file.size, 5);
        }
        f->config.format = LOG_FORMAT_RAW;
        assert_int_equal(log_file_write(&f->file, "raw", 3, &never), 0);
        log_file_close(&f->file);
        assert_int_equal(log_file_open(&f->file, &f->config, f->counters), 0);
        fd = open(f->path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, text, sizeof(text)), 8);
        fd_close(fd);
        assert_string_equal(text, "torn\nraw");
}

/* It was opened for writing, and with nobody to read that waits for ever. */
static void a_fifo_in_its_place_is_refused_at_once(void **state)
{
        struct fixture *f = *state;
        int reader;

        log_file_close(&f->file);
        assert_int_equal(unlink(f->path), 0);
        assert_int_equal(mkfifo(f->path, 0600), 0);
        alarm(10);
        assert_int_equal(log_file_open(&f->file, &f->config, f->counters), -ENXIO);
        alarm(0);
        reader = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(reader >= 0);
        assert_int_equal(log_file_open(&f->file, &f->config, f->counters), -EINVAL);
        fd_close(reader);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(it_is_made_with_its_folders_and_appended_to),
                T(it_is_no_link),
                T(a_fifo_in_its_place_is_refused_at_once),
                T(files_are_rotated_between_lines),
                T(a_line_that_is_too_long_has_a_file_of_its_own),
                T(a_single_file_begins_anew),
                T(who_reads_a_single_file_keeps_what_was_in_it),
                T(one_that_somebody_has_moved_away_is_made_again),
                T(one_that_somebody_has_emptied_is_gone_on_with),
                T(a_full_disk_is_told_when_nobody_waits_for_it),
                T(a_full_disk_is_waited_for_and_nothing_is_lost_or_doubled),
                T(a_rotation_that_fails_costs_no_line),
                T(a_torn_line_is_ended_when_the_file_is_opened_again),
        };
#undef T
        struct sigaction action = {.sa_handler = SIG_IGN};

        (void)sigaction(SIGXFSZ, &action, NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
