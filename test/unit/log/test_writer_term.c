/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGTERM to a log's writer, at the worst of moments: just before any of its system calls. The
 * calls are wrapped by the linker; the writer is a process of its own, which counts them and sends
 * itself the signal before the one that the test names. Each number is tried until the writer makes
 * no further call; it must end each time, with all that was written by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/log/log.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 100, IDLE_MS = 500, END_MS = 20000, DISK_FULL = 10000 };

struct shared {
        _Atomic int n_calls;
        int term_at; /* before that call */
        pid_t pid;   /* of the process whose calls count */
};

static struct shared *shared;

static void before_call(void)
{
        if (getpid() == shared->pid && atomic_fetch_add(&shared->n_calls, 1) + 1 == shared->term_at)
                (void)raise(SIGTERM);
}

int __real_poll(struct pollfd *p, nfds_t n, int timeout_ms);
int __real_ppoll(struct pollfd *p, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
int __real_sigprocmask(int how, const sigset_t *set, sigset_t *old);
pid_t __real_waitpid(pid_t pid, int *status, int options);
ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __real_write(int fd, const void *buf, size_t n);

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout_ms);
int __wrap_ppoll(struct pollfd *p, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout_ms)
{
        before_call();
        return __real_poll(p, n, timeout_ms);
}

int __wrap_ppoll(struct pollfd *p, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
        before_call();
        return __real_ppoll(p, n, timeout, mask);
}

int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
        before_call();
        return __real_sigprocmask(how, set, old);
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
        before_call();
        return __real_waitpid(pid, status, options);
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
        before_call();
        return __real_read(fd, buf, n);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
        before_call();
        return __real_write(fd, buf, n);
}

/* ---- One writer ---- */

