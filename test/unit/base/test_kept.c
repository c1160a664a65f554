/* SPDX-License-Identifier: Apache-2.0
 *
 * Which numbers of a message are believed to be descriptors that have come through an execve.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/base/kept.h"
#include "pkg/base/limits.h"

#include "test/unit/unit.h"

static void assert_refused(uint32_t number, enum kept_kind kind, const char *text)
{
        struct error err = ERROR_INIT;
        int fd = 0;

        assert_int_equal(kept_look(number, kind, "thing", &fd, &err), -1);
        assert_int_equal(fd, -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        if (!strstr(err.msg, text))
                fail_msg("'%s' is not in '%s'", text, err.msg);
}

static void nothing_is_fine(void **state)
{
        struct error err = ERROR_INIT;
        int fd = 0;

        (void)state;
        assert_int_equal(kept_number(-1), 0);
        assert_int_equal(kept_look(0, KEPT_SOCKET, "thing", &fd, &err), 0);
        assert_int_equal(fd, -1);
        kept_claim(-1);
}

static void a_pipe_is_found_and_claimed_once(void **state)
{
        struct error err = ERROR_INIT;
        int ends[2];
        int fd = -1;

        (void)state;
        assert_int_equal(pipe2(ends, 0), 0);
        assert_int_equal(kept_look(kept_number(ends[0]), KEPT_PIPE, "thing", &fd, &err), 0);
        assert_int_equal(fd, ends[0]);
        assert_int_equal(kept_look(kept_number(ends[0]), KEPT_ANY, "thing", &fd, &err), 0);
        assert_refused(kept_number(ends[0]), KEPT_SOCKET, "is not a socket");
        assert_refused(kept_number(ends[0]), KEPT_FILE, "is not a file");
        assert_refused(kept_number(ends[0]), KEPT_TERMINAL, "is not a terminal");
        kept_claim(ends[0]);
        assert_int_equal(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
        assert_refused(kept_number(ends[0]), KEPT_PIPE, "is not from before the execve");
        close(ends[0]);
        close(ends[1]);
        assert_refused(kept_number(ends[0]), KEPT_PIPE, "is not open");
        assert_refused(UINT32_MAX, KEPT_ANY, "is not open");
        assert_refused(UINT32_C(0x80000000), KEPT_ANY, "is not open");
}

static void a_pidfd_is_of_its_process(void **state)
{
        struct error err = ERROR_INIT;
        pid_t pid = fork();
        int pidfd;
        int fd = -1;

        (void)state;
        if (pid == 0)
                _exit(0);
        pidfd = pidfd_open(pid, 0);
        assert_true(pidfd >= 0);
        (void)fcntl(pidfd, F_SETFD, 0);
        assert_int_equal(kept_look_pidfd(kept_number(pidfd), pid, "init", &fd, &err), 0);
        assert_int_equal(fd, pidfd);
        assert_int_equal(kept_look_pidfd(kept_number(pidfd), pid + 1, "init", &fd, &err), -1);
        assert_non_null(strstr(err.msg, "init: descriptor"));
        assert_int_equal(fd, -1);
        /* When it has been reaped the descriptor is still its. */
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(kept_look_pidfd(kept_number(pidfd), pid, "init", &fd, &err), 0);
        assert_int_equal(fd, pidfd);
        close(pidfd);
        assert_int_equal(kept_look_pidfd(1 + STDIN_FILENO, pid, "init", &fd, &err), -1);
        assert_non_null(strstr(err.msg, "is not a pidfd"));
}

static void count(void *userdata)
{
        ++*(int *)userdata;
}

