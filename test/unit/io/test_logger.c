/* SPDX-License-Identifier: Apache-2.0
 *
 * Logging programs. The program is this one, executed again: its first parameter says how it
 * behaves, its second is the file that it writes. The test plays the container.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/io/stdio.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 60, SOME_BYTES = 1 << 20 };

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
        say_ready();
        if (strcmp(how, "log") == 0)
                log_all(path);
        else if (strcmp(how, "got") == 0)
                log_what_it_got(path);
        else if (strcmp(how, "some") == 0)
                die_after_some(path);
        else if (strcmp(how, "die") == 0)
                return 1;
        return 0;
}

/* ---- The test ---- */

struct fixture {
        struct loop *loop;
        struct reaper *reaper;
        struct loop_timer *timer;
        struct io_stdio *s;
        int out, err; /* the container's */
        char dir[64];
        char log[96];
        char uri[4096];
        int n_fds;
        unsigned n_ready, n_drained, n_reports;
        int ready_code;
        char ready_text[ERROR_TEXT_MAX];
        char reports[4096];
};

static int count_fds(void)
{
        DIR *dir = opendir("/proc/self/fd");
        int n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static void on_ready(const struct error *err, void *userdata)
{
        struct fixture *f = userdata;

        f->n_ready++;
        f->ready_code = err ? err->code : STATUS_OK;
        snprintf(f->ready_text, sizeof(f->ready_text), "%s", err ? err->msg : "");
        loop_quit(f->loop);
}

static void on_drained(void *userdata)
{
        struct fixture *f = userdata;

        f->n_drained++;
        loop_quit(f->loop);
}

static void on_report(const char *text, void *userdata)
{
        struct fixture *f = userdata;
        size_t n = strlen(f->reports);

        f->n_reports++;
        snprintf(f->reports + n, sizeof(f->reports) - n, "%s\n", text);
        loop_quit(f->loop);
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        assert_int_equal(loop_new(&f->loop, &err), 0);
        assert_int_equal(reaper_new(&f->reaper, f->loop, &err), 0);
        strcpy(f->dir, "/tmp/belay-logger-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
        f->out = -1;
        f->err = -1;
        f->n_fds = count_fds();
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        fd_close(f->out);
        fd_close(f->err);
        io_stdio_free(f->s);
        assert_int_equal(count_fds(), f->n_fds);
        (void)unlink(f->log);
        (void)rmdir(f->dir);
        reaper_free(f->reaper);
        loop_free(f->loop);
        free(f);
        (void)alarm(0);
        return 0;
}

static void open_uri(struct fixture *f, const char *uri, bool terminal)
{
        const struct io_stdio_config config = {
                .loop = f->loop,
                .reaper = f->reaper,
                .out = uri,
                .err = uri,
                .terminal = terminal,
                .id = "some-id",
                .runtime_namespace = "some-namespace",
                .on_report = on_report,
                .userdata = f,
        };
        struct error err = ERROR_INIT;

        if (io_stdio_open(&f->s, &config, &err) < 0)
                fail_msg("%s", err.msg);
        assert_false(io_stdio_is_ready(f->s));
        io_stdio_on_ready(f->s, on_ready, f);
        io_stdio_on_drained(f->s, on_drained, f);
        while (f->n_ready == 0)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        assert_int_equal(f->n_ready, 1);
}

/* Opens and takes the container's ends. */
static void open_logger(struct fixture *f, const char *scheme, const char *how)
{
        char self[2048];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        assert_true(n > 0);
        self[n] = '\0';
        snprintf(f->uri, sizeof(f->uri), "%s://%s?%s=%s", scheme, self, how, f->log);
        open_uri(f, f->uri, false);
        if (f->ready_code != STATUS_OK)
                return;
        assert_true(io_stdio_is_ready(f->s));
        f->out = fcntl(io_stdio_child_fds(f->s)[1], F_DUPFD_CLOEXEC, 0);
        f->err = fcntl(io_stdio_child_fds(f->s)[2], F_DUPFD_CLOEXEC, 0);
        io_stdio_close_child_fds(f->s);
}

static void close_container(struct fixture *f)
{
        f->out = fd_close(f->out);
        f->err = fd_close(f->err);
        io_stdio_process_exited(f->s);
}

static void run_until_drained(struct fixture *f)
{
        while (f->n_drained == 0)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        assert_true(io_stdio_is_drained(f->s));
}

static void expect_log(struct fixture *f, const char *want)
{
        char *text = NULL;
        size_t len = 0;

        assert_int_equal(file_read(AT_FDCWD, f->log, 8 << 20, &text, &len), 0);
        assert_string_equal(text, want);
        free(text);
}

static void both_streams_reach_the_program(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary", "log");
        assert_int_equal(fd_write_all(f->out, "out", 3), 0);
        assert_int_equal(fd_write_all(f->err, "err", 3), 0);
        assert_false(io_stdio_is_drained(f->s));
        close_container(f);
        run_until_drained(f);
        expect_log(f, "outerr");
        assert_true(io_stdio_status(f->s).is_complete);
        assert_string_equal(io_stdio_status(f->s).kind, "logger");
        assert_int_equal(f->n_reports, 0);
}

static void it_gets_its_environment_and_descriptors_and_no_more(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "got");
        close_container(f);
        run_until_drained(f);
        expect_log(f, "CONTAINER_ID=some-id\nCONTAINER_NAMESPACE=some-namespace\n0 1 2 3 4 ");
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
        struct fixture *f = *state;

        open_uri(f, "binary:///nowhere/logger", false);
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
        expect_log(f, "aaaabbbbcccc");
        assert_non_null(strstr(f->reports, "the logger died: signal 9\n"));
        close_container(f);
        run_until_drained(f);
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
                alarm(TEST_LIMIT_S);
                (void)fd_write_all(f->out, waste, sizeof(waste));
                _exit(0);
        }
        close_container(f);
        run_until_drained(f);
        assert_int_equal(io_stdio_status(f->s).bytes_dropped, sizeof(waste));
        assert_false(io_stdio_status(f->s).is_complete);
}

