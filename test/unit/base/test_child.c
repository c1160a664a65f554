/* SPDX-License-Identifier: Apache-2.0
 *
 * What forks do before they go on. Each test is such a fork, which says by its exit status how it
 * went.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/child.h"

#include "test/unit/unit.h"

static int run(int (*fn)(void))
{
        int status = 0;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(fn());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static int inode_of(int fd, ino_t *ret)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -1;
        *ret = st.st_ino;
        return 0;
}

/* 3 and 4 change places, 0 to 2 are one and the same: no order of dup2(2) alone does that. */
static int swap_descriptors(void)
{
        ino_t before[2];
        ino_t after[2];
        ino_t null;
        int ends[2];
        int a;
        int b;

        (void)close_range(3, ~0U, 0);
        if (pipe2(ends, O_CLOEXEC) < 0 || ends[0] != 3 || ends[1] != 4)
                return 1;
        a = open("/dev/null", O_RDWR | O_CLOEXEC);
        b = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (a != 5 || b != 6 || dup3(b, 3, O_CLOEXEC) < 0 || inode_of(3, &before[0]) < 0 ||
            inode_of(4, &before[1]) < 0 || inode_of(a, &null) < 0)
                return 2;
        if (child_set_fds((const int[]){a, a, a, 4, 3}, 5) < 0)
                return 3;
        if (inode_of(4, &after[0]) < 0 || inode_of(3, &after[1]) < 0)
                return 4;
        if (before[0] != after[0] || before[1] != after[1])
                return 5;
        for (int fd = 0; fd < 3; fd++) {
                ino_t ino;

                if (inode_of(fd, &ino) < 0 || ino != null)
                        return 6;
        }
        for (int fd = 0; fd < 5; fd++) {
                if (fcntl(fd, F_GETFD) != 0)
                        return 7;
        }
        for (int fd = 5; fd < 64; fd++) {
                int flags = fcntl(fd, F_GETFD);

                if (flags >= 0 && !(flags & FD_CLOEXEC))
                        return 8;
        }
        return 0;
}

static void descriptors_get_their_numbers_whatever_they_were(void **state)
{
        assert_int_equal(run(swap_descriptors), 0);
}

static int fail_on_a_bad_one(void)
{
        return child_set_fds((const int[]){-1}, 1) == -1 ? 0 : 1;
}

static void a_descriptor_that_is_none_is_an_error(void **state)
{
        assert_int_equal(run(fail_on_a_bad_one), 0);
}

static int reset(void)
{
        struct sigaction action = {.sa_handler = SIG_IGN};
        sigset_t set;

        (void)sigaction(SIGPIPE, &action, NULL);
        (void)sigfillset(&set);
        (void)sigprocmask(SIG_SETMASK, &set, NULL);
        child_reset_signals();
        if (sigaction(SIGPIPE, NULL, &action) < 0 || action.sa_handler != SIG_DFL)
                return 1;
        if (sigprocmask(SIG_SETMASK, NULL, &set) < 0 || sigismember(&set, SIGTERM))
                return 2;
        return 0;
}

static void signals_are_as_a_program_expects_them(void **state)
{
        assert_int_equal(run(reset), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(descriptors_get_their_numbers_whatever_they_were),
                cmocka_unit_test(a_descriptor_that_is_none_is_an_error),
                cmocka_unit_test(signals_are_as_a_program_expects_them),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
