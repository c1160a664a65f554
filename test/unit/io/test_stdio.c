/* SPDX-License-Identifier: Apache-2.0
 *
 * Stdio without a terminal. The test plays the client (it makes the FIFOs and opens its ends) and
 * the container (it takes duplicates of the child's descriptors). Nothing may wait: alarm(2) ends
 * a test that does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/io/stdio.h"

#include "test/unit/fds.h"
#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 30 };

struct fixture {
        struct loop *loop;
        char dir[64];
        char in[96];
        char out[96];
        char err_[96];
        int n_fds; /* open descriptors before the test */
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        assert_int_equal(loop_new(&f->loop, &err), 0);
        strcpy(f->dir, "/tmp/belay-io-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->in, sizeof(f->in), "%s/in", f->dir);
        snprintf(f->out, sizeof(f->out), "%s/out", f->dir);
        snprintf(f->err_, sizeof(f->err_), "%s/err", f->dir);
        assert_int_equal(mkfifo(f->in, 0700), 0);
        assert_int_equal(mkfifo(f->out, 0700), 0);
        assert_int_equal(mkfifo(f->err_, 0700), 0);
        f->n_fds = count_fds();
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(count_fds(), f->n_fds);
        (void)unlink(f->in);
        (void)unlink(f->out);
        (void)unlink(f->err_);
        (void)rmdir(f->dir);
        loop_free(f->loop);
        free(f);
        (void)alarm(0);
        return 0;
}

static struct io_stdio *open_stdio(struct fixture *f, const char *in, const char *out,
                                   const char *err_path)
{
        struct io_stdio_config config = {.loop = f->loop, .in = in, .out = out, .err = err_path};
        struct error err = ERROR_INIT;
        struct io_stdio *s = NULL;

        if (io_stdio_open(&s, &config, &err) < 0)
                fail_msg("%s", err.msg);
        assert_true(io_stdio_is_drained(s));
        return s;
}

static void assert_open_fails(struct fixture *f, struct io_stdio_config config, int code,
                              const char *stream, const char *text)
{
        struct error err = ERROR_INIT;
        struct io_stdio *s = NULL;

        config.loop = f->loop;
        assert_int_equal(io_stdio_open(&s, &config, &err), -1);
        assert_null(s);
        assert_int_equal(err.code, code);
        if (strncmp(err.msg, stream, strlen(stream)) != 0 || !strstr(err.msg, text))
                fail_msg("'%s' does not name %s and %s", err.msg, stream, text);
}

/* The container takes what it was given. */
static int take(const struct io_stdio *s, int i)
{
        int fd = fcntl(io_stdio_child_fds(s)[i], F_DUPFD_CLOEXEC, 3);

        assert_true(fd >= 0);
        return fd;
}

static void assert_says(int fd, const char *want)
{
        char got[256] = {0};

        assert_int_equal(read(fd, got, sizeof(got) - 1), strlen(want));
        assert_string_equal(got, want);
}

static void say(int fd, const char *text)
{
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int client_reads(const char *path)
{
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void nothing_asked_for_is_dev_null_for_reading_and_writing(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, "", NULL, "");

        for (int i = 0; i < 3; i++) {
                int fd = io_stdio_child_fds(s)[i];
                struct stat st;

                assert_int_equal(fstat(fd, &st), 0);
                assert_true(S_ISCHR(st.st_mode));
                assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
                assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        }
        io_stdio_free(s);
}

static void a_stream_left_out_is_dev_null_beside_fifos(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, NULL, f->out, "");
        struct stat st;

        assert_int_equal(fstat(io_stdio_child_fds(s)[2], &st), 0);
        assert_true(S_ISCHR(st.st_mode));
        assert_int_equal(fstat(io_stdio_child_fds(s)[1], &st), 0);
        assert_true(S_ISFIFO(st.st_mode));
        io_stdio_free(s);
}

static void no_open_waits_for_a_peer_and_the_container_gets_blocking_fifos(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, f->in, f->out, f->err_);

        for (int i = 0; i < 3; i++) {
                int fd = io_stdio_child_fds(s)[i];

                assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
                assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
                assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, i == 0 ? O_RDONLY : O_WRONLY);
        }
        io_stdio_free(s);
}

