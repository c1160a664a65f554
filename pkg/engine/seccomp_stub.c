/* SPDX-License-Identifier: Apache-2.0
 *
 * Who wrote a profile knew the calls up to the newest that it names, and meant its default action
 * for those. To a call that came later the answer is ENOSYS, as from the kernel that the author
 * knew: then a libc falls back to the older call, where EPERM would make the program fail (clone3,
 * faccessat2). The stock runtime does the same.
 *
 * A default that lets calls pass, or that hands them to somebody who can tell them apart, stays.
 */
#include "pkg/engine/seccomp_stub.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/plan_private.h"

#define X32_SYSCALL_BIT 0x40000000u

enum { STUB_MAX = 6 };

static bool refuses(uint32_t action)
{
        switch (action & SECCOMP_RET_ACTION_FULL) {
        case SECCOMP_RET_ERRNO:
                return (action & SECCOMP_RET_DATA) != ENOSYS; /* it says so already */
        case SECCOMP_RET_KILL_PROCESS:
        case SECCOMP_RET_KILL_THREAD:
        case SECCOMP_RET_TRAP:
                return true;
        default:
                return false;
        }
}

/* The number that a call has on an architecture; nr: what it has on the native one, or a negative
 * number of libseccomp's own. Negative: there is no such call. */
static int translate(uint32_t token, int nr)
{
        _cleanup_free_ char *name = NULL;

        if (token == seccomp_arch_native())
                return nr;
        name = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), nr);
        return name ? seccomp_syscall_resolve_name_arch(token, name) : -1;
}

static bool find_newest(const struct seccomp_input *input, uint32_t token, uint32_t *ret)
{
        int newest = -1;

        for (size_t i = 0; i < input->n_rules; i++) {
                for (size_t j = 0; j < input->rules[i].n_numbers; j++) {
                        int nr = translate(token, input->rules[i].numbers[j]);

                        newest = nr > newest ? nr : newest;
                }
        }
        *ret = (uint32_t)newest;
        return newest >= 0;
}

int seccomp_add_stub(const struct seccomp_input *input, struct seccomp_piece *piece,
                     struct arena *arena, struct error *err)
{
        /* x32 has the same architecture number and a bit in the call's. */
        bool may_be_x32 = piece->token == SCMP_ARCH_X86_64;
        uint32_t arch = piece->token == SCMP_ARCH_X32 ? SCMP_ARCH_X86_64 : piece->token;
        struct sock_filter *out;
        uint32_t newest = 0;
        size_t n = 0;

        if (!refuses(input->default_action) || !find_newest(input, piece->token, &newest))
                return 0;
        out = arena_calloc(arena, STUB_MAX + piece->n, sizeof(*out));
        if (!out)
                return plan_no_memory(err);
        out[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                offsetof(struct seccomp_data, nr));
        out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, newest, 0,
                                                may_be_x32 ? 4 : 3);
        if (may_be_x32)
                out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_SYSCALL_BIT,
                                                        3, 0);
        out[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                offsetof(struct seccomp_data, arch));
        out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 1);
        out[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
        memcpy(out + n, piece->insns, piece->n * sizeof(*out));
        piece->insns = out;
        piece->n += n;
        return 0;
}
