/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.seccomp to BPF, by libseccomp.
 *
 * Each architecture is compiled by itself and seccomp_join.c puts the pieces together: libseccomp's
 * time grows faster than the number of architectures (a usual profile: one 1.2 ms, three 9 ms in
 * one go and 5 ms apart), and the kernel runs a shorter filter. The test compares the verdicts with
 * those of a filter that libseccomp made in one go.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/child.h"
#include "pkg/engine/plan_private.h"
#include "pkg/engine/seccomp_apart.h"
#include "pkg/engine/seccomp_cache.h"
#include "pkg/engine/seccomp_join.h"
#include "pkg/engine/seccomp_stub.h"

enum { ARGS_MAX = 6 };

struct arch {
        const char *name;
        uint32_t token;
        uint32_t family; /* the native architecture whose kernels run it */
};

static const struct arch arches[] = {
        {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64, SCMP_ARCH_X86_64},
        {"SCMP_ARCH_X86", SCMP_ARCH_X86, SCMP_ARCH_X86_64},
        {"SCMP_ARCH_X32", SCMP_ARCH_X32, SCMP_ARCH_X86_64},
        {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64, SCMP_ARCH_AARCH64},
        {"SCMP_ARCH_ARM", SCMP_ARCH_ARM, SCMP_ARCH_AARCH64},
        {"SCMP_ARCH_S390X", SCMP_ARCH_S390X, SCMP_ARCH_S390X},
        {"SCMP_ARCH_S390", SCMP_ARCH_S390, SCMP_ARCH_S390X},
        {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE, SCMP_ARCH_PPC64LE},
        {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64, SCMP_ARCH_PPC64},
        {"SCMP_ARCH_PPC", SCMP_ARCH_PPC, SCMP_ARCH_PPC64},
        {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64, SCMP_ARCH_RISCV64},
        {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64, SCMP_ARCH_MIPS64},
        {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32, SCMP_ARCH_MIPS64},
        {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS, SCMP_ARCH_MIPS64},
        {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64, SCMP_ARCH_MIPSEL64},
        {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32, SCMP_ARCH_MIPSEL64},
        {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL, SCMP_ARCH_MIPSEL64},
        {"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC, SCMP_ARCH_PARISC},
        {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64, SCMP_ARCH_PARISC64},
};

static void release_filter(scmp_filter_ctx *ctx)
{
        if (*ctx)
                seccomp_release(*ctx);
}

static int parse_action(const char *name, bool has_errno, uint32_t errno_ret, const char *where,
                        uint32_t *ret, struct error *err)
{
        static const struct {
                const char *name;
                uint32_t action;
        } plain[] = {
                {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
                {"SCMP_ACT_LOG", SCMP_ACT_LOG},
                {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
                {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
                {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
                {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
                {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
        };

        if (!name)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: no action", where);
        if (has_errno && errno_ret > UINT16_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: errno %u is out of range",
                                 where, errno_ret);
        if (strcmp(name, "SCMP_ACT_ERRNO") == 0) {
                *ret = SCMP_ACT_ERRNO(has_errno ? errno_ret : EPERM);
                return 0;
        }
        if (strcmp(name, "SCMP_ACT_TRACE") == 0) {
                *ret = SCMP_ACT_TRACE(has_errno ? errno_ret : EPERM);
                return 0;
        }
        for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
                if (strcmp(name, plain[i].name) != 0)
                        continue;
                if (has_errno)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "%s: %s takes no errno value", where, name);
                *ret = plain[i].action;
                return 0;
        }
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: unknown action '%s'", where, name);
}

static int parse_flags(const struct oci_seccomp *profile, unsigned *ret, struct error *err)
{
        /* Without a word on it, speculation is left alone, as the stock runtime does: before Linux
         * 5.16 every filter would switch the mitigation on and cost the program dearly. */
        const struct oci_strings *flags = &profile->flags;
        unsigned value = flags->n == 0 ? SECCOMP_FILTER_FLAG_SPEC_ALLOW : 0;

        for (size_t i = 0; i < flags->n; i++) {
                const char *f = flags->items[i];

                if (strcmp(f, "SECCOMP_FILTER_FLAG_TSYNC") == 0)
                        value |= SECCOMP_FILTER_FLAG_TSYNC;
                else if (strcmp(f, "SECCOMP_FILTER_FLAG_LOG") == 0)
                        value |= SECCOMP_FILTER_FLAG_LOG;
                else if (strcmp(f, "SECCOMP_FILTER_FLAG_SPEC_ALLOW") == 0)
                        value |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
                else if (strcmp(f, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") == 0)
                        value |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
                else
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.seccomp.flags[%zu]: unknown value '%s'", i, f);
        }
        if (profile->has_notify)
                value |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
        else
                value &= ~(unsigned)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV; /* it is a listener's */
        /* The two together: a failure to synchronise is an errno, since success is a descriptor. */
        if (profile->has_notify && (value & SECCOMP_FILTER_FLAG_TSYNC))
                value |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
        *ret = value;
        return 0;
}

static const struct arch *arch_find(uint32_t token)
{
        for (size_t i = 0; i < sizeof(arches) / sizeof(arches[0]); i++) {
                if (arches[i].token == token)
                        return &arches[i];
        }
        return NULL;
}

static int add_arch(uint32_t token, uint32_t *tokens, size_t *n)
{
        for (size_t i = 0; i < *n; i++) {
                if (tokens[i] == token)
                        return 0;
        }
        if (*n == SECCOMP_ARCHES_MAX)
                return -E2BIG;
        tokens[(*n)++] = token;
        return 0;
}

/* The native one, and those of the profile that this machine's kernel can run. */
static int choose_arches(const struct oci_strings *names, uint32_t *tokens, size_t *ret_n,
                         struct error *err)
{
        uint32_t native = seccomp_arch_native();
        const struct arch *self = arch_find(native);
        uint32_t family = self ? self->family : native;

        *ret_n = 0;
        (void)add_arch(native, tokens, ret_n);
        for (size_t i = 0; i < names->n; i++) {
                const struct arch *found = NULL;

                for (size_t j = 0; j < sizeof(arches) / sizeof(arches[0]) && !found; j++) {
                        if (strcmp(names->items[i], arches[j].name) == 0)
                                found = &arches[j];
                }
                if (!found)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.seccomp.architectures[%zu]: unknown value '%s'", i,
                                         names->items[i]);
                if (found->family == family && add_arch(found->token, tokens, ret_n) < 0)
                        return error_set(err, STATUS_INTERNAL,
                                         "linux.seccomp.architectures: too many for one machine");
        }
        return 0;
}

static int parse_arg(const struct oci_seccomp_arg *arg, size_t rule, size_t index,
                     struct scmp_arg_cmp *ret, struct error *err)
{
        static const struct {
                const char *name;
                enum scmp_compare op;
        } ops[] = {
                {"SCMP_CMP_NE", SCMP_CMP_NE},
                {"SCMP_CMP_LT", SCMP_CMP_LT},
                {"SCMP_CMP_LE", SCMP_CMP_LE},
                {"SCMP_CMP_EQ", SCMP_CMP_EQ},
                {"SCMP_CMP_GE", SCMP_CMP_GE},
                {"SCMP_CMP_GT", SCMP_CMP_GT},
                {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
        };

        if (arg->index >= ARGS_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.seccomp.syscalls[%zu].args[%zu]: a system call has no "
                                 "argument %u",
                                 rule, index, arg->index);
        for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
                if (!str_equal(arg->op, ops[i].name))
                        continue;
                *ret = (struct scmp_arg_cmp){
                        .arg = arg->index,
                        .op = ops[i].op,
                        .datum_a = arg->value,
                        .datum_b = arg->value_two,
                };
                return 0;
        }
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "linux.seccomp.syscalls[%zu].args[%zu].op: unknown value '%s'", rule,
                         index, arg->op ? arg->op : "");
}

static int parse_rule(const struct oci_seccomp_rule *in, size_t index, uint32_t default_action,
                      struct arena *arena, struct seccomp_rule *ret, struct error *err)
{
        char where[64];
        unsigned seen = 0;

        (void)snprintf(where, sizeof(where), "linux.seccomp.syscalls[%zu]", index);
        if (parse_action(in->action, in->has_errno_ret, in->errno_ret, where, &ret->action, err) <
            0)
                return -1;
        ret->is_default = ret->action == default_action;
        ret->args = arena_calloc(arena, in->n_args, sizeof(*ret->args));
        ret->numbers = arena_calloc(arena, in->names.n, sizeof(*ret->numbers));
        if (!ret->args || !ret->numbers)
                return plan_no_memory(err);
        for (size_t i = 0; i < in->n_args; i++) {
                if (parse_arg(&in->args[i], index, i, &ret->args[i], err) < 0)
                        return -1;
                if (seen & 1u << ret->args[i].arg)
                        ret->is_split = true;
                seen |= 1u << ret->args[i].arg;
        }
        ret->n_args = (unsigned)in->n_args;
        for (size_t i = 0; i < in->names.n; i++) {
                int nr = seccomp_syscall_resolve_name(in->names.items[i]);

                if (nr != __NR_SCMP_ERROR)
                        ret->numbers[ret->n_numbers++] = nr;
        }
        return 0;
}

static int add_rule(scmp_filter_ctx ctx, const struct seccomp_rule *rule, int nr)
{
        int r = 0;

        if (!rule->is_split)
                return seccomp_rule_add_array(ctx, rule->action, nr, rule->n_args, rule->args);
        for (unsigned i = 0; i < rule->n_args && r == 0; i++)
                r = seccomp_rule_add_array(ctx, rule->action, nr, 1, &rule->args[i]);
        return r;
}

/* What libseccomp writes to a descriptor, in the arena. */
static int export_filter(scmp_filter_ctx ctx, struct arena *arena, struct seccomp_piece *ret,
                         struct error *err)
{
        _cleanup_close_ int fd = memfd_create("belay-seccomp", MFD_CLOEXEC);
        off_t size;
        int r;

        if (fd < 0)
                return error_errno(err, errno, "seccomp: make a memfd");
        r = seccomp_export_bpf(ctx, fd);
        if (r < 0)
                return error_errno(err, -r, "seccomp: export the filter");
        size = lseek(fd, 0, SEEK_END);
        if (size < 0 || (size_t)size % sizeof(*ret->insns) != 0)
                return error_set(err, STATUS_INTERNAL, "seccomp: the filter has an odd size");
        ret->insns = arena_alloc(arena, (size_t)size);
        if (!ret->insns)
                return plan_no_memory(err);
        if (pread(fd, ret->insns, (size_t)size, 0) != size)
                return error_set(err, STATUS_INTERNAL, "seccomp: the filter cannot be read back");
        ret->n = (size_t)size / sizeof(*ret->insns);
        return 0;
}

static int compile_piece(uint32_t token, const struct seccomp_input *input, struct arena *arena,
                         struct seccomp_piece *ret, struct error *err)
{
        uint32_t native = seccomp_arch_native();
        _cleanup_(release_filter) scmp_filter_ctx ctx = seccomp_init(input->default_action);
        int r = 0;

        if (!ctx)
                return error_set(err, STATUS_UNKNOWN, "seccomp: libseccomp gives no context");
        if (token != native) {
                r = seccomp_arch_add(ctx, token);
                if (r == 0)
                        r = seccomp_arch_remove(ctx, native);
                if (r < 0)
                        return error_errno(err, -r, "seccomp: select architecture 0x%x", token);
        }
        /* A binary tree: longer, but the kernel, which runs a filter once for every call that there
         * is when it is loaded, takes a third of the time. Only libseccomp before 2.5 refuses. */
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        for (size_t i = 0; i < input->n_rules; i++) {
                const struct seccomp_rule *rule = &input->rules[i];

                if (rule->is_default)
                        continue;
                for (size_t j = 0; j < rule->n_numbers; j++) {
                        r = add_rule(ctx, rule, rule->numbers[j]);
                        /* EEXIST: an earlier rule says so already; EDOM: this architecture has no
                         * such call. */
                        if (r < 0 && r != -EEXIST && r != -EDOM)
                                return error_errno(
                                        err, -r,
                                        "linux.seccomp.syscalls[%zu]: add a rule for call %d", i,
                                        rule->numbers[j]);
                }
        }
        ret->token = token;
        if (export_filter(ctx, arena, ret, err) < 0)
                return -1;
        return seccomp_add_stub(input, ret, arena, err);
}

static int compile_input(const struct seccomp_input *input, struct arena *arena,
                         struct sock_fprog *ret, struct error *err)
{
        struct seccomp_piece pieces[SECCOMP_ARCHES_MAX] = {0};

        for (size_t i = 0; i < input->n_tokens; i++) {
                if (compile_piece(input->tokens[i], input, arena, &pieces[i], err) < 0)
                        return -1;
        }
        return seccomp_join(pieces, input->n_tokens, arena, ret, err);
}

/* With the cache or without it: the same filter for the same input. */
static int make_filter(const struct seccomp_input *input, const char *cache_dir,
                       struct arena *arena, struct sock_fprog *ret, struct error *err)
{
        _cleanup_close_ int cache = cache_dir ? seccomp_cache_open(cache_dir) : -1;
        struct seccomp_key key;
        bool has_key = cache >= 0 && seccomp_key_make(input, &key);

        if (has_key && seccomp_cache_find(cache, &key, arena, ret))
                return 0;
        if (seccomp_apart(compile_input, input, arena, ret, err) < 0)
                return -1;
        if (has_key)
                seccomp_cache_keep(cache, &key, ret);
        return 0;
}

int seccomp_compile(const struct oci_seccomp *profile, const char *cache_dir, struct arena *arena,
                    struct plan_seccomp *ret, struct error *err)
{
        struct plan_seccomp result = {0};
        struct seccomp_input input = {0};
        struct seccomp_rule *rules;

        if (!profile) {
                *ret = result;
                return 0;
        }
        if (parse_action(profile->default_action, profile->has_default_errno_ret,
                         profile->default_errno_ret, "linux.seccomp.defaultAction",
                         &input.default_action, err) < 0 ||
            parse_flags(profile, &result.flags, err) < 0 ||
            choose_arches(&profile->architectures, input.tokens, &input.n_tokens, err) < 0)
                return -1;
        rules = arena_calloc(arena, profile->n_rules, sizeof(*rules));
        if (!rules)
                return plan_no_memory(err);
        for (size_t i = 0; i < profile->n_rules; i++) {
                if (parse_rule(&profile->rules[i], i, input.default_action, arena, &rules[i], err) <
                    0)
                        return -1;
        }
        input.rules = rules;
        input.n_rules = profile->n_rules;
        if (make_filter(&input, cache_dir, arena, &result.prog, err) < 0)
                return -1;
        *ret = result;
        return 0;
}
