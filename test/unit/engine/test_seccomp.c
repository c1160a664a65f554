/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/engine/seccomp_profile.h"

/* What the kernel would say: the classic BPF that seccomp(2) takes, and no more of it than occurs.
 */
static uint32_t verdict(const struct sock_fprog *prog, const struct seccomp_data *data)
{
        uint32_t a = 0;

        for (size_t pc = 0; pc < prog->len; pc++) {
                const struct sock_filter *i = &prog->filter[pc];

                switch (i->code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        assert_true(i->k <= sizeof(*data) - sizeof(a));
                        memcpy(&a, (const char *)data + i->k, sizeof(a));
                        break;
                case BPF_ALU | BPF_AND | BPF_K:
                        a &= i->k;
                        break;
                case BPF_JMP | BPF_JA:
                        pc += i->k;
                        break;
                case BPF_JMP | BPF_JEQ | BPF_K:
                        pc += a == i->k ? i->jt : i->jf;
                        break;
                case BPF_JMP | BPF_JGT | BPF_K:
                        pc += a > i->k ? i->jt : i->jf;
                        break;
                case BPF_JMP | BPF_JGE | BPF_K:
                        pc += a >= i->k ? i->jt : i->jf;
                        break;
                case BPF_JMP | BPF_JSET | BPF_K:
                        pc += a & i->k ? i->jt : i->jf;
                        break;
                case BPF_RET | BPF_K:
                        return i->k;
                default:
                        fail_msg("instruction 0x%x", i->code);
                }
        }
        fail_msg("ran off the end");
        return 0;
}

static void add(scmp_filter_ctx ctx, uint32_t action, const char *name, unsigned n,
                const struct scmp_arg_cmp *args)
{
        int nr = seccomp_syscall_resolve_name(name);

        if (nr != __NR_SCMP_ERROR)
                assert_int_equal(seccomp_rule_add_array(ctx, action, nr, n, args), 0);
}

/* The same profile, by libseccomp alone and in one go. */
static struct sock_fprog reference(struct arena *arena)
{
        static const char *const allowed[] = {
                "accept",     "access",     "brk",        "chdir",    "chmod",  "close",
                "clone3",     "dup",        "epoll_wait", "execve",   "exit",   "exit_group",
                "faccessat2", "fcntl",      "fstat",      "futex",    "getcwd", "getpid",
                "ioctl",      "mmap",       "mmap2",      "mkdir",    "openat", "openat2",
                "poll",       "read",       "recv",       "recvfrom", "sendto", "rt_sigreturn",
                "sigreturn",  "socketcall", "connect",    "stat",     "stat64", "wait4",
                "waitid",     "write",
        };
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(38));
        struct sock_fprog prog = {0};
        FILE *f = tmpfile();
        long size;

        assert_non_null(ctx);
        assert_int_equal(seccomp_arch_add(ctx, SCMP_ARCH_X86), 0);
        assert_int_equal(seccomp_arch_add(ctx, SCMP_ARCH_X32), 0);
        for (size_t i = 0; i < UNIT_COUNT(allowed); i++)
                add(ctx, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
        add(ctx, SCMP_ACT_ALLOW, "personality", 1, &SCMP_A0_64(SCMP_CMP_EQ, 0));
        add(ctx, SCMP_ACT_ALLOW, "personality", 1, &SCMP_A0_64(SCMP_CMP_EQ, 8));
        add(ctx, SCMP_ACT_ALLOW, "personality", 1, &SCMP_A0_64(SCMP_CMP_EQ, 0xffffffff));
        add(ctx, SCMP_ACT_ALLOW, "clone", 1, &SCMP_A0_64(SCMP_CMP_MASKED_EQ, 2114060288, 0));
        add(ctx, SCMP_ACT_ALLOW, "socket", 1, &SCMP_A0_64(SCMP_CMP_NE, 40));
        add(ctx, SCMP_ACT_TRAP, "prctl", 2,
            (struct scmp_arg_cmp[]){SCMP_A1_64(SCMP_CMP_LT, UINT64_MAX),
                                    SCMP_A2_64(SCMP_CMP_GT, 7)});
        add(ctx, SCMP_ACT_ERRNO(1), "setns", 0, NULL);
        add(ctx, SCMP_ACT_ERRNO(1), "unshare", 0, NULL);
        add(ctx, SCMP_ACT_KILL_PROCESS, "ptrace", 0, NULL);
        add(ctx, SCMP_ACT_LOG, "mount", 0, NULL);
        add(ctx, SCMP_ACT_TRACE(5), "swapon", 0, NULL);
        assert_int_equal(seccomp_export_bpf(ctx, fileno(f)), 0);
        seccomp_release(ctx);
        size = lseek(fileno(f), 0, SEEK_END);
        prog.filter = arena_alloc(arena, (size_t)size);
        prog.len = (unsigned short)((size_t)size / sizeof(*prog.filter));
        assert_int_equal(pread(fileno(f), prog.filter, (size_t)size, 0), size);
        (void)fclose(f);
        return prog;
}