static void one_that_does_not_end_is_told_to(void **state)
{
        struct fixture *f = *state;

        open_logger(f, "binary-v2", "term");
        close_container(f);
        assert_false(io_stdio_is_drained(f->s));
        assert_true(io_stdio_stop(f->s));
        run_until_drained(f);
        expect_log(f, "flushed");
        assert_false(io_stdio_stop(f->s));
}

static void a_child_that_holds_a_stream_keeps_it_open(void **state)
{
        struct fixture *f = *state;
        int held;

        open_logger(f, "binary", "log");
        held = fcntl(f->out, F_DUPFD_CLOEXEC, 0);
        close_container(f);
        assert_int_equal(fd_write_all(held, "late", 4), 0);
        assert_false(io_stdio_is_drained(f->s));
        fd_close(held);
        run_until_drained(f);
        expect_log(f, "late");
}

/* That of a process that still runs goes on: the shim may end before its container. */
static void freeing_kills_that_of_a_process_that_has_ended(void **state)
{
        struct fixture *f = *state;
        int status = 0;
        pid_t pid;

        open_logger(f, "binary-v2", "term");
        close_container(f);
        pid = io_stdio_status(f->s).logger_pid;
        f->s = io_stdio_free(f->s);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- log:// ---- */

static void open_log_uri(struct fixture *f, const char *params)
{
        snprintf(f->uri, sizeof(f->uri), "log://%s?%s", f->log, params);
        open_uri(f, f->uri, false);
        if (f->ready_code != STATUS_OK)
                fail_msg("%s", f->ready_text);
        f->out = fcntl(io_stdio_child_fds(f->s)[1], F_DUPFD_CLOEXEC, 0);
        f->err = fcntl(io_stdio_child_fds(f->s)[2], F_DUPFD_CLOEXEC, 0);
        io_stdio_close_child_fds(f->s);
}

static void a_log_is_written_and_counted(void **state)
{
        struct fixture *f = *state;

        open_log_uri(f, "format=raw");
        assert_int_equal(fd_write_all(f->out, "hello", 5), 0);
        close_container(f);
        run_until_drained(f);
        expect_log(f, "hello");
        assert_true(io_stdio_status(f->s).is_complete);
        assert_string_equal(io_stdio_status(f->s).kind, "log");
        assert_int_equal(atomic_load(&io_stdio_status(f->s).log->bytes), 5);
}

static void the_last_output_of_a_log_can_be_looked_at(void **state)
{
        struct fixture *f = *state;
        struct io_ring_chunk chunk;
        static char buf[65536];
        uint64_t place = 0;

        open_log_uri(f, "ring=8k");
        assert_int_equal(fd_write_all(f->err, "seen", 4), 0);
        close_container(f);
        run_until_drained(f);
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

        open_uri(f, "log:///proc/nowhere/log", false);
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

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(both_streams_reach_the_program),
                T(it_gets_its_environment_and_descriptors_and_no_more),
                T(a_program_that_is_not_there_is_an_error),
                T(a_v2_program_must_say_that_it_is_ready),
                T(a_v2_program_that_leaves_its_readiness_to_a_child_has_not_said_it),
                T(a_v1_program_need_not),
                T(a_program_that_dies_is_started_again_and_goes_on),
                T(a_program_that_keeps_dying_is_given_up_and_the_container_goes_on),
                T(one_that_does_not_end_is_told_to),
                T(a_child_that_holds_a_stream_keeps_it_open),
                T(freeing_kills_that_of_a_process_that_has_ended),
                T(a_log_is_written_and_counted),
                T(the_last_output_of_a_log_can_be_looked_at),
                T(a_writer_of_a_log_has_nothing_of_the_shim_s),
                T(a_log_that_cannot_be_opened_is_an_error),
                T(a_bad_parameter_is_refused_by_name),
        };
#undef T

        if (argc == 3)
                return program_main(argv[1], argv[2]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
