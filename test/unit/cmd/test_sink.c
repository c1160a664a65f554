/* SPDX-License-Identifier: Apache-2.0
 *
 * belay's outputs: nothing is lost, nothing blocks, and a writer is told when it is too fast.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "cmd/belay/sink.h"
#include "test/unit/unit.h"

enum { MANY_BYTES = 1 << 20 };

struct bench {
        struct loop *loop;
        struct sink *sink;
        int pipe[2];
};

static void on_change(void *userdata)
{
        struct bench *b = userdata;

        loop_quit(b->loop);
}

static int setup(void **state)
{
        static struct bench b;
        struct error err = ERROR_INIT;

        (void)signal(SIGPIPE, SIG_IGN);
        assert_int_equal(loop_new(&b.loop, &err), 0);
        assert_int_equal(pipe2(b.pipe, O_CLOEXEC), 0);
        assert_int_equal(sink_new(&b.sink, b.loop, b.pipe[1], on_change, &b, &err), 0);
        *state = &b;
        return 0;
}

static int teardown(void **state)
{
        struct bench *b = *state;

        b->sink = sink_free(b->sink);
        b->loop = loop_free(b->loop);
        b->pipe[0] = fd_close(b->pipe[0]);
        b->pipe[1] = fd_close(b->pipe[1]);
        return 0;
}

static void all_bytes_come_in_order_however_slow_the_reader_is(void **state)
{
        struct bench *b = *state;
        _cleanup_free_ uint8_t *data = malloc(MANY_BYTES);
        _cleanup_free_ uint8_t *seen = malloc(MANY_BYTES);
        struct error err = ERROR_INIT;
        size_t n = 0;

        for (size_t i = 0; i < MANY_BYTES; i++)
                data[i] = (uint8_t)(i * 7 + i / 251);
        assert_false(sink_is_full(b->sink));
        assert_int_equal(sink_write(b->sink, data, MANY_BYTES / 2, &err), 0);
        assert_int_equal(sink_write(b->sink, data + MANY_BYTES / 2, MANY_BYTES / 2, &err), 0);
        assert_true(sink_is_full(b->sink));
        while (n < MANY_BYTES) {
                ssize_t r;

                if (!sink_is_empty(b->sink))
                        assert_int_equal(loop_run(b->loop, &err), 0);
                r = read(b->pipe[0], seen + n, 5000);
                assert_true(r > 0);
                n += (size_t)r;
        }
        assert_true(sink_is_empty(b->sink));
        assert_memory_equal(seen, data, MANY_BYTES);
}

static void a_broken_output_is_told_once_and_takes_everything_after_it(void **state)
{
        struct bench *b = *state;
        struct error err = ERROR_INIT;

        b->pipe[0] = fd_close(b->pipe[0]);
        assert_int_equal(sink_errno(b->sink), 0);
        assert_int_equal(sink_write(b->sink, "x", 1, &err), 0);
        assert_int_equal(loop_run(b->loop, &err), 0);
        assert_int_equal(sink_errno(b->sink), EPIPE);
        assert_int_equal(sink_write(b->sink, "y", 1, &err), 0);
        assert_true(sink_is_empty(b->sink));
}

static void a_file_is_written_at_once(void **state)
{
        struct bench *b = *state;
        _cleanup_close_ int file = memfd_create("sink", MFD_CLOEXEC);
        struct error err = ERROR_INIT;
        struct sink *sink = NULL;
        char text[8] = "";

        assert_int_equal(sink_new(&sink, b->loop, file, on_change, b, &err), 0);
        assert_int_equal(sink_write(sink, "hello", 5, &err), 0);
        assert_true(sink_is_empty(sink));
        assert_int_equal(pread(file, text, sizeof(text), 0), 5);
        assert_string_equal(text, "hello");
        sink_free(sink);
}

static void a_full_disk_is_told(void **state)
{
        struct bench *b = *state;
        _cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
        struct error err = ERROR_INIT;
        struct sink *sink = NULL;

        assert_true(full >= 0);
        assert_int_equal(sink_new(&sink, b->loop, full, on_change, b, &err), 0);
        assert_int_equal(sink_write(sink, "hello", 5, &err), 0);
        assert_int_equal(sink_errno(sink), ENOSPC);
        sink_free(sink);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(all_bytes_come_in_order_however_slow_the_reader_is,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(
                        a_broken_output_is_told_once_and_takes_everything_after_it, setup,
                        teardown),
                cmocka_unit_test_setup_teardown(a_file_is_written_at_once, setup, teardown),
                cmocka_unit_test_setup_teardown(a_full_disk_is_told, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