static void the_joined_filter_judges_as_libseccomps_own(void **state)
{
        static const uint32_t arch[] = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, 0};
        static const uint64_t values[] = {0,          7,          8,          40,
                                          0xffffffff, 0x10000000, 1ull << 32, UINT64_MAX};
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp got = {0};
        struct error err = ERROR_INIT;
        struct sock_fprog want = reference(arena);
        size_t n_other = 0;

        assert_int_equal(
                compile(arena,
                        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38," ARCHES RULES
                        "}",
                        &got, &err),
                0);
        for (size_t a = 0; a < UNIT_COUNT(arch); a++) {
                for (uint32_t nr = 0; nr < 1200; nr++) {
                        for (size_t v = 0; v < UNIT_COUNT(values) * UNIT_COUNT(values); v++) {
                                struct seccomp_data d = {
                                        /* the second half: x32, and numbers of no system */
                                        .nr = (int)(nr < 600    ? nr
                                                    : nr < 1199 ? (nr - 600) | 0x40000000
                                                                : 0xffffffff),
                                        .arch = arch[a],
                                        .args = {values[v % 8], values[v / 8], values[v % 8]},
                                };

                                if (verdict(&got.prog, &d) != verdict(&want, &d))
                                        fail_msg("arch 0x%x nr 0x%x: 0x%x, not 0x%x", d.arch,
                                                 (unsigned)d.nr, verdict(&got.prog, &d),
                                                 verdict(&want, &d));
                                n_other += verdict(&got.prog, &d) != (SECCOMP_RET_ERRNO | 38);
                        }
                }
        }
        assert_true(n_other > 1000);
        arena_free(arena);
}

/* Without args: of one that is past every rule. */
static uint32_t verdict_on(const struct sock_fprog *prog, uint32_t arch, uint32_t nr)
{
        const struct seccomp_data d = {.nr = (int)nr, .arch = arch};

        return verdict(prog, &d);
}

static void calls_that_are_newer_than_the_profile_do_not_exist(void **state)
{
        static const char *const defaults[] = {
                "{\"defaultAction\":\"SCMP_ACT_ERRNO\"," ARCHES RULES "}",
                "{\"defaultAction\":\"SCMP_ACT_KILL\"," ARCHES RULES "}",
                "{\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\"," RULES "}",
        };
        static const uint32_t actions[] = {SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_KILL_THREAD,
                                           SECCOMP_RET_KILL_PROCESS};
        const uint32_t x32 = 0x40000000;

        for (size_t i = 0; i < UNIT_COUNT(defaults); i++) {
                struct arena *arena = arena_new(BUDGET);
                struct plan_seccomp s = {0};
                struct error err = ERROR_INIT;

                assert_int_equal(compile(arena, defaults[i], &s, &err), 0);
                /* faccessat2, 439 everywhere, is the newest that is named; 438 is not named */
                assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, 438), actions[i]);
                assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, 439), SECCOMP_RET_ALLOW);
                assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, 440),
                                 SECCOMP_RET_ERRNO | ENOSYS);
                assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, 5000),
                                 SECCOMP_RET_ERRNO | ENOSYS);
                if (i == 2) { /* no other architecture is told what this one lacks */
                        assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_I386, 5000),
                                         SECCOMP_RET_KILL_THREAD);
                        assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, x32 | 5000),
                                         SECCOMP_RET_KILL_THREAD);
                } else {
                        assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_I386, 438), actions[i]);
                        assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_I386, 439),
                                         SECCOMP_RET_ALLOW);
                        assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_I386, 440),
                                         SECCOMP_RET_ERRNO | ENOSYS);
                        /* x32 has numbers of its own above 512: recvfrom is 517, waitid 529 */
                        assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, x32 | 440),
                                         actions[i]);
                        assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, x32 | 5000),
                                         SECCOMP_RET_ERRNO | ENOSYS);
                }
                assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_AARCH64, 5000),
                                 SECCOMP_RET_KILL_THREAD);
                arena_free(arena);
        }
}