static void what_a_message_names_is_closed_when_the_next_one_is_there(void **state)
{
        int n_asked = 0;
        int a = eventfd(0, EFD_CLOEXEC);
        int b = eventfd(0, EFD_CLOEXEC);
        int other = eventfd(0, EFD_CLOEXEC);

        (void)state;
        kept_late_begin(count, &n_asked);
        (void)kept_number(a);
        kept_claim(b);
        assert_int_equal(fd_close(other), -1);
        assert_int_equal(fcntl(other, F_GETFD), -1); /* nobody has named it */
        assert_int_equal(n_asked, 0);
        assert_int_equal(fd_close(a), -1);
        assert_int_equal(fd_close(b), -1);
        assert_int_equal(n_asked, 1);
        assert_int_equal(fcntl(a, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(b, F_GETFD), FD_CLOEXEC);
        kept_late_settle();
        assert_int_equal(fcntl(a, F_GETFD), -1);
        assert_int_equal(fcntl(b, F_GETFD), -1);
        /* The mark was the descriptor's, not the number's. */
        a = eventfd(0, EFD_CLOEXEC);
        (void)fd_close(a);
        assert_int_equal(fcntl(a, F_GETFD), -1);
        kept_late_end();
        assert_int_equal(n_asked, 1);
}

/* As high a number as a shim with all its execs has, or the highest that may be had here. */
static int open_high(void)
{
        int at = LIMIT_EXECS * 6;
        struct rlimit limit;
        int fd;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        at = limit.rlim_max < (rlim_t)at ? (int)limit.rlim_max : at;
        limit.rlim_cur = (rlim_t)at;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, at - 1);
        assert_int_equal(fd, at - 1);
        return fd;
}

static void as_many_are_put_off_as_a_shim_can_have(void **state)
{
        int n_asked = 0;
        int low = eventfd(0, EFD_CLOEXEC);
        int high = open_high();

        (void)state;
        if (high < 4096)
                skip(); /* RLIMIT_NOFILE */
        kept_late_begin(count, &n_asked);
        (void)kept_number(low);
        kept_claim(high);
        assert_int_equal(fd_close(high), -1);
        assert_int_equal(fd_close(low), -1);
        assert_int_equal(n_asked, 1);
        assert_int_equal(fcntl(low, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(high, F_GETFD), FD_CLOEXEC);
        kept_late_settle();
        assert_int_equal(fcntl(low, F_GETFD), -1);
        assert_int_equal(fcntl(high, F_GETFD), -1);
        /* A mark that is not settled ends, too. */
        high = open_high();
        (void)kept_number(high);
        kept_late_end();
        kept_late_begin(count, &n_asked);
        assert_int_equal(fd_close(high), -1);
        assert_int_equal(fcntl(high, F_GETFD), -1);
        assert_int_equal(n_asked, 1);
        kept_late_end();
}

static void what_is_behind_a_number_can_be_closed_at_once(void **state)
{
        int n_asked = 0;
        int ends[2];
        char c;

        (void)state;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        kept_late_begin(count, &n_asked);
        (void)kept_number(ends[1]);
        assert_int_equal(kept_close_now(ends[1]), -1);
        assert_int_equal(read(ends[0], &c, 1), 0);
        assert_int_equal(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
        kept_late_settle();
        assert_int_equal(fcntl(ends[1], F_GETFD), -1);
        assert_int_equal(kept_close_now(ends[0]), -1);
        assert_int_equal(fcntl(ends[0], F_GETFD), -1);
        kept_late_end();
}

static void a_fork_closes_at_once(void **state)
{
        int n_asked = 0;
        int fd = eventfd(0, EFD_CLOEXEC);
        int status = 0;
        pid_t pid;

        (void)state;
        kept_late_begin(count, &n_asked);
        (void)kept_number(fd);
        pid = fork();
        if (pid == 0) {
                (void)fd_close(fd);
                _exit(fcntl(fd, F_GETFD) < 0 && n_asked == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void)fd_close(fd);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        kept_late_end();
        assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_is_fine),
                cmocka_unit_test(a_pipe_is_found_and_claimed_once),
                cmocka_unit_test(a_pidfd_is_of_its_process),
                cmocka_unit_test(what_a_message_names_is_closed_when_the_next_one_is_there),
                cmocka_unit_test(as_many_are_put_off_as_a_shim_can_have),
                cmocka_unit_test(what_is_behind_a_number_can_be_closed_at_once),
                cmocka_unit_test(a_fork_closes_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
