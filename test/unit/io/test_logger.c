/* SPDX-License-Identifier: Apache-2.0
 *
 * Logging programs. The program is this one, executed again: its first parameter says how it
 * behaves, its second is the file that it writes. The test plays the container.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/base/limits.h"

#include "test/unit/io/logger.h"
#include "test/unit/unit.h"

enum { CHILD_LIMIT_S = 60, SOME_BYTES = 1 << 20, FLOOD_BYTES = 300000 };

/* ---- The program ---- */

static void copy_until_end(int from, int to)
{
        static char buf[65536];
        ssize_t n;

        while ((n = read(from, buf, sizeof(buf))) > 0)
                (void)fd_write_all(to, buf, (size_t)n);
}

static int open_log(const char *path)
{
        return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void say_ready(void)
{
        (void)!write(5, "", 1);
        (void)close(5);
}

/* stdout first, then stderr. */
static void log_all(const char *path)
{
        int log = open_log(path);

        copy_until_end(3, log);
        copy_until_end(4, log);
}

static void log_what_it_got(const char *path)
{
        FILE *log = fopen(path, "a");

        for (char **e = environ; *e; e++)
                fprintf(log, "%s\n", *e);
        for (int fd = 0; fd < 20; fd++) {
                if (fcntl(fd, F_GETFD) >= 0 && fd != fileno(log))
                        fprintf(log, "%d ", fd);
        }
        fclose(log);
}

static volatile sig_atomic_t told_to_end;

static void on_term(int signo)
{
        told_to_end = signo;
}

static void wait_for_term(const char *path)
{
        struct sigaction action = {.sa_handler = on_term};
        int log = open_log(path);

        (void)sigaction(SIGTERM, &action, NULL);
        say_ready();
        while (!told_to_end)
                pause();
        (void)fd_write_all(log, "flushed", 7);
}

/* Reads a little, then dies. */
static void die_after_some(const char *path)
{
        char buf[4];
        int log = open_log(path);

        if (read(3, buf, sizeof(buf)) == sizeof(buf))
                (void)fd_write_all(log, buf, sizeof(buf));
        raise(SIGKILL);
}

/* The same, and leaves its pipe's flags changed. What it has from the one before is no business of
 * its own. */
static void die_nonblocking(const char *path)
{
        if (fcntl(3, F_GETFL) & O_NONBLOCK)
                (void)fd_write_all(open_log(path), "bad", 3);
        (void)fd_set_nonblock(3, 1);
        (void)poll(&(struct pollfd){.fd = 3, .events = POLLIN}, 1, -1);
        die_after_some(path);
}

/* Goes into the background, as daemons do: the second child is nobody's. */
static void log_in_background(const char *path)
{
        if (fork() > 0)
                return;
        (void)setsid();
        if (fork() == 0)
                log_all(path);
}

/* Takes descriptor 5 for something to write to. */
static void flood_ready(void)
{
        static char waste[FLOOD_BYTES];

        (void)fd_write_all(5, waste, sizeof(waste));
}

static int program_main(const char *how, const char *path)
{
        if (strcmp(how, "silent") == 0)
                return 3;
        if (strcmp(how, "leave") == 0) {
                /* Its child has all descriptors until the container ends. */
                if (fork() == 0)
                        copy_until_end(3, open_log(path));
                return 0;
        }
        if (strcmp(how, "term") == 0) {
                wait_for_term(path);
                return 0;
        }
        if (strcmp(how, "flood") == 0) {
                flood_ready();
                log_all(path);
                return 0;
        }
        say_ready();
        if (strcmp(how, "log") == 0)
                log_all(path);
        else if (strcmp(how, "background") == 0)
                log_in_background(path);
        else if (strcmp(how, "nonblock") == 0)
                die_nonblocking(path);
        else if (strcmp(how, "got") == 0)
                log_what_it_got(path);
        else if (strcmp(how, "some") == 0)
                die_after_some(path);
        else if (strcmp(how, "die") == 0)
                return 1;
        return 0;
}

/* ---- The test ---- */

/* Opens and takes the container's ends. */
static void open_logger(struct fixture *f, const char *scheme, const char *how)
{
        char self[2048];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        assert_true(n > 0);
        self[n] = '\0';
        snprintf(f->uri, sizeof(f->uri), "%s://%s?%s=%s", scheme, self, how, f->log);
        logger_open(f, f->uri, false);
        if (f->ready_code != STATUS_OK)
                return;
        assert_true(io_stdio_is_ready(f->s));
        logger_take_ends(f);
}

static void both_streams_reach_the_program(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary", "log");
        assert_int_equal(fd_write_all(f->out, "out", 3), 0);
        assert_int_equal(fd_write_all(f->err, "err", 3), 0);
        assert_false(io_stdio_is_drained(f->s));
        logger_close_container(f);
        logger_run_until_drained(f);
        logger_expect(f, "outerr");
        assert_true(io_stdio_status(f->s).is_complete);
        assert_string_equal(io_stdio_status(f->s).kind, "logger");
        assert_int_equal(f->n_reports, 0);
}

static void it_gets_its_environment_and_descriptors_and_no_more(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "got");
        logger_close_container(f);
        logger_run_until_drained(f);
        logger_expect(f, "CONTAINER_ID=some-id\nCONTAINER_NAMESPACE=some-namespace\n0 1 2 3 4 ");
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
        struct fixture *f = *state;

        logger_open(f, "binary:///nowhere/logger", false);
        assert_string_equal(f->ready_text,
                            "exec logging binary '/nowhere/logger': No such file or directory");
        assert_false(io_stdio_is_ready(f->s));
}