static void a_default_that_lets_pass_lets_newer_calls_pass(void **state)
{
        static const char *const profiles[] = {
                "{\"defaultAction\":\"SCMP_ACT_ALLOW\"," RULES "}",
                "{\"defaultAction\":\"SCMP_ACT_LOG\"," RULES "}",
                "{\"defaultAction\":\"SCMP_ACT_TRACE\"," RULES "}",
                "{\"defaultAction\":\"SCMP_ACT_ERRNO\"}", /* nothing is known of its author */
        };
        static const uint32_t wanted[] = {SECCOMP_RET_ALLOW, SECCOMP_RET_LOG,
                                          SECCOMP_RET_TRACE | EPERM, SECCOMP_RET_ERRNO | EPERM};

        for (size_t i = 0; i < UNIT_COUNT(profiles); i++) {
                struct arena *arena = arena_new(BUDGET);
                struct plan_seccomp s = {0};
                struct error err = ERROR_INIT;

                assert_int_equal(compile(arena, profiles[i], &s, &err), 0);
                assert_int_equal(verdict_on(&s.prog, AUDIT_ARCH_X86_64, 5000), wanted[i]);
                arena_free(arena);
        }
}

static void a_listener_is_asked_for_only_if_there_is_something_to_hear(void **state)
{
        static const char format[] =
                "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\",\"flags\":["
                "\"SECCOMP_FILTER_FLAG_TSYNC\",\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\"],"
                "\"syscalls\":[{\"names\":[\"mkdir\"],\"action\":\"%s\"}]}";
        static const unsigned listening =
                SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
                SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | SECCOMP_FILTER_FLAG_TSYNC;
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;
        char profile[512];

        (void)snprintf(profile, sizeof(profile), format, "SCMP_ACT_NOTIFY");
        assert_int_equal(compile(arena, profile, &s, &err), 0);
        assert_int_equal(s.flags, listening);
        (void)snprintf(profile, sizeof(profile), format, "SCMP_ACT_ERRNO");
        assert_int_equal(compile(arena, profile, &s, &err), 0);
        assert_int_equal(s.flags, SECCOMP_FILTER_FLAG_TSYNC);
        arena_free(arena);
}

#ifdef __x86_64__
/* What large_profile says about a call, by its number on x86-64. */
static uint32_t large_verdict(int nr)
{
        static const uint32_t verdicts[4] = {SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | 5,
                                             SECCOMP_RET_ERRNO | 38, SECCOMP_RET_LOG};

        return nr < 0 ? verdicts[2] : verdicts[nr % 4];
}

static char *large_profile(void)
{
        static const char *const actions[4] = {"\"SCMP_ACT_ALLOW\"",
                                               "\"SCMP_ACT_ERRNO\",\"errnoRet\":5", NULL,
                                               "\"SCMP_ACT_LOG\""};
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        const char *comma = "";

        assert_non_null(f);
        fputs("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38," ARCHES
              "\"syscalls\":[",
              f);
        for (int nr = 0; nr < 600; nr++) {
                char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);

                if (name && actions[nr % 4]) {
                        fprintf(f, "%s{\"names\":[\"%s\"],\"action\":%s}", comma, name,
                                actions[nr % 4]);
                        comma = ",";
                }
                free(name);
        }
        fputs("]}", f);
        assert_int_equal(fclose(f), 0);
        return text;
}

static void a_large_profile_means_what_it_says(void **state)
{
        static const struct {
                uint32_t arch;
                uint32_t token;
                uint32_t bit;
        } abis[] = {{AUDIT_ARCH_X86_64, SCMP_ARCH_X86_64, 0},
                    {AUDIT_ARCH_I386, SCMP_ARCH_X86, 0},
                    {AUDIT_ARCH_X86_64, SCMP_ARCH_X32, 0x40000000}};
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp got = {0};
        struct error err = ERROR_INIT;
        char *profile = large_profile();
        size_t n = 0;

        assert_int_equal(compile(arena, profile, &got, &err), 0);
        for (size_t a = 0; a < UNIT_COUNT(abis); a++) {
                for (int nr = 0; nr < 600; nr++) {
                        struct seccomp_data d = {.nr = nr | (int)abis[a].bit, .arch = abis[a].arch};
                        char *name = seccomp_syscall_resolve_num_arch(abis[a].token, d.nr);
                        int number =
                                name ? seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name)
                                     : -1;

                        /* libseccomp adds to these, with which i386 also says socket() and so on */
                        if (!name ||
                            (strcmp(name, "socketcall") != 0 && strcmp(name, "ipc") != 0)) {
                                if (verdict(&got.prog, &d) != large_verdict(number))
                                        fail_msg("%s (0x%x of 0x%x): 0x%x, not 0x%x", name,
                                                 (unsigned)d.nr, d.arch, verdict(&got.prog, &d),
                                                 large_verdict(number));
                                n += number >= 0;
                        }
                        free(name);
                }
        }
        assert_true(n > 900);
        free(profile);
        arena_free(arena);
}

