/* SPDX-License-Identifier: Apache-2.0
 *
 * log:// as the stdio of a process: the writer is a logger that is the shim's own.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/fd.h"

#include "test/unit/io/logger.h"
#include "test/unit/unit.h"

static void open_log_uri(struct fixture *f, const char *params)
{
        snprintf(f->uri, sizeof(f->uri), "log://%s?%s", f->log, params);
        logger_open(f, f->uri, false);
        if (f->ready_code != STATUS_OK)
                fail_msg("%s", f->ready_text);
        logger_take_ends(f);
}

static void a_log_is_written_and_counted(void **state)
{
        struct fixture *f = *state;

        open_log_uri(f, "format=raw");
        assert_int_equal(fd_write_all(f->out, "hello", 5), 0);
        logger_close_container(f);
        logger_run_until_drained(f);
        logger_expect(f, "hello");
        assert_true(io_stdio_status(f->s).is_complete);
        assert_string_equal(io_stdio_status(f->s).kind, "log");
        assert_int_equal(atomic_load(&io_stdio_status(f->s).log->bytes), 5);
}

/* Once it is ready, an order to end finds it prepared, however soon it comes. */
static void a_log_s_writer_that_is_told_to_end_at_once_writes_what_there_is(void **state)
{
        struct fixture *f = *state;

        for (int i = 0; i < 50; i++) {
                open_log_uri(f, "format=raw");
                assert_int_equal(fd_write_all(f->out, "x", 1), 0);
                io_stdio_process_exited(f->s);
                assert_true(io_stdio_stop(f->s));
                logger_run_until_drained(f);
                f->out = fd_close(f->out);
                f->err = fd_close(f->err);
                f->s = io_stdio_free(f->s);
                f->n_ready = 0;
                f->n_drained = 0;
        }
        logger_expect(f, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

static void the_last_output_of_a_log_can_be_looked_at(void **state)
{
        struct fixture *f = *state;
        struct io_ring_chunk chunk;
        static char buf[65536];
        uint64_t place = 0;

        open_log_uri(f, "ring=8k");
        assert_int_equal(fd_write_all(f->err, "seen", 4), 0);
        logger_close_container(f);
        logger_run_until_drained(f);
        assert_int_equal(io_ring_read(io_stdio_ring(f->s), &place, &chunk, buf), 1);
        assert_int_equal(chunk.stream, LOG_STDERR);
        assert_int_equal(chunk.len, 4);
        assert_memory_equal(buf, "seen", 4);
}

static void a_writer_of_a_log_has_nothing_of_the_shim_s(void **state)
{
        struct fixture *f = *state;
        int held = open("/dev/null", O_RDONLY | O_CLOEXEC);
        char path[64];
        DIR *dir;
        int n = 0;

        open_log_uri(f, "ring=0");
        snprintf(path, sizeof(path), "/proc/%d/fd", (int)io_stdio_status(f->s).logger_pid);
        dir = opendir(path);
        assert_non_null(dir);
        for (struct dirent *e = readdir(dir); e; e = readdir(dir))
                n += e->d_name[0] != '.';
        closedir(dir);
        fd_close(held);
        assert_in_range(n, 5, 7); /* 0 to 4, what stands for the ring, and the log */
}

static void a_log_that_cannot_be_opened_is_an_error(void **state)
{
        struct fixture *f = *state;

        logger_open(f, "log:///proc/nowhere/log", false);
        assert_string_equal(f->ready_text,
                            "open log '/proc/nowhere/log': No such file or directory");
}

static void a_bad_parameter_is_refused_by_name(void **state)
{
        struct fixture *f = *state;
        const struct io_stdio_config config = {
                .loop = f->loop, .reaper = f->reaper, .out = "log:///tmp/x?polic=drop"};
        struct error err = ERROR_INIT;

        assert_int_equal(io_stdio_open(&f->s, &config, &err), -1);
        assert_string_equal(err.msg, "stdout: unknown log parameter 'polic'");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, logger_set_up, logger_tear_down)
        const struct CMUnitTest tests[] = {
                T(a_log_is_written_and_counted),
                T(a_log_s_writer_that_is_told_to_end_at_once_writes_what_there_is),
                T(the_last_output_of_a_log_can_be_looked_at),
                T(a_writer_of_a_log_has_nothing_of_the_shim_s),
                T(a_log_that_cannot_be_opened_is_an_error),
                T(a_bad_parameter_is_refused_by_name),
        };
#undef T

        return cmocka_run_group_tests(tests, NULL, NULL);
}
