/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer as a process of its own, as the shim has it; the test is the container.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/log/log.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 40 };

struct fixture {
        char dir[64];
        char path[128];
        struct log_writer writer;
        int out, err; /* the container's */
        pid_t pid;
        rlim_t file_limit; /* of the writer: its disk is full there; it gets room by SIGUSR1 */
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        strcpy(f->dir, "/tmp/belay-log-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
        log_config_init(&f->writer.config, f->path);
        f->writer.config.format = LOG_FORMAT_RAW;
        assert_int_equal(log_counters_new(&f->writer.counters), 0);
        f->out = -1;
        f->err = -1;
        f->file_limit = RLIM_INFINITY;
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        fd_close(f->out);
        fd_close(f->err);
        (void)unlink(f->path);
        assert_int_equal(rmdir(f->dir), 0);
        log_counters_free(f->writer.counters);
        free(f);
        return 0;
}

static void get_room(int signo)
{
        const struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

        (void)setrlimit(RLIMIT_FSIZE, &limit);
}

/* In the writer, and with it in its flusher: a disk that takes so much until SIGUSR1. */
static void limit_disk(rlim_t size)
{
        struct sigaction action = {.sa_handler = get_room, .sa_flags = SA_RESTART};
        const struct rlimit limit = {size, RLIM_INFINITY};

        (void)sigaction(SIGUSR1, &action, NULL);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
}

static void start(struct fixture *f)
{
        struct error err = ERROR_INIT;
        int out[2];
        int err_ends[2];

        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(pipe2(err_ends, O_CLOEXEC), 0);
        f->writer.out = out[0];
        f->writer.err = err_ends[0];
        assert_int_equal(log_writer_open(&f->writer, &err), 0);
        f->pid = fork();
        assert_true(f->pid >= 0);
        if (f->pid == 0) {
                (void)setpgid(0, 0);
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                fd_close(out[1]);
                fd_close(err_ends[1]);
                if (f->file_limit != RLIM_INFINITY)
                        limit_disk(f->file_limit);
                _exit(log_writer_run(&f->writer));
        }
        (void)setpgid(f->pid, f->pid);
        fd_close(out[0]);
        fd_close(err_ends[0]);
        f->out = out[1];
        f->err = err_ends[1];
}

static int finish(struct fixture *f)
{
        int status = 0;

        f->out = fd_close(f->out);
        f->err = fd_close(f->err);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static char *read_log(struct fixture *f, size_t *ret_len)
{
        char *text = NULL;

        assert_int_equal(file_read(AT_FDCWD, f->path, 64 << 20, &text, ret_len), 0);
        return text;
}

static void expect_log(struct fixture *f, const char *want)
{
        size_t len;
        char *text = read_log(f, &len);

        assert_string_equal(text, want);
        free(text);
}

static void say(int fd, const char *text)
{
        assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

static void all_of_both_streams_is_written(void **state)
{
        struct fixture *f = *state;

        start(f);
        say(f->out, "out\n");
        f->out = fd_close(f->out);
        say(f->err, "err\n");
        assert_int_equal(finish(f), 0);
        assert_int_equal(atomic_load(&f->writer.counters->bytes), 8);
}

static void a_flusher_writes_all_too(void **state)
{
        struct fixture *f = *state;

        f->writer.config.policy = LOG_POLICY_SPILL;
        start(f);
        say(f->out, "one\n");
        say(f->out, "two");
        assert_int_equal(finish(f), 0);
        expect_log(f, "one\ntwo");
}

static void await_log(struct fixture *f)
{
        size_t len = 0;

        while (len == 0) {
                free(read_log(f, &len));
                (void)poll(NULL, 0, 10);
        }
}

static void a_part_is_written_when_nothing_follows(void **state)
{
        struct fixture *f = *state;
        size_t len = 0;
        char *text;

        f->writer.config.format = LOG_FORMAT_CRI;
        start(f);
        say(f->out, "login: ");
        await_log(f);
        assert_int_equal(finish(f), 0);
        text = read_log(f, &len);
        assert_non_null(strstr(text, " stdout P login: \n"));
        free(text);
}

/* How much the container can say without waiting, up to a bound. */
static size_t fill(int fd, size_t max)
{
        static char line[1000];
        size_t n = 0;

        memset(line, 'x', sizeof(line));
        line[sizeof(line) - 1] = '\n';
        while (n < max) {
                struct pollfd p = {.fd = fd, .events = POLLOUT};

                if (poll(&p, 1, 300) == 0)
                        return n;
                assert_int_equal(fd_write_all(fd, line, sizeof(line)), 0);
                n += sizeof(line);
        }
        return n;
}

static void with_block_a_full_disk_makes_the_container_wait(void **state)
{
        struct fixture *f = *state;
        size_t n, len;

        f->file_limit = 10000;
        start(f);
        n = fill(f->out, 4 << 20);
        assert_in_range(n, 10000, 1 << 20);
        assert_int_equal(kill(f->pid, SIGUSR1), 0);
        assert_int_equal(finish(f), 0);
        free(read_log(f, &len));
        assert_int_equal(len, n);
        assert_int_equal(atomic_load(&f->writer.counters->bytes_dropped), 0);
        assert_int_equal(atomic_load(&f->writer.counters->last_errno), EFBIG);
}

static void with_drop_the_container_goes_on_and_the_loss_is_counted(void **state)
{
        struct fixture *f = *state;
        const size_t all = 8000 * 1000;
        size_t dropped, len, marked = 0;
        char *text;

        f->writer.config.policy = LOG_POLICY_DROP;
        f->writer.config.format = LOG_FORMAT_JSON;
        f->file_limit = 10000;
        start(f);
        assert_int_equal(fill(f->out, all), all);
        dropped = atomic_load(&f->writer.counters->bytes_dropped);
        assert_in_range(dropped, 1 << 20, all);
        assert_int_equal(kill(-f->pid, SIGUSR1), 0);
        /* As soon as there is room, a line tells of the loss. */
        say(f->out, "after\n");
        assert_int_equal(finish(f), 0);
        text = read_log(f, &len);
        for (char *at = text; (at = strstr(at, "belay: ")); at++)
                marked += strtoul(at + strlen("belay: "), NULL, 10);
        dropped = atomic_load(&f->writer.counters->bytes_dropped);
        assert_true(marked > 0 || strstr(text, "after") == NULL);
        assert_in_range(marked, 0, dropped);
        assert_int_equal(atomic_load(&f->writer.counters->bytes) + dropped,
                         all + strlen("after\n"));
        free(text);
}

static void a_loss_is_marked_also_when_nothing_follows(void **state)
{
        struct fixture *f = *state;
        size_t len, marked = 0;
        char *text;

        f->writer.config.policy = LOG_POLICY_DROP;
        f->writer.config.format = LOG_FORMAT_CRI;
        f->file_limit = 10000;
        start(f);
        (void)fill(f->out, 8000 * 1000);
        assert_int_equal(kill(-f->pid, SIGUSR1), 0);
        assert_int_equal(finish(f), 0);
        text = read_log(f, &len);
        for (char *at = text; (at = strstr(at, "belay: ")); at++)
                marked += strtoul(at + strlen("belay: "), NULL, 10);
        assert_true(marked > 0);
        assert_int_equal(marked, atomic_load(&f->writer.counters->bytes_dropped));
        free(text);
}

static void with_spill_it_goes_on_up_to_the_bound_and_nothing_is_lost(void **state)
{
        struct fixture *f = *state;
        size_t n, len;

        f->writer.config.policy = LOG_POLICY_SPILL;
        f->writer.config.spill_max = 3 << 20;
        f->file_limit = 10000;
        start(f);
        n = fill(f->out, 32 << 20);
        assert_in_range(n, 3 << 20, 8 << 20);
        assert_true(atomic_load(&f->writer.counters->bytes_waiting) > 1 << 20);
        assert_int_equal(kill(-f->pid, SIGUSR1), 0);
        assert_int_equal(finish(f), 0);
        free(read_log(f, &len));
        assert_int_equal(len, n);
        assert_int_equal(atomic_load(&f->writer.counters->bytes_dropped), 0);
        assert_int_equal(atomic_load(&f->writer.counters->bytes_waiting), 0);
}

/* The process that writes the file, as if it waited for a disk: its collector has one child. */
static pid_t stop_flusher(struct fixture *f)
{
        char path[64];
        char *text = NULL;
        size_t len = 0;
        pid_t flusher;

        say(f->out, "x\n");
        await_log(f);
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)f->pid, (int)f->pid);
        assert_int_equal(file_read(AT_FDCWD, path, 64, &text, &len), 0);
        flusher = (pid_t)strtol(text, NULL, 10);
        free(text);
        assert_true(flusher > 0);
        assert_int_equal(kill(flusher, SIGSTOP), 0);
        return flusher;
}

static void with_drop_a_disk_that_is_slow_costs_output_and_no_time(void **state)
{
        struct fixture *f = *state;
        const size_t all = 8000000;
        size_t len;
        pid_t flusher;

        f->writer.config.policy = LOG_POLICY_DROP;
        start(f);
        flusher = stop_flusher(f);
        assert_int_equal(fill(f->out, all), all);
        assert_int_equal(kill(flusher, SIGCONT), 0);
        assert_int_equal(finish(f), 0);
        free(read_log(f, &len));
        assert_in_range(len, 1 << 20, all);
        assert_int_equal(len + atomic_load(&f->writer.counters->bytes_dropped),
                         all + strlen("x\n"));
}

static void with_spill_a_disk_that_is_slow_costs_memory_up_to_the_bound(void **state)
{
        struct fixture *f = *state;
        size_t len;
        size_t n;
        pid_t flusher;

        f->writer.config.policy = LOG_POLICY_SPILL;
        f->writer.config.spill_max = 3 << 20;
        start(f);
        flusher = stop_flusher(f);
        n = fill(f->out, 32 << 20);
        assert_in_range(n, 3 << 20, 8 << 20);
        assert_int_equal(kill(flusher, SIGCONT), 0);
        assert_int_equal(finish(f), 0);
        free(read_log(f, &len));
        assert_int_equal(len, n + strlen("x\n"));
        assert_int_equal(atomic_load(&f->writer.counters->bytes_dropped), 0);
}

/* Status is asked when a burst is over, and nothing else makes the writer count again. */
static void what_waits_is_counted_down_when_the_disk_has_taken_it(void **state)
{
        struct fixture *f = *state;

        f->writer.config.policy = LOG_POLICY_SPILL;
        f->writer.config.spill_max = 3 << 20;
        f->file_limit = 10000;
        start(f);
        (void)fill(f->out, 32 << 20);
        assert_true(atomic_load(&f->writer.counters->bytes_waiting) > 1 << 20);
        assert_int_equal(kill(-f->pid, SIGUSR1), 0);
        for (int i = 0; atomic_load(&f->writer.counters->bytes_waiting) > 0; i++) {
                assert_true(i < 1000);
                (void)poll(NULL, 0, 10);
        }
        assert_int_equal(finish(f), 0);
}

static void sigterm_ends_it_after_what_was_written_by_then(void **state)
{
        struct fixture *f = *state;
        int status = 0;

        start(f);
        say(f->out, "said\n");
        await_log(f);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        assert_true(WIFEXITED(status));
        expect_log(f, "said\n");
}

static void sigterm_ends_it_with_a_full_disk_too(void **state)
{
        struct fixture *f = *state;
        int status = 0;

        f->writer.config.policy = LOG_POLICY_SPILL;
        f->file_limit = 10000;
        start(f);
        (void)fill(f->out, 1 << 20);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
}

static void a_path_that_cannot_be_is_an_error_at_once(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        f->writer.config.path = "/proc/nowhere/log";
        assert_int_equal(log_writer_open(&f->writer, &err), -1);
        assert_non_null(strstr(err.msg, "log '/proc/nowhere/log': "));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(all_of_both_streams_is_written),
                T(a_flusher_writes_all_too),
                T(a_part_is_written_when_nothing_follows),
                T(with_block_a_full_disk_makes_the_container_wait),
                T(with_drop_the_container_goes_on_and_the_loss_is_counted),
                T(a_loss_is_marked_also_when_nothing_follows),
                T(with_spill_it_goes_on_up_to_the_bound_and_nothing_is_lost),
                T(with_drop_a_disk_that_is_slow_costs_output_and_no_time),
                T(with_spill_a_disk_that_is_slow_costs_memory_up_to_the_bound),
                T(what_waits_is_counted_down_when_the_disk_has_taken_it),
                T(sigterm_ends_it_after_what_was_written_by_then),
                T(sigterm_ends_it_with_a_full_disk_too),
                T(a_path_that_cannot_be_is_an_error_at_once),
        };
#undef T

        return cmocka_run_group_tests(tests, NULL, NULL);
}
