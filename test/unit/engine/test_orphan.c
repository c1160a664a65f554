/* SPDX-License-Identifier: Apache-2.0
 *
 * How a process has ended that is somebody else's to reap. Here the test is that somebody.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/engine/engine.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_MS = 30000 };

/* A zombie that ended with that status, or by that signal. */
static pid_t make_zombie(int status, int signo, int *ret_pidfd)
{
        const struct rlimit no_core = {0, 0};
        struct pollfd p = {.events = POLLIN};
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                (void)setrlimit(RLIMIT_CORE, &no_core);
                if (signo) {
                        (void)signal(signo, SIG_DFL);
                        (void)raise(signo);
                }
                _exit(status);
        }
        p.fd = pidfd_open(pid, 0);
        assert_true(p.fd >= 0);
        assert_int_equal(poll(&p, 1, TEST_LIMIT_MS), 1);
        *ret_pidfd = p.fd;
        return pid;
}

static void reap(pid_t pid)
{
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_zombie_shows_its_exit_status(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(42, 0, &pidfd);

        (void)state;
        assert_true(engine_read_exit(pid, pidfd, &exit));
        assert_int_equal(exit.pid, pid);
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, 42);
        assert_true(exit.at.tv_sec > 0);
        reap(pid);
        fd_close(pidfd);
}

static void a_zombie_shows_its_signal(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(0, SIGKILL, &pidfd);

        (void)state;
        assert_true(engine_read_exit(pid, pidfd, &exit));
        assert_int_equal(exit.code, CLD_KILLED);
        assert_int_equal(exit.status, SIGKILL);
        reap(pid);
        fd_close(pidfd);
}

/* Linux 6.15 keeps the status; an older kernel does not. */
static void what_has_been_reaped_is_told_by_the_pidfd_or_unknown(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(7, 0, &pidfd);
        bool known;

        (void)state;
        reap(pid);
        known = engine_read_exit(pid, pidfd, &exit);
        assert_int_equal(exit.pid, pid);
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, known ? 7 : ENGINE_STATUS_UNKNOWN);
        fd_close(pidfd);
}

/* The pid may be another's by then: this process is alive, and no zombie. */
static void a_process_that_lives_under_the_pid_is_not_believed(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(9, 0, &pidfd);
        bool known;

        (void)state;
        reap(pid);
        known = engine_read_exit(getpid(), pidfd, &exit);
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, known ? 9 : ENGINE_STATUS_UNKNOWN);
        fd_close(pidfd);
}

/* What is no pidfd stands for a kernel that does not know the question. */
static void a_kernel_that_cannot_be_asked_is_no_status(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(7, 0, &pidfd);
        int other = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void)state;
        reap(pid);
        assert_false(engine_read_exit(pid, other, &exit));
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, ENGINE_STATUS_UNKNOWN);
        fd_close(other);
        fd_close(pidfd);
}

static void a_process_that_is_there_has_not_ended(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd = pidfd_open(getpid(), 0);

        (void)state;
        assert_true(pidfd >= 0);
        assert_false(engine_read_exit(getpid(), pidfd, &exit));
        fd_close(pidfd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_zombie_shows_its_exit_status),
                cmocka_unit_test(a_zombie_shows_its_signal),
                cmocka_unit_test(what_has_been_reaped_is_told_by_the_pidfd_or_unknown),
                cmocka_unit_test(a_process_that_lives_under_the_pid_is_not_believed),
                cmocka_unit_test(a_kernel_that_cannot_be_asked_is_no_status),
                cmocka_unit_test(a_process_that_is_there_has_not_ended),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