static void the_client_reads_what_the_container_writes_and_then_eof(void **state)
{
        struct fixture *f = *state;
        int client_out = client_reads(f->out);
        int client_err = client_reads(f->err_);
        struct io_stdio *s = open_stdio(f, f->in, f->out, f->err_);
        int out = take(s, 1);
        int err_ = take(s, 2);
        char c;

        io_stdio_close_child_fds(s);
        assert_int_equal(io_stdio_child_fds(s)[1], -1);
        say(out, "to stdout");
        say(err_, "to stderr");
        assert_says(client_out, "to stdout");
        assert_says(client_err, "to stderr");
        assert_int_equal(read(client_out, &c, 1), -1);
        assert_int_equal(errno, EAGAIN);
        /* The last writer of the container ends: EOF, although the shim is still there. */
        close(out);
        assert_int_equal(read(client_out, &c, 1), 0);
        close(err_);
        assert_int_equal(read(client_err, &c, 1), 0);
        close(client_out);
        close(client_err);
        io_stdio_free(s);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

static void run_for(struct fixture *f, uint64_t ns)
{
        struct loop_timer *timer = loop_timer_new(f->loop, on_timer, f->loop);

        assert_non_null(timer);
        assert_int_equal(loop_timer_set(timer, ns), 0);
        assert_int_equal(loop_run(f->loop, NULL), 0);
        loop_timer_free(timer);
}

static void a_client_that_comes_after_the_end_finds_a_writer_the_text_and_eof(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, NULL, f->out, NULL);
        int out = take(s, 1);
        int client;
        int n = -1;
        char c;

        io_stdio_close_child_fds(s);
        say(out, "last words");
        close(out);
        io_stdio_process_exited(s);
        run_for(f, 30 * NSEC_PER_MSEC);
        client = open(f->out, O_RDONLY | O_CLOEXEC); /* blocks where there is no writer */
        assert_says(client, "last words");
        assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
        for (int i = 0; i < 100 && n < 0; i++) {
                run_for(f, 20 * NSEC_PER_MSEC);
                n = (int)read(client, &c, 1);
        }
        assert_int_equal(n, 0);
        close(client);
        io_stdio_free(s);
}

static void a_client_that_comes_before_the_end_has_eof_with_it(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, NULL, f->out, NULL);
        int out = take(s, 1);
        int client = client_reads(f->out);
        char c;

        io_stdio_close_child_fds(s);
        close(out);
        assert_int_equal(read(client, &c, 1), -1);
        io_stdio_process_exited(s);
        assert_int_equal(read(client, &c, 1), 0);
        close(client);
        io_stdio_free(s);
}

static void a_client_that_goes_away_costs_no_sigpipe_and_may_come_back(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, NULL, f->out, NULL);
        int out = take(s, 1);
        int client = client_reads(f->out);

        io_stdio_close_child_fds(s);
        close(client);
        say(out, "meanwhile"); /* SIGPIPE would end the test */
        client = client_reads(f->out);
        assert_says(client, "meanwhile");
        close(client);
        close(out);
        io_stdio_free(s);
}

static void stdin_ends_only_after_close_and_the_last_writer(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, f->in, NULL, NULL);
        int in = take(s, 0);
        int client;
        char c;

        io_stdio_close_child_fds(s);
        assert_int_equal(fcntl(in, F_SETFL, O_NONBLOCK), 0);
        client = open(f->in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(client >= 0);
        say(client, "hello");
        close(client); /* a detach is no EOF */
        assert_says(in, "hello");
        assert_int_equal(read(in, &c, 1), -1);
        assert_int_equal(errno, EAGAIN);
        client = open(f->in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(client >= 0);
        io_stdio_close_stdin(s);
        io_stdio_close_stdin(s);
        say(client, "more");
        assert_says(in, "more");
        assert_int_equal(read(in, &c, 1), -1);
        assert_int_equal(errno, EAGAIN);
        close(client);
        assert_int_equal(read(in, &c, 1), 0);
        close(in);
        io_stdio_free(s);
}

static void stdin_may_be_closed_before_there_is_a_process(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, f->in, NULL, NULL);
        char c;

        io_stdio_close_stdin(s);
        assert_int_equal(read(io_stdio_child_fds(s)[0], &c, 1), 0);
        io_stdio_free(s);
}

static void an_exit_frees_a_client_that_writes_to_stdin(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, f->in, NULL, NULL);
        struct pollfd p = {.fd = open(f->in, O_WRONLY | O_NONBLOCK | O_CLOEXEC)};

        assert_true(p.fd >= 0);
        io_stdio_close_child_fds(s);
        io_stdio_process_exited(s);
        assert_int_equal(poll(&p, 1, 0), 1);
        assert_true(p.revents & POLLERR);
        assert_true(io_stdio_is_drained(s));
        close(p.fd);
        io_stdio_free(s);
}