static void a_v2_program_must_say_that_it_is_ready(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "silent");
        assert_int_equal(f->ready_code, STATUS_UNKNOWN);
        assert_non_null(strstr(f->ready_text, "did not call ready"));
}

static void a_v2_program_that_leaves_its_readiness_to_a_child_has_not_said_it(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "leave");
        assert_int_equal(f->ready_code, STATUS_UNKNOWN);
        assert_non_null(strstr(f->ready_text, "did not call ready"));
}

static void a_v1_program_need_not(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary", "silent");
        assert_int_equal(f->ready_code, STATUS_OK);
}

static void a_program_that_dies_is_started_again_and_goes_on(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary", "some");
        assert_int_equal(fd_write_all(f->out, "aaaabbbbcccc", 12), 0);
        while (f->n_reports < 3)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        logger_expect(f, "aaaabbbbcccc");
        assert_non_null(strstr(f->reports, "the logger died: signal 9\n"));
        logger_close_container(f);
        logger_run_until_drained(f);
}

static void one_that_left_its_pipe_nonblocking_is_not_its_successor_s_trouble(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary", "nonblock");
        assert_int_equal(fd_write_all(f->out, "aaaabbbbcccc", 12), 0);
        while (f->n_reports < 3)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        logger_expect(f, "aaaabbbbcccc");
        logger_close_container(f);
        logger_run_until_drained(f);
}

static void one_that_goes_into_the_background_is_the_logger_still(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "background");
        while (f->n_reports == 0)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        assert_non_null(strstr(f->reports, "gone into the background"));
        assert_int_equal(fd_write_all(f->out, "out", 3), 0);
        assert_int_equal(fd_write_all(f->err, "err", 3), 0);
        assert_false(io_stdio_is_drained(f->s));
        logger_close_container(f);
        logger_run_until_drained(f);
        logger_expect(f, "outerr");
        assert_true(io_stdio_status(f->s).is_complete);
        assert_int_equal(io_stdio_status(f->s).n_restarts, 0);
        assert_null(strstr(f->reports, "died"));
}