struct fixture {
        char dir[64];
        char path[128];
        struct log_writer writer;
        int out; /* the container's; -1: its end has come */
        pid_t pid;
        bool says_more;
        pid_t sayer; /* for ever, if it says more; 0: none */
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        assert_true(shared != MAP_FAILED);
        strcpy(f->dir, "/tmp/belay-term-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
        log_config_init(&f->writer.config, f->path);
        f->writer.config.format = LOG_FORMAT_RAW;
        assert_int_equal(log_counters_new(&f->writer.counters), 0);
        f->out = -1;
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        (void)unlink(f->path);
        assert_int_equal(rmdir(f->dir), 0);
        log_counters_free(f->writer.counters);
        (void)munmap(shared, sizeof(*shared));
        free(f);
        (void)alarm(0);
        return 0;
}

static void fill_disk(void)
{
        const struct rlimit limit = {DISK_FULL, DISK_FULL};
        struct sigaction action = {.sa_handler = SIG_IGN};

        (void)sigaction(SIGXFSZ, &action, NULL);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
}

/* The container goes on to write, until it is ended. */
static void start_sayer(struct fixture *f)
{
        static char more[4096];

        f->sayer = fork();
        assert_true(f->sayer >= 0);
        if (f->sayer > 0)
                return;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (fd_write_all(f->out, more, sizeof(more)) == 0)
                ;
        _exit(0);
}

static void end_container(struct fixture *f)
{
        f->out = fd_close(f->out);
        if (f->sayer > 0) {
                (void)kill(f->sayer, SIGKILL);
                assert_int_equal(__real_waitpid(f->sayer, NULL, 0), f->sayer);
        }
        f->sayer = 0;
}

/* What the container says is in the pipe before the writer is there. */
static void start(struct fixture *f, int term_at, size_t n_said, bool disk_is_full, bool has_ended)
{
        static char said[65536];
        int out[2];
        int err[2];

        assert_int_equal(pipe(out), 0);
        assert_int_equal(pipe(err), 0);
        memset(said, 'x', sizeof(said));
        assert_int_equal(fd_write_all(out[1], said, n_said), 0);
        f->writer.out = out[0];
        f->writer.err = err[0];
        (void)unlink(f->path);
        *shared = (struct shared){.term_at = term_at};
        f->pid = fork();
        assert_true(f->pid >= 0);
        if (f->pid == 0) {
                (void)setpgid(0, 0);
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                fd_close(out[1]);
                fd_close(err[1]);
                if (disk_is_full)
                        fill_disk();
                shared->pid = getpid();
                _exit(log_writer_run(&f->writer));
        }
        (void)setpgid(f->pid, f->pid);
        fd_close(out[0]);
        fd_close(err[0]);
        fd_close(err[1]);
        f->out = has_ended ? fd_close(out[1]) : out[1];
        if (f->says_more)
                start_sayer(f);
}

/* True when it has ended. */
static bool await_end(struct fixture *f, int timeout_ms, int *ret_status)
{
        struct pollfd p = {.fd = pidfd_open(f->pid, 0), .events = POLLIN};
        int n;

        assert_true(p.fd >= 0);
        n = __real_poll(&p, 1, timeout_ms);
        fd_close(p.fd);
        if (n != 1)
                return false;
        assert_int_equal(__real_waitpid(f->pid, ret_status, 0), f->pid);
        return true;
}

/* For each of its calls in turn, up to a number. */
static void sweep(struct fixture *f, int n_max, size_t n_said, bool disk_is_full, bool has_ended)
{
        for (int i = 1; i <= n_max; i++) {
                size_t len = 0;
                char *text = NULL;
                int status = 0;

                start(f, i, n_said, disk_is_full, has_ended);
                if (!await_end(f, IDLE_MS, &status)) {
                        bool is_told = atomic_load(&shared->n_calls) >= i;

                        if (is_told && !await_end(f, END_MS, &status))
                                fail_msg("SIGTERM before call %d is missed", i);
                        if (!is_told) {
                                assert_true(i > 3);
                                (void)kill(-f->pid, SIGKILL);
                                assert_true(await_end(f, END_MS, &status));
                                end_container(f);
                                return;
                        }
                }
                end_container(f);
                if (!WIFEXITED(status))
                        fail_msg("SIGTERM before call %d: signal %d", i, WTERMSIG(status));
                if (disk_is_full)
                        continue;
                assert_int_equal(WEXITSTATUS(status), 0);
                assert_int_equal(file_read(AT_FDCWD, f->path, 1 << 20, &text, &len), 0);
                assert_int_equal(len, n_said);
                free(text);
        }
}

static void while_it_waits_for_output(void **state)
{
        sweep(*state, 40, 1000, false, false);
}

static void while_it_waits_for_output_with_a_flusher(void **state)
{
        struct fixture *f = *state;

        f->writer.config.policy = LOG_POLICY_SPILL;
        sweep(f, 40, 1000, false, false);
}

static void while_it_waits_for_its_disk(void **state)
{
        sweep(*state, 12, 60000, true, false);
}

static void while_it_waits_for_a_flusher_that_waits_for_its_disk(void **state)
{
        struct fixture *f = *state;

        f->writer.config.policy = LOG_POLICY_SPILL;
        sweep(f, 40, 60000, true, true);
}

/* More than all pipes and the least memory take. */
static void while_the_memory_is_full(void **state)
{
        struct fixture *f = *state;

        f->writer.config.policy = LOG_POLICY_SPILL;
        f->writer.config.spill_max = 0;
        f->says_more = true;
        sweep(f, 80, 60000, true, false);
}

/* A writer that is slower than the container, whose pipe it never finds empty. */
static void be_slow(int stream, uint64_t time_ns, const void *data, size_t len, void *userdata)
{
        (void)__real_poll(NULL, 0, 20);
}

/* One that never stops writing does not keep it. */
static void while_somebody_goes_on_to_write(void **state)
{
        struct fixture *f = *state;
        int status = 0;

        f->says_more = true;
        f->writer.on_output = be_slow;
        start(f, 0, 1000, false, false);
        assert_true(fcntl(f->out, F_SETPIPE_SZ, 1 << 20) >= 1 << 20);
        while (atomic_load(&f->writer.counters->bytes) < 1 << 20)
                (void)__real_poll(NULL, 0, 10);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_true(await_end(f, END_MS, &status));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        end_container(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(while_it_waits_for_output),
                T(while_it_waits_for_output_with_a_flusher),
                T(while_it_waits_for_its_disk),
                T(while_it_waits_for_a_flusher_that_waits_for_its_disk),
                T(while_the_memory_is_full),
                T(while_somebody_goes_on_to_write),
        };
#undef T

        return cmocka_run_group_tests(tests, NULL, NULL);
}
