/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters that are on: what a process behind one gets from the kernel.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/engine/seccomp_profile.h"

/* Runs fn behind the filter; the wait status. */
static int run_behind(const struct plan_seccomp *s, int (*fn)(void))
{
        int status = 0;
        pid_t pid;

        (void)fflush(NULL);
        pid = fork();
        if (pid == 0) {
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, s->flags, &s->prog) != 0)
                        _exit(99);
                _exit(fn());
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static int errno_of_mkdir(void)
{
        return mkdir("", 0) < 0 ? errno : 0;
}

static int errno_of_personality_8(void)
{
        return syscall(SYS_personality, 0x0008UL) < 0 ? errno : 0;
}

static int errno_of_personality_4(void)
{
        return syscall(SYS_personality, 0x0004UL) < 0 ? errno : 0;
}

static void a_rule_returns_its_errno(void **state)
{
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(compile(arena,
                                 "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":"
                                 "[\"mkdir\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":42}]}",
                                 &s, &err),
                         0);
        assert_int_equal(run_behind(&s, errno_of_mkdir), 42 << 8);
        arena_free(arena);
}

static void an_errno_rule_without_a_number_is_eperm(void **state)
{
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(compile(arena,
                                 "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":"
                                 "[\"mkdir\"],\"action\":\"SCMP_ACT_ERRNO\"}]}",
                                 &s, &err),
                         0);
        assert_int_equal(run_behind(&s, errno_of_mkdir), EPERM << 8);
        arena_free(arena);
}

static void a_killing_rule_kills_with_sigsys(void **state)
{
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;
        int status;

        assert_int_equal(compile(arena,
                                 "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":"
                                 "[\"mkdir\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"}]}",
                                 &s, &err),
                         0);
        status = run_behind(&s, errno_of_mkdir);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
        arena_free(arena);
}

static void one_argument_twice_means_either(void **state)
{
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(
                compile(arena,
                        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":["
                        "\"personality\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":43,\"args\":"
                        "[{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"},{\"index\":0,\"value\":"
                        "16,\"op\":\"SCMP_CMP_EQ\"}]}]}",
                        &s, &err),
                0);
        assert_int_equal(run_behind(&s, errno_of_personality_8), 43 << 8);
        assert_int_equal(run_behind(&s, errno_of_personality_4), 0);
        arena_free(arena);
}

#ifdef __x86_64__
static long call_32(long nr)
{
        long r;

        __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(0L), "c"(0L) : "memory");
        return r;
}

/* i386: getpid is 20, mkdir is 39 */
static int errno_of_mkdir_32(void)
{
        long r = (int)call_32(39);

        return r < 0 ? (int)-r : 0;
}

static int getpid_32(void)
{
        return call_32(20) == getpid() ? 0 : 1;
}

static void programs_of_the_second_architecture_are_filtered_too(void **state)
{
        static const char profile[] = "{\"defaultAction\":\"SCMP_ACT_ALLOW\"," ARCHES
                                      "\"syscalls\":[{\"names\":[\"mkdir\"],\"action\":"
                                      "\"SCMP_ACT_ERRNO\",\"errnoRet\":44}]}";
        static const char native_only[] = "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}";
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(compile(arena, profile, &s, &err), 0);
        if (run_behind(&s, getpid_32) != 0)
                skip(); /* no 32-bit emulation here */
        assert_int_equal(run_behind(&s, errno_of_mkdir_32), 44 << 8);
        assert_int_equal(run_behind(&s, errno_of_mkdir), 44 << 8);
        assert_int_equal(compile(arena, native_only, &s, &err), 0);
        assert_true(WIFSIGNALED(run_behind(&s, getpid_32)));
        arena_free(arena);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
#ifdef __x86_64__
                cmocka_unit_test(programs_of_the_second_architecture_are_filtered_too),
#endif
                cmocka_unit_test(a_rule_returns_its_errno),
                cmocka_unit_test(an_errno_rule_without_a_number_is_eperm),
                cmocka_unit_test(a_killing_rule_kills_with_sigsys),
                cmocka_unit_test(one_argument_twice_means_either),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
