/* SPDX-License-Identifier: Apache-2.0
 *
 * belay's relay: every kind of descriptor, on either side.
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
#include "pkg/loop/loop.h"

#include "cmd/belay/relay.h"
#include "test/unit/unit.h"

enum { MANY_BYTES = 100000 };

static void on_end(void *userdata)
{
        loop_quit(userdata);
}

/* Relays all of in to out; the ends of pipes are closed by the caller. */
static void relay_all(int in, int out)
{
        struct error err = ERROR_INIT;
        struct loop *loop = NULL;
        struct relay *relay = NULL;

        assert_int_equal(loop_new(&loop, &err), 0);
        assert_int_equal(relay_new(&relay, loop, in, out, on_end, loop, &err), 0);
        assert_false(relay_is_done(relay));
        assert_int_equal(loop_run(loop, &err), 0);
        assert_true(relay_is_done(relay));
        relay_free(relay);
        loop_free(loop);
}

static int make_file(const char *text)
{
        int fd = memfd_create("relay", MFD_CLOEXEC);

        assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

static char *slurp(int fd, size_t *ret_len)
{
        char *text = NULL;

        assert_int_equal(fd_read_all(fd, 2 * MANY_BYTES, &text, ret_len), 0);
        return text;
}

static void a_file_goes_into_a_pipe(void **state)
{
        _cleanup_close_ int file = make_file("hello");
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int pipe_fds[2];

        (void)state;
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        relay_all(file, pipe_fds[1]);
        fd_close(pipe_fds[1]);
        text = slurp(pipe_fds[0], &len);
        assert_string_equal(text, "hello");
        fd_close(pipe_fds[0]);
}

static void a_pipe_goes_into_a_file(void **state)
{
        _cleanup_close_ int file = make_file("");
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int pipe_fds[2];

        (void)state;
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        assert_int_equal(fd_write_all(pipe_fds[1], "hello", 5), 0);
        fd_close(pipe_fds[1]);
        relay_all(pipe_fds[0], file);
        fd_close(pipe_fds[0]);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        text = slurp(file, &len);
        assert_string_equal(text, "hello");
}

static void dev_null_ends_at_once_and_takes_all(void **state)
{
        _cleanup_close_ int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        _cleanup_close_ int file = make_file("hello");

        (void)state;
        relay_all(null_fd, null_fd);
        relay_all(file, null_fd);
}

static void an_output_that_is_closed_does_not_hold_up_the_input(void **state)
{
        _cleanup_close_ int file = make_file("hello");
        int pipe_fds[2];

        (void)state;
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        fd_close(pipe_fds[0]);
        relay_all(file, pipe_fds[1]);
        fd_close(pipe_fds[1]);
}

/* Reads what the relay has written, as a slow reader would: only when the pipe is full. */
struct slow_reader {
        int fd;
        size_t n_bytes;
        unsigned char next;
};

static void on_readable(struct loop_io *io, int fd, int what, void *userdata)
{
        struct slow_reader *reader = userdata;
        unsigned char buf[1000];
        ssize_t n = read(fd, buf, sizeof(buf));

        (void)io;
        (void)what;
        for (ssize_t i = 0; i < n; i++)
                assert_int_equal(buf[i], reader->next++);
        reader->n_bytes += n > 0 ? (size_t)n : 0;
}

static void more_than_a_pipe_holds_arrives_whole_and_in_order(void **state)
{
        _cleanup_close_ int file = memfd_create("relay", MFD_CLOEXEC);
        struct slow_reader reader = {0};
        struct error err = ERROR_INIT;
        struct loop *loop = NULL;
        struct relay *relay = NULL;
        struct loop_io *io;
        unsigned char *bytes = malloc(MANY_BYTES);
        int pipe_fds[2];

        (void)state;
        for (size_t i = 0; i < MANY_BYTES; i++)
                bytes[i] = (unsigned char)i;
        assert_int_equal(fd_write_all(file, bytes, MANY_BYTES), 0);
        free(bytes);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        assert_int_equal(loop_new(&loop, &err), 0);
        io = loop_io_new(loop, pipe_fds[0], LOOP_PRIORITY_RELAY, on_readable, &reader);
        assert_int_equal(loop_io_want(io, LOOP_READ), 0);
        assert_int_equal(relay_new(&relay, loop, file, pipe_fds[1], on_end, loop, &err), 0);
        assert_int_equal(loop_run(loop, &err), 0);
        while (reader.n_bytes < MANY_BYTES)
                on_readable(io, pipe_fds[0], LOOP_READ, &reader);
        relay_free(relay);
        loop_io_free(io);
        loop_free(loop);
        fd_close(pipe_fds[0]);
        fd_close(pipe_fds[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_file_goes_into_a_pipe),
                cmocka_unit_test(a_pipe_goes_into_a_file),
                cmocka_unit_test(dev_null_ends_at_once_and_takes_all),
                cmocka_unit_test(an_output_that_is_closed_does_not_hold_up_the_input),
                cmocka_unit_test(more_than_a_pipe_holds_arrives_whole_and_in_order),
        };
        struct sigaction ignore = {.sa_handler = SIG_IGN};

        if (sigaction(SIGPIPE, &ignore, NULL) < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