#endif

static void assert_refused(const char *seccomp, int code, const char *text)
{
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(compile(arena, seccomp, &s, &err), -1);
        if (!strstr(err.msg, text))
                fail_msg("'%s' lacks '%s'", err.msg, text);
        assert_int_equal(err.code, code);
        arena_free(arena);
}

static void what_is_not_supported_or_unknown_is_named(void **state)
{
        assert_refused("{\"defaultAction\":\"SCMP_ACT_NOTIFY\",\"listenerPath\":\"/x\"}",
                       STATUS_INVALID_ARGUMENT, "SCMP_ACT_NOTIFY cannot be the default");
        assert_refused("{\"defaultAction\":\"SCMP_ACT_FOO\"}", STATUS_INVALID_ARGUMENT,
                       "linux.seccomp.defaultAction");
        assert_refused("{\"defaultAction\":\"SCMP_ACT_KILL\",\"defaultErrnoRet\":1}",
                       STATUS_INVALID_ARGUMENT, "has no use for it");
        assert_refused(
                "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_Z80\"]}",
                STATUS_INVALID_ARGUMENT, "architectures[0]");
        assert_refused("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"X\"]}",
                       STATUS_INVALID_ARGUMENT, "flags[0]");
        assert_refused("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
                       "\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":0,\"value\":1,\"op\":"
                       "\"SCMP_CMP_ALMOST\"}]}]}",
                       STATUS_INVALID_ARGUMENT, "syscalls[0].args[0].op");
        assert_refused("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
                       "\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":6,\"value\":1,\"op\":"
                       "\"SCMP_CMP_EQ\"}]}]}",
                       STATUS_INVALID_ARGUMENT, "syscalls[0].args[0]");
}

/* Found by fuzz_seccomp; libseccomp 2.5.4. Later ones may finish it. */
static void a_profile_that_libseccomp_does_not_finish_is_refused_in_time(void **state)
{
        static const char profile[] =
                "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
                "{\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_TRAP\",\"args\":["
                "{\"index\":3,\"value\":2147483648,\"op\":\"SCMP_CMP_NE\"},"
                "{\"index\":0,\"value\":0,\"op\":\"SCMP_CMP_NE\"}]},"
                "{\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_KILL_PROCESS\",\"args\":["
                "{\"index\":4,\"value\":2114060288,\"op\":\"SCMP_CMP_NE\"},"
                "{\"index\":0,\"value\":0,\"op\":\"SCMP_CMP_NE\"}]}]}";
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        if (compile(arena, profile, &s, &err) < 0) {
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_non_null(strstr(err.msg, "libseccomp has not come to an end"));
        } else {
                assert_true(s.prog.len > 0);
        }
        arena_free(arena);
}

static void flags_become_the_kernels(void **state)
{
        struct arena *arena = arena_new(BUDGET);
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(compile(arena,
                                 "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":["
                                 "\"SECCOMP_FILTER_FLAG_LOG\",\"SECCOMP_FILTER_FLAG_TSYNC\"]}",
                                 &s, &err),
                         0);
        assert_int_equal(s.flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_TSYNC);
        assert_int_equal(compile(arena, "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}", &s, &err), 0);
        assert_int_equal(s.flags, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
        arena_free(arena);
}

static void no_profile_is_no_filter(void **state)
{
        struct plan_seccomp s = {.flags = 1};

        assert_int_equal(seccomp_compile(NULL, NULL, NULL, &s, NULL), 0);
        assert_int_equal(s.prog.len, 0);
        assert_int_equal(s.flags, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#ifdef __x86_64__
                cmocka_unit_test(the_joined_filter_judges_as_libseccomps_own),
                cmocka_unit_test(a_large_profile_means_what_it_says),
                cmocka_unit_test(calls_that_are_newer_than_the_profile_do_not_exist),
                cmocka_unit_test(a_default_that_lets_pass_lets_newer_calls_pass),
#endif
                cmocka_unit_test(a_listener_is_asked_for_only_if_there_is_something_to_hear),
                cmocka_unit_test(what_is_not_supported_or_unknown_is_named),
                cmocka_unit_test(a_profile_that_libseccomp_does_not_finish_is_refused_in_time),
                cmocka_unit_test(flags_become_the_kernels),
                cmocka_unit_test(no_profile_is_no_filter),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
