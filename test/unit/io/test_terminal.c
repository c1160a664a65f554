/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay of a terminal, with a real pty whose slave the test holds in the container's place. The
 * loop runs until what is awaited has happened; alarm(2) ends a test for which it never does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/io/stdio.h"

#include "test/unit/fds.h"
#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 60, LARGE = 1 << 20 };

struct fixture {
        struct loop *loop;
        struct loop_io *watch;
        struct loop_timer *timer;
        struct io_stdio *s;
        char dir[64];
        char in[96];
        char out[96];
        int slave;
        int client_in;
        int client_out;
        pid_t writer;
        int n_drained;
        int n_fds;
        size_t want; /* bytes until the loop is quit */
        size_t got;
        bool eof;
        unsigned sum;
        char text[8192]; /* the last of what arrived */
};

static void on_drained(void *userdata)
{
        struct fixture *f = userdata;

        f->n_drained++;
        loop_quit(f->loop);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        loop_quit(((struct fixture *)userdata)->loop);
}

static void attach(struct fixture *f)
{
        int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct error err = ERROR_INIT;
        struct termios t;

        assert_true(master >= 0);
        assert_int_equal(unlockpt(master), 0);
        f->slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(f->slave >= 0);
        assert_int_equal(tcgetattr(f->slave, &t), 0);
        t.c_oflag &= ~(tcflag_t)OPOST;
        t.c_lflag &= ~(tcflag_t)ECHO;
        assert_int_equal(tcsetattr(f->slave, TCSANOW, &t), 0);
        if (io_stdio_attach_terminal_take(f->s, master, &err) < 0)
                fail_msg("%s", err.msg);
        assert_true(fcntl(master, F_GETFL) & O_NONBLOCK);
}