static void a_regular_file_is_appended_to_by_both_streams(void **state)
{
        struct fixture *f = *state;
        char path[96];
        char text[64] = {0};
        struct io_stdio *s;
        int fd;

        snprintf(path, sizeof(path), "%s/log", f->dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        say(fd, "old ");
        s = open_stdio(f, NULL, path, path);
        say(io_stdio_child_fds(s)[1], "one ");
        say(io_stdio_child_fds(s)[2], "two ");
        say(io_stdio_child_fds(s)[1], "three");
        assert_int_equal(pread(fd, text, sizeof(text) - 1, 0), 17);
        assert_string_equal(text, "old one two three");
        close(fd);
        (void)unlink(path);
        io_stdio_free(s);
}

static void a_file_uri_makes_its_file_and_takes_both_streams(void **state)
{
        struct fixture *f = *state;
        char uri[128];
        char path[128];
        char dir[128];
        struct io_stdio *s;
        struct stat st;
        int fd;

        snprintf(dir, sizeof(dir), "%s/a", f->dir);
        snprintf(path, sizeof(path), "%s/a/log x", f->dir);
        snprintf(uri, sizeof(uri), "file://%s/a/log%%20x", f->dir);
        s = open_stdio(f, f->in, uri, "");
        say(io_stdio_child_fds(s)[2], "err ");
        say(io_stdio_child_fds(s)[1], "out");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_says(fd, "err out");
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 0777 & ~0644, 0);
        close(fd);
        io_stdio_free(s);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static void errors_name_the_stream_and_the_path(void **state)
{
        struct fixture *f = *state;

        assert_open_fails(f, (struct io_stdio_config){.in = "/nonexistent/in"}, STATUS_UNKNOWN,
                          "stdin: ", "/nonexistent/in");
        assert_open_fails(f, (struct io_stdio_config){.in = f->in, .out = "/nonexistent/out"},
                          STATUS_UNKNOWN, "stdout: ", "/nonexistent/out");
        assert_open_fails(f, (struct io_stdio_config){.out = f->out, .err = f->dir},
                          STATUS_INVALID_ARGUMENT, "stderr: ", f->dir);
        assert_open_fails(f, (struct io_stdio_config){.out = "/dev/zero"}, STATUS_INVALID_ARGUMENT,
                          "stdout: ", "/dev/zero");
        assert_open_fails(f, (struct io_stdio_config){.err = "binary:///bin/x"},
                          STATUS_INVALID_ARGUMENT, "stderr: ", "is named by stdout");
        assert_open_fails(f, (struct io_stdio_config){.err = "x://"}, STATUS_INVALID_ARGUMENT,
                          "stderr: ", "'x'");
        assert_open_fails(f, (struct io_stdio_config){.in = "file:///tmp/x"},
                          STATUS_INVALID_ARGUMENT, "stdin: ", "for output");
        assert_open_fails(f, (struct io_stdio_config){.out = "file:///dev/zero"},
                          STATUS_INVALID_ARGUMENT, "stdout: ", "/dev/zero");
        assert_open_fails(f, (struct io_stdio_config){.in = "/etc/passwd", .terminal = true},
                          STATUS_INVALID_ARGUMENT, "stdin: ", "/etc/passwd");
}

static void a_resize_without_terminal_does_nothing(void **state)
{
        struct fixture *f = *state;
        struct io_stdio *s = open_stdio(f, NULL, NULL, NULL);
        struct error err = ERROR_INIT;

        assert_int_equal(io_stdio_resize(s, 80, 25, &err), 0);
        assert_int_equal(io_stdio_attach_terminal_take(s, 0, &err), -1);
        io_stdio_free(s);
        assert_null(io_stdio_free(NULL));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(nothing_asked_for_is_dev_null_for_reading_and_writing),
                CASE(a_stream_left_out_is_dev_null_beside_fifos),
                CASE(no_open_waits_for_a_peer_and_the_container_gets_blocking_fifos),
                CASE(the_client_reads_what_the_container_writes_and_then_eof),
                CASE(a_client_that_comes_after_the_end_finds_a_writer_the_text_and_eof),
                CASE(a_client_that_comes_before_the_end_has_eof_with_it),
                CASE(a_client_that_goes_away_costs_no_sigpipe_and_may_come_back),
                CASE(stdin_ends_only_after_close_and_the_last_writer),
                CASE(stdin_may_be_closed_before_there_is_a_process),
                CASE(an_exit_frees_a_client_that_writes_to_stdin),
                CASE(a_regular_file_is_appended_to_by_both_streams),
                CASE(a_file_uri_makes_its_file_and_takes_both_streams),
                CASE(errors_name_the_stream_and_the_path),
                CASE(a_resize_without_terminal_does_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
