/* SPDX-License-Identifier: Apache-2.0
 *
 * What is done apart is waited for as long as its caller wants, and not longer.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "cmd/containerd-shim-belay-v2/apart.h"
#include "test/unit/unit.h"

enum { LONG_MS = 20000, SHORT_MS = 20, TEXT_BYTES = 100000 };

static uint64_t in_ms(uint64_t ms)
{
        return clock_monotonic_ns() + ms * NSEC_PER_MSEC;
}

static void assert_no_child(void)
{
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
}

static int add_one(void *userdata)
{
        return *(int *)userdata + 1;
}

static void its_result_is_told(void **state)
{
        struct error err = ERROR_INIT;
        int number = 41;
        int ret = 0;

        (void)state;
        assert_int_equal(apart_run(add_one, &number, in_ms(LONG_MS), &ret, &err), 0);
        assert_int_equal(ret, 42);
        assert_no_child();
}

static int hang(void *userdata)
{
        (void)userdata;
        (void)pause();
        return 0;
}

static void it_is_killed_when_time_is_up(void **state)
{
        struct error err = ERROR_INIT;
        int ret = 5;

        (void)state;
        assert_int_equal(apart_run(hang, NULL, in_ms(SHORT_MS), &ret, &err), -1);
        assert_int_equal(err.code, STATUS_DEADLINE_EXCEEDED);
        assert_int_equal(ret, 5);
        assert_no_child();
}

static int abort_it(void *userdata)
{
        (void)userdata;
        (void)raise(SIGKILL);
        return 0;
}

static void its_death_is_no_result(void **state)
{
        struct error err = ERROR_INIT;
        int ret = 5;

        (void)state;
        assert_int_equal(apart_run(abort_it, NULL, in_ms(LONG_MS), &ret, &err), -1);
        assert_int_equal(ret, 5);
        assert_no_child();
}

static int say_much(void *userdata)
{
        (void)userdata;
        for (int i = 0; i < TEXT_BYTES; i++) {
                if (write(i % 2 ? STDOUT_FILENO : STDERR_FILENO, "x", 1) != 1)
                        return -1;
        }
        return 1;
}

/* Both go to standard error: the other is for an answer. */
static void its_words_are_told_however_many(void **state)
{
        int saved[2] = {fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3),
                        fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)};
        char path[] = "/tmp/belay-apart-XXXXXX";
        int file = mkostemp(path, O_CLOEXEC);
        struct error err = ERROR_INIT;
        int ret = 0;
        int r;

        (void)state;
        assert_true(file >= 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
        r = apart_run(say_much, NULL, in_ms(LONG_MS), &ret, &err);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(dup2(saved[i], STDOUT_FILENO + i), STDOUT_FILENO + i);
                fd_close(saved[i]);
        }
        assert_int_equal(r, 0);
        assert_int_equal(ret, 1);
        assert_int_equal(lseek(file, 0, SEEK_END), TEXT_BYTES);
        fd_close(file);
}

/* Somebody stays behind, with what it had, until the test lets go. */
static int leave_somebody(void *userdata)
{
        int *ends = userdata;
        pid_t pid = fork();
        char byte;

        if (pid != 0)
                return pid > 0 ? 7 : -1;
        fd_close(ends[1]);
        _exit(read(ends[0], &byte, 1) < 0);
}

static void its_end_is_the_end_whoever_is_left(void **state)
{
        struct error err = ERROR_INIT;
        int ret = 0;
        int ends[2];

        (void)state;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(apart_run(leave_somebody, ends, in_ms(LONG_MS), &ret, &err), 0);
        assert_int_equal(ret, 7);
        fd_close(ends[0]);
        fd_close(ends[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(its_result_is_told),
                cmocka_unit_test(it_is_killed_when_time_is_up),
                cmocka_unit_test(its_death_is_no_result),
                cmocka_unit_test(its_words_are_told_however_many),
                cmocka_unit_test(its_end_is_the_end_whoever_is_left),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