static void open_terminal(struct fixture *f, const char *in, const char *out)
{
        struct io_stdio_config config = {
                .loop = f->loop, .in = in, .out = out, .err = "/ignored", .terminal = true};
        struct error err = ERROR_INIT;

        if (io_stdio_open(&f->s, &config, &err) < 0)
                fail_msg("%s", err.msg);
        for (int i = 0; i < 3; i++)
                assert_int_equal(io_stdio_child_fds(f->s)[i], -1);
        assert_false(io_stdio_is_drained(f->s));
        io_stdio_on_drained(f->s, on_drained, f);
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        f->n_fds = count_fds();
        assert_int_equal(loop_new(&f->loop, &err), 0);
        strcpy(f->dir, "/tmp/belay-tty-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->in, sizeof(f->in), "%s/in", f->dir);
        snprintf(f->out, sizeof(f->out), "%s/out", f->dir);
        assert_int_equal(mkfifo(f->in, 0700), 0);
        assert_int_equal(mkfifo(f->out, 0700), 0);
        f->timer = loop_timer_new(f->loop, on_timer, f);
        assert_non_null(f->timer);
        f->slave = -1;
        f->client_out = open(f->out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        open_terminal(f, f->in, f->out);
        f->client_in = open(f->in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(f->client_in >= 0 && f->client_out >= 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        io_stdio_free(f->s);
        if (f->writer > 0) {
                (void)kill(f->writer, SIGKILL);
                (void)waitpid(f->writer, NULL, 0);
        }
        loop_io_free(f->watch);
        loop_timer_free(f->timer);
        loop_free(f->loop);
        fd_close(f->slave);
        fd_close(f->client_in);
        fd_close(f->client_out);
        (void)unlink(f->in);
        (void)unlink(f->out);
        (void)rmdir(f->dir);
        assert_int_equal(count_fds(), f->n_fds);
        free(f);
        (void)alarm(0);
        return 0;
}

static void on_readable(struct loop_io *io, int fd, int what, void *userdata)
{
        struct fixture *f = userdata;
        ssize_t n = read(fd, f->text, sizeof(f->text) - 1);

        if (n < 0) {
                assert_int_equal(errno, EAGAIN);
                return;
        }
        f->text[n] = '\0';
        f->got += (size_t)n;
        for (ssize_t i = 0; i < n; i++)
                f->sum = f->sum * 31 + (unsigned char)f->text[i];
        if (n == 0) {
                f->eof = true;
                (void)loop_io_want(io, 0);
        }
        if (n == 0 || (f->want > 0 && f->got >= f->want))
                loop_quit(f->loop);
}

/* Runs the loop until `want` bytes have arrived at fd, or EOF if want is 0. */
static void read_until(struct fixture *f, int fd, size_t want)
{
        struct error err = ERROR_INIT;

        f->want = want;
        f->got = 0;
        f->watch = loop_io_free(f->watch);
        f->watch = loop_io_new(f->loop, fd, LOOP_PRIORITY_RPC, on_readable, f);
        assert_non_null(f->watch);
        assert_int_equal(loop_io_want(f->watch, LOOP_READ), 0);
        assert_int_equal(loop_run(f->loop, &err), 0);
        f->watch = loop_io_free(f->watch);
}

static void run_for(struct fixture *f, uint64_t ms)
{
        struct error err = ERROR_INIT;

        assert_int_equal(loop_timer_set(f->timer, ms * NSEC_PER_MSEC), 0);
        assert_int_equal(loop_run(f->loop, &err), 0);
}

/* Until the client sees EOF, whatever else quits the loop. */
static size_t read_to_eof(struct fixture *f)
{
        size_t got = 0;

        while (!f->eof) {
                read_until(f, f->client_out, 0);
                got += f->got;
        }
        return got;
}

static void say(int fd, const char *text)
{
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void assert_client_reads(struct fixture *f, const char *text)
{
        read_until(f, f->client_out, strlen(text));
        assert_string_equal(f->text, text);
}

static long cpu_us(void)
{
        struct rusage usage;

        assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
        return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000L + usage.ru_utime.tv_usec +
               usage.ru_stime.tv_usec;
}

static void assert_sleeps(struct fixture *f)
{
        long before = cpu_us();

        run_for(f, 200);
        assert_true(cpu_us() - before < 60000);
}

static void output_and_input_are_relayed(void **state)
{
        struct fixture *f = *state;

        attach(f);
        say(f->slave, "hello");
        assert_client_reads(f, "hello");
        say(f->client_in, "typed\n");
        assert_int_equal(fcntl(f->slave, F_SETFL, O_NONBLOCK), 0);
        read_until(f, f->slave, 6);
        assert_string_equal(f->text, "typed\n");
        assert_int_equal(f->n_drained, 0);
}

static void input_typed_before_the_terminal_exists_arrives(void **state)
{
        struct fixture *f = *state;

        say(f->client_in, "early\n");
        attach(f);
        assert_int_equal(fcntl(f->slave, F_SETFL, O_NONBLOCK), 0);
        read_until(f, f->slave, 6);
        assert_string_equal(f->text, "early\n");
}

/* A child writes much more than pty and FIFO hold together, then exits. The test's own slave is
 * closed, so that the child's is the last. */
static void writer_start(struct fixture *f, unsigned *ret_sum)
{
        static char block[LARGE];

        *ret_sum = 0;
        for (size_t i = 0; i < LARGE; i++) {
                block[i] = (char)('!' + i * 7 % 90);
                *ret_sum = *ret_sum * 31 + (unsigned char)block[i];
        }
        f->writer = fork();
        assert_true(f->writer >= 0);
        if (f->writer == 0) {
                size_t off = 0;

                /* Of the copies that the fork made only the slave may stay: EOFs depend on it. */
                (void)dup2(f->slave, 0);
                closefrom(1);
                (void)alarm(TEST_LIMIT_S);
                while (off < LARGE) {
                        ssize_t n = write(0, block + off, LARGE - off);

                        if (n < 0)
                                _exit(1);
                        off += (size_t)n;
                }
                _exit(0);
        }
        f->slave = fd_close(f->slave);
}

static void large_output_arrives_completely_and_in_order(void **state)
{
        struct fixture *f = *state;
        unsigned want;

        attach(f);
        writer_start(f, &want);
        read_until(f, f->client_out, LARGE);
        assert_int_equal(f->got, LARGE);
        assert_true(f->sum == want);
        io_stdio_process_exited(f->s);
        assert_int_equal(read_to_eof(f), 0);
}

static void a_client_that_does_not_read_costs_no_cpu_and_loses_nothing(void **state)
{
        struct fixture *f = *state;
        unsigned want;

        attach(f);
        writer_start(f, &want);
        run_for(f, 100); /* until the FIFO is full */
        assert_sleeps(f);
        read_until(f, f->client_out, LARGE);
        assert_true(f->sum == want);
}

static void what_was_written_before_the_exit_arrives_and_then_eof(void **state)
{
        struct fixture *f = *state;

        attach(f);
        say(f->slave, "last words");
        f->slave = fd_close(f->slave);
        io_stdio_process_exited(f->s);
        io_stdio_process_exited(f->s);
        assert_int_equal(read_to_eof(f), strlen("last words"));
        assert_true(io_stdio_is_drained(f->s));
}

static void draining_is_announced_once_and_the_master_is_closed(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        char c;

        attach(f);
        say(f->slave, "x");
        io_stdio_process_exited(f->s); /* while the slave is still open elsewhere */
        run_for(f, 1000);              /* quits early */
        assert_int_equal(f->n_drained, 1);
        assert_true(io_stdio_is_drained(f->s));
        assert_int_equal(write(f->slave, &c, 1), -1);
        assert_int_equal(errno, EIO); /* no master any more */
        assert_int_equal(io_stdio_resize(f->s, 1, 1, &err), 0);
        loop_timer_clear(f->timer);
        run_for(f, 10);
        assert_int_equal(f->n_drained, 1);
}

/* True when fd takes nothing at present. */
static bool is_full(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        assert_true(fd >= 0);
        return poll(&p, 1, 0) == 0;
}

/* Until the relay has filled the FIFO, and the writer the terminal behind it. */
static void run_until_full(struct fixture *f, const char *terminal)
{
        int slave = open(terminal, O_WRONLY | O_NOCTTY | O_CLOEXEC);
        int fifo = open(f->out, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

        while (!is_full(fifo) || !is_full(slave))
                run_for(f, 10);
        fd_close(slave);
        fd_close(fifo);
}

static void a_full_fifo_delays_draining_until_the_client_reads(void **state)
{
        struct fixture *f = *state;
        char terminal[64];
        unsigned want;
        int in_fifo = 0;

        attach(f);
        assert_int_equal(ttyname_r(f->slave, terminal, sizeof(terminal)), 0);
        writer_start(f, &want);
        run_until_full(f, terminal);
        assert_int_equal(ioctl(f->client_out, FIONREAD, &in_fifo), 0);
        io_stdio_process_exited(f->s);
        run_for(f, 50);
        assert_int_equal(f->n_drained, 0);
        assert_false(io_stdio_is_drained(f->s));
        assert_true(read_to_eof(f) > (size_t)in_fifo);
        run_for(f, 1000);
        assert_int_equal(f->n_drained, 1);
}

static void a_terminal_that_nobody_has_open_costs_no_cpu_and_can_be_opened_again(void **state)
{
        struct fixture *f = *state;
        char name[64];

        attach(f);
        assert_int_equal(ttyname_r(f->slave, name, sizeof(name)), 0);
        f->slave = fd_close(f->slave);
        assert_sleeps(f);
        say(f->client_in, "kept\n");
        assert_sleeps(f);
        f->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(f->slave >= 0);
        say(f->slave, "again");
        assert_client_reads(f, "again");
        say(f->slave, "and again");
        assert_client_reads(f, "and again");
        assert_int_equal(fcntl(f->slave, F_SETFL, O_NONBLOCK), 0);
        read_until(f, f->slave, 5);
        assert_string_equal(f->text, "kept\n");
        say(f->client_in, "back\n");
        read_until(f, f->slave, 5);
        assert_string_equal(f->text, "back\n");
        f->slave = fd_close(f->slave);
        run_for(f, 10);
        io_stdio_process_exited(f->s);
        run_for(f, 1000);
        assert_int_equal(f->n_drained, 1);
}

static void an_idle_relay_costs_no_cpu(void **state)
{
        struct fixture *f = *state;

        attach(f);
        assert_sleeps(f);
}

static void a_client_that_goes_away_may_come_back(void **state)
{
        struct fixture *f = *state;

        attach(f);
        f->client_out = fd_close(f->client_out);
        f->client_in = fd_close(f->client_in);
        say(f->slave, "meanwhile");
        run_for(f, 20);
        f->client_out = open(f->out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        f->client_in = open(f->in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(f->client_in >= 0 && f->client_out >= 0);
        assert_client_reads(f, "meanwhile");
        say(f->client_in, "still\n");
        assert_int_equal(fcntl(f->slave, F_SETFL, O_NONBLOCK), 0);
        read_until(f, f->slave, 6);
        assert_string_equal(f->text, "still\n");
}

static void the_end_of_input_is_typed_as_end_of_file_and_output_goes_on(void **state)
{
        struct fixture *f = *state;

        attach(f);
        say(f->client_in, "half a line");
        io_stdio_close_stdin(f->s);
        f->client_in = fd_close(f->client_in);
        assert_int_equal(fcntl(f->slave, F_SETFL, O_NONBLOCK), 0);
        read_until(f, f->slave, 11);
        assert_string_equal(f->text, "half a line");
        read_until(f, f->slave, 0);
        assert_true(f->eof);
        say(f->slave, "but I live");
        assert_client_reads(f, "but I live");
        assert_sleeps(f);
}

static void a_closed_stdin_with_a_client_goes_on_until_the_client_ends(void **state)
{
        struct fixture *f = *state;

        io_stdio_close_stdin(f->s); /* even before the process exists */
        attach(f);
        say(f->client_in, "line\n");
        assert_int_equal(fcntl(f->slave, F_SETFL, O_NONBLOCK), 0);
        read_until(f, f->slave, 5);
        f->client_in = fd_close(f->client_in);
        read_until(f, f->slave, 0);
        assert_true(f->eof);
}

static void input_beyond_what_the_terminal_takes_waits_without_cpu(void **state)
{
        enum { N = 40000 };
        struct fixture *f = *state;
        static char block[N];
        struct termios t;

        attach(f);
        assert_int_equal(tcgetattr(f->slave, &t), 0);
        cfmakeraw(&t);
        assert_int_equal(tcsetattr(f->slave, TCSANOW, &t), 0);
        memset(block, 'x', sizeof(block));
        assert_int_equal(write(f->client_in, block, N), N);
        run_for(f, 50);
        assert_sleeps(f);
        assert_int_equal(fcntl(f->slave, F_SETFL, O_NONBLOCK), 0);
        read_until(f, f->slave, N);
        assert_int_equal(f->got, N);
}

static void a_resize_reaches_the_terminal_before_and_after_it_is_there(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        struct winsize size;

        assert_int_equal(io_stdio_resize(f->s, 120, 40, &err), 0);
        attach(f);
        assert_int_equal(ioctl(f->slave, TIOCGWINSZ, &size), 0);
        assert_int_equal(size.ws_col, 120);
        assert_int_equal(size.ws_row, 40);
        assert_int_equal(io_stdio_resize(f->s, 80, 25, &err), 0);
        assert_int_equal(ioctl(f->slave, TIOCGWINSZ, &size), 0);
        assert_int_equal(size.ws_col, 80);
        assert_int_equal(size.ws_row, 25);
}

static void without_streams_output_is_thrown_away(void **state)
{
        struct fixture *f = *state;
        unsigned sum;
        int status;

        f->s = io_stdio_free(f->s);
        open_terminal(f, "", "");
        attach(f);
        writer_start(f, &sum);
        while (waitpid(f->writer, &status, WNOHANG) == 0)
                run_for(f, 5);
        f->writer = 0;
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        io_stdio_process_exited(f->s);
        run_for(f, 1000);
        assert_int_equal(f->n_drained, 1);
}

static void a_process_that_never_got_its_terminal_is_drained(void **state)
{
        struct fixture *f = *state;
        char c;

        io_stdio_process_exited(f->s);
        assert_true(io_stdio_is_drained(f->s));
        assert_int_equal(read(f->client_out, &c, 1), 0);
        run_for(f, 1000);
        assert_int_equal(f->n_drained, 1);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(output_and_input_are_relayed),
                CASE(input_typed_before_the_terminal_exists_arrives),
                CASE(large_output_arrives_completely_and_in_order),
                CASE(a_client_that_does_not_read_costs_no_cpu_and_loses_nothing),
                CASE(what_was_written_before_the_exit_arrives_and_then_eof),
                CASE(draining_is_announced_once_and_the_master_is_closed),
                CASE(a_full_fifo_delays_draining_until_the_client_reads),
                CASE(a_terminal_that_nobody_has_open_costs_no_cpu_and_can_be_opened_again),
                CASE(an_idle_relay_costs_no_cpu),
                CASE(a_client_that_goes_away_may_come_back),
                CASE(the_end_of_input_is_typed_as_end_of_file_and_output_goes_on),
                CASE(a_closed_stdin_with_a_client_goes_on_until_the_client_ends),
                CASE(input_beyond_what_the_terminal_takes_waits_without_cpu),
                CASE(a_resize_reaches_the_terminal_before_and_after_it_is_there),
                CASE(without_streams_output_is_thrown_away),
                CASE(a_process_that_never_got_its_terminal_is_drained),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
