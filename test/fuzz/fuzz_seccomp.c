/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as linux.seccomp, through the parser and libseccomp to a filter. A filter that comes
 * out is one that the kernel would take: it ends, each jump lands in it, and each way through it
 * returns. The same profile gives the same filter again, which is what a cache relies on.
 *
 * What does not begin with a brace is no text but choices, of which a profile is made: bytes that
 * are changed at random are seldom JSON, and hardly ever a profile.
 */
#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/engine/child.h"

enum { ARENA_BYTES = 16 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
        if (!condition)
                abort();
}

/* As bpf_check_classic() of the kernel does it. */
static void check_filter(const struct sock_fprog *prog)
{
        require(prog->len > 0 && prog->len <= BPF_MAXINSNS);
        for (size_t i = 0; i < prog->len; i++) {
                const struct sock_filter *insn = &prog->filter[i];
                size_t left = prog->len - i - 1;

                if (BPF_CLASS(insn->code) != BPF_JMP)
                        continue;
                if (BPF_OP(insn->code) == BPF_JA)
                        require(insn->k < left);
                else
                        require(insn->jt < left && insn->jf < left);
        }
        require(BPF_CLASS(prog->filter[prog->len - 1].code) == BPF_RET);
}

static void compile_twice(const struct oci_seccomp *profile, struct arena *arena)
{
        struct plan_seccomp first;
        struct plan_seccomp second;
        struct error err = ERROR_INIT;

        if (seccomp_compile(profile, NULL, arena, &first, &err) < 0) {
                require(err.code != STATUS_OK && err.msg[0]);
                return;
        }
        check_filter(&first.prog);
        if (seccomp_compile(profile, NULL, arena, &second, NULL) < 0)
                return; /* the arena's budget is used up */
        require(first.flags == second.flags && first.prog.len == second.prog.len);
        require(memcmp(first.prog.filter, second.prog.filter,
                       first.prog.len * sizeof(*first.prog.filter)) == 0);
}

/* ---- profiles from choices ---- */

enum { PROFILE_BYTES = 64 << 10, RULES_MAX = 8, NAMES_MAX = 6, ARGS_MAX = 5 };

struct maker {
        const uint8_t *data;
        size_t left;
        char *text; /* PROFILE_BYTES, more than the limits above can fill */
        size_t len;
};

static const char *const actions[] = {
        "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO",       "SCMP_ACT_LOG",          "SCMP_ACT_TRAP",
        "SCMP_ACT_TRACE", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_NOTIFY"};
static const char *const arches[] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32",
                                     "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
static const char *const flags[] = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC",
                                    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
static const char *const names[] = {
        "read",    "openat",     "clone", "clone3",       "socket",      "socketcall",  "ipc",
        "semop",   "mmap",       "mmap2", "stat64",       "fstat",       "personality", "ptrace",
        "execve",  "futex",      "ioctl", "prctl",        "getpid",      "arch_prctl",  "open",
        "waitpid", "breakpoint", "uname", "no_such_call", "rt_sigreturn"};
static const char *const ops[] = {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
                                  "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
static const char *const values[] = {"0",
                                     "1",
                                     "8",
                                     "4096",
                                     "2114060288",
                                     "2147483648",
                                     "4294967295",
                                     "4294967296",
                                     "9223372036854775808",
                                     "18446744073709551615"};

/* Past the end all choices are 0. */
static unsigned choose(struct maker *m, unsigned n)
{
        if (m->left == 0)
                return 0;
        m->left--;
        return *m->data++ % n;
}

static const char *word(struct maker *m, const char *const *list, unsigned n)
{
        return list[choose(m, n)];
}

#define WORD(m, list) word(m, list, sizeof(list) / sizeof((list)[0]))

__attribute__((format(printf, 2, 3))) static void put(struct maker *m, const char *fmt, ...)
{
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(m->text + m->len, PROFILE_BYTES - m->len, fmt, ap);
        va_end(ap);
        require(n >= 0 && (size_t)n < PROFILE_BYTES - m->len);
        m->len += (size_t)n;
}

static void put_words(struct maker *m, const char *key, const char *const *list, unsigned n_list,
                      unsigned n)
{
        put(m, "\"%s\":[", key);
        for (unsigned i = 0; i < n; i++)
                put(m, "%s\"%s\"", i > 0 ? "," : "", word(m, list, n_list));
        put(m, "]");
}

static void put_rule(struct maker *m)
{
        unsigned n;

        put(m, "{");
        put_words(m, "names", names, sizeof(names) / sizeof(names[0]), 1 + choose(m, NAMES_MAX));
        put(m, ",\"action\":\"%s\"", WORD(m, actions));
        if (choose(m, 4) == 1)
                put(m, ",\"errnoRet\":%u", choose(m, 256) * 257);
        n = choose(m, ARGS_MAX + 1);
        put(m, ",\"args\":[");
        for (unsigned i = 0; i < n; i++) { /* one by one: arguments have no order */
                put(m, "%s{\"index\":%u", i > 0 ? "," : "", choose(m, 6));
                put(m, ",\"value\":%s", WORD(m, values));
                put(m, ",\"valueTwo\":%s", WORD(m, values));
                put(m, ",\"op\":\"%s\"}", WORD(m, ops));
        }
        put(m, "]}");
}

static void put_profile(struct maker *m)
{
        unsigned n;

        put(m, "{\"defaultAction\":\"%s\",", WORD(m, actions));
        if (choose(m, 2) == 1)
                put(m, "\"listenerPath\":\"/l\",");
        put_words(m, "architectures", arches, sizeof(arches) / sizeof(arches[0]), choose(m, 4));
        put(m, ",");
        put_words(m, "flags", flags, sizeof(flags) / sizeof(flags[0]), choose(m, 3));
        put(m, ",\"syscalls\":[");
        n = choose(m, RULES_MAX + 1);
        for (unsigned i = 0; i < n; i++) {
                put(m, "%s", i > 0 ? "," : "");
                put_rule(m);
        }
        put(m, "]}");
}

static void run(const char *profile, size_t size)
{
        static const char head[] = "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},"
                                   "\"linux\":{\"seccomp\":";
        static const char tail[] = "}}";
        struct arena *arena = arena_new(ARENA_BYTES);
        struct oci_spec *spec = NULL;
        size_t len = sizeof(head) - 1 + size + sizeof(tail) - 1;
        char *text = malloc(len);

        require(arena && text);
        memcpy(text, head, sizeof(head) - 1);
        memcpy(text + sizeof(head) - 1, profile, size);
        memcpy(text + sizeof(head) - 1 + size, tail, sizeof(tail) - 1);
        if (oci_spec_parse(text, len, arena, &spec, NULL) == 0 && spec->linux_.seccomp)
                compile_twice(spec->linux_.seccomp, arena);
        free(text);
        arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct maker m = {.data = data, .left = size};

        if (size == 0 || data[0] == '{') {
                run((const char *)data, size);
                return 0;
        }
        m.text = malloc(PROFILE_BYTES);
        require(m.text != NULL);
        put_profile(&m);
        run(m.text, m.len);
        free(m.text);
        return 0;
}