static void one_in_the_background_is_told_to_end_and_missed_when_it_is_killed(void **state)
{
        struct fixture *f = *state;
        pid_t pid;

        open_logger(f, "binary-v2", "background");
        while (!strstr(f->reports, "background"))
                assert_int_equal(loop_run(f->loop, NULL), 0);
        do {
                pid = io_stdio_status(f->s).logger_pid;
                if (pid > 0)
                        (void)kill(pid, SIGKILL);
                assert_int_equal(loop_run(f->loop, NULL), 0);
        } while (!strstr(f->reports, "the logger died: signal 9"));
        while (io_stdio_status(f->s).n_restarts == 0)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        io_stdio_process_exited(f->s);
        assert_true(io_stdio_stop(f->s));
        logger_run_until_drained(f);
}

static void one_that_writes_to_its_ready_pipe_for_long_does_not_wait_for_ever(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "flood");
        assert_int_equal(fd_write_all(f->out, "out", 3), 0);
        logger_close_container(f);
        logger_run_until_drained(f);
        logger_expect(f, "out");
}

/* All restarts together take some seconds; the container's writing must go on by then. */
static void a_program_that_keeps_dying_is_given_up_and_the_container_goes_on(void **state)
{
        struct fixture *f = *state;
        static char waste[SOME_BYTES];

        open_logger(f, "binary", "die");
        while (!strstr(f->reports, "thrown away"))
                assert_int_equal(loop_run(f->loop, NULL), 0);
        assert_int_equal(io_stdio_status(f->s).n_restarts, LIMIT_LOGGER_RESTARTS);
        if (fork() == 0) {
                alarm(CHILD_LIMIT_S);
                (void)fd_write_all(f->out, waste, sizeof(waste));
                _exit(0);
        }
        logger_close_container(f);
        logger_run_until_drained(f);
        assert_int_equal(io_stdio_status(f->s).bytes_dropped, sizeof(waste));
        assert_false(io_stdio_status(f->s).is_complete);
}

static void one_that_does_not_end_is_told_to(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "term");
        logger_close_container(f);
        assert_false(io_stdio_is_drained(f->s));
        assert_true(io_stdio_stop(f->s));
        logger_run_until_drained(f);
        logger_expect(f, "flushed");
        assert_false(io_stdio_stop(f->s));
}

static void a_child_that_holds_a_stream_keeps_it_open(void **state)
{
        struct fixture *f = *state;
        int held;

        open_logger(f, "binary", "log");
        held = fcntl(f->out, F_DUPFD_CLOEXEC, 0);
        logger_close_container(f);
        assert_int_equal(fd_write_all(held, "late", 4), 0);
        assert_false(io_stdio_is_drained(f->s));
        fd_close(held);
        logger_run_until_drained(f);
        logger_expect(f, "late");
}

/* That of a process that still runs goes on: the shim may end before its container. */
static void freeing_kills_that_of_a_process_that_has_ended(void **state)
{
        struct fixture *f = *state;
        int status = 0;
        pid_t pid;

        open_logger(f, "binary-v2", "term");
        logger_close_container(f);
        pid = io_stdio_status(f->s).logger_pid;
        f->s = io_stdio_free(f->s);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, logger_set_up, logger_tear_down)
        const struct CMUnitTest tests[] = {
                T(both_streams_reach_the_program),
                T(it_gets_its_environment_and_descriptors_and_no_more),
                T(a_program_that_is_not_there_is_an_error),
                T(a_v2_program_must_say_that_it_is_ready),
                T(a_v2_program_that_leaves_its_readiness_to_a_child_has_not_said_it),
                T(a_v1_program_need_not),
                T(a_program_that_dies_is_started_again_and_goes_on),
                T(one_that_left_its_pipe_nonblocking_is_not_its_successor_s_trouble),
                T(a_program_that_keeps_dying_is_given_up_and_the_container_goes_on),
                T(one_that_goes_into_the_background_is_the_logger_still),
                T(one_in_the_background_is_told_to_end_and_missed_when_it_is_killed),
                T(one_that_writes_to_its_ready_pipe_for_long_does_not_wait_for_ever),
                T(one_that_does_not_end_is_told_to),
                T(a_child_that_holds_a_stream_keeps_it_open),
                T(freeing_kills_that_of_a_process_that_has_ended),
        };
#undef T

        if (argc == 3)
                return program_main(argv[1], argv[2]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
