/* SPDX-License-Identifier: Apache-2.0
 *
 * A crash as others see it: a process of its own stays behind to leave the core file. A dump can
 * take long, or go through a pipe to a program that does not end (core(5)), so the process is
 * looked at where the dump begins: when it is traced, it stops before a signal is delivered to it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

#include "cmd/containerd-shim-belay-v2/crash.h"
#include "test/unit/unit.h"

enum { CRASH_SIGNAL = SIGILL };

/* Holds a connection, as a shim does. */
static _Noreturn void crash_traced(void)
{
        static struct vault *const no_vault = NULL;
        static struct reexec reexec = {.before_fd = -1, .image_fd = -1};
        const struct rlimit no_core = {0};

        if (setrlimit(RLIMIT_CORE, &no_core) < 0 || crash_arm(&reexec, &no_vault, NULL) < 0)
                _exit(1);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(1);
        (void)raise(SIGSTOP);
        __builtin_trap();
}

static void go_on(pid_t pid, int signo)
{
        assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)signo), 0);
}

static void await_stop(pid_t pid, int expected)
{
        int status = 0;

        assert_int_equal(waitpid(pid, &status, __WALL), pid);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(status >> 8, expected);
}

/* The number of descriptors of a process that stands still. */
static size_t count_fds(pid_t pid)
{
        char path[32];
        size_t n = 0;
        DIR *dir;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        dir = opendir(path);
        assert_non_null(dir);
        for (const struct dirent *d = readdir(dir); d; d = readdir(dir))
                n += d->d_name[0] != '.';
        (void)closedir(dir);
        return n;
}

static void assert_is_child_of_ours(pid_t pid)
{
        _cleanup_free_ char *text = NULL;
        char expected[32];
        char path[32];

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        (void)snprintf(expected, sizeof(expected), "\nPPid:\t%d\n", (int)getpid());
        assert_int_equal(file_read(AT_FDCWD, path, 1 << 16, &text, NULL), 0);
        assert_non_null(strstr(text, expected));
}

static void what_leaves_the_core_file_holds_no_descriptor(void **state)
{
        const int options = PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
        const int cloned = SIGTRAP | PTRACE_EVENT_CLONE << 8;
        unsigned long message = 0;
        int pair[2];
        int status;
        pid_t core;
        pid_t pid;
        char c;

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                crash_traced();
        (void)close(pair[1]);
        await_stop(pid, SIGSTOP);
        assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(intptr_t)options), 0);
        go_on(pid, 0);
        await_stop(pid, CRASH_SIGNAL);
        assert_true(count_fds(pid) > 3);
        go_on(pid, CRASH_SIGNAL);
        await_stop(pid, cloned);
        assert_int_equal(ptrace(PTRACE_GETEVENTMSG, pid, NULL, &message), 0);
        core = (pid_t)message;
        await_stop(core, SIGSTOP);
        assert_is_child_of_ours(core); /* the next image does not take it for its own */
        go_on(core, 0);
        await_stop(core, CRASH_SIGNAL);
        assert_int_equal(count_fds(core), 0);
        /* Without a vault there is no next image. */
        go_on(pid, 0);
        await_stop(pid, CRASH_SIGNAL);
        go_on(pid, CRASH_SIGNAL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        /* And who was connected hears of the end while the dump stands still. */
        assert_int_equal(read(pair[0], &c, 1), 0);
        (void)close(pair[0]);
        go_on(core, CRASH_SIGNAL);
        assert_int_equal(waitpid(core, &status, __WALL), core);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), CRASH_SIGNAL);
}

/* In some containers nobody may be traced. */
static bool can_trace(void)
{
        int status = 0;
        pid_t pid = fork();

        if (pid == 0)
                _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0);
        return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_leaves_the_core_file_holds_no_descriptor),
        };

        if (!can_trace())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
