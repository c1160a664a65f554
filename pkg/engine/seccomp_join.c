/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters for several architectures behind one switch on seccomp_data.arch. Jumps in BPF are
 * relative and every piece ends in returns, so pieces can be put anywhere.
 */
#include "pkg/engine/seccomp_join.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>

#include "pkg/engine/plan_private.h"

#define X32_SYSCALL_BIT 0x40000000u

static const struct seccomp_piece *piece_find(const struct seccomp_piece *pieces, size_t n,
                                              uint32_t token)
{
        for (size_t i = 0; i < n; i++) {
                if (pieces[i].token == token)
                        return &pieces[i];
        }
        return NULL;
}

static size_t piece_offset(const struct seccomp_piece *pieces, const struct seccomp_piece *p)
{
        size_t offset = 0;

        for (const struct seccomp_piece *q = pieces; q < p; q++)
                offset += q->n;
        return offset;
}

/* x32 shares its architecture number with x86-64 and is told apart by a bit of the call's. */
static size_t emit_switch(const struct seccomp_piece *pieces, size_t n, struct sock_filter *out,
                          size_t head)
{
        const struct seccomp_piece *x32 = piece_find(pieces, n, SCMP_ARCH_X32);
        size_t len = 0;

        out[len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                  offsetof(struct seccomp_data, arch));
        for (size_t i = 0; i < n; i++) {
                const struct seccomp_piece *p = &pieces[i];
                bool has_x32 = p->token == SCMP_ARCH_X86_64 && x32;

                if (p == x32)
                        continue;
                out[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, p->token, 0,
                                                          has_x32 ? 4 : 1);
                if (has_x32) {
                        out[len++] = (struct sock_filter)BPF_STMT(
                                BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
                        out[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K,
                                                                  X32_SYSCALL_BIT, 0, 1);
                        out[len] = (struct sock_filter)BPF_STMT(
                                BPF_JMP | BPF_JA,
                                (uint32_t)(head + piece_offset(pieces, x32) - len - 1));
                        len++;
                }
                out[len] = (struct sock_filter)BPF_STMT(
                        BPF_JMP | BPF_JA, (uint32_t)(head + piece_offset(pieces, p) - len - 1));
                len++;
        }
        out[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD);
        return len;
}

int seccomp_join(const struct seccomp_piece *pieces, size_t n, struct arena *arena,
                 struct sock_fprog *ret, struct error *err)
{
        struct sock_filter scratch[2 + 5 * SECCOMP_ARCHES_MAX];
        struct sock_filter *out;
        size_t head = 0;
        size_t total = 0;

        if (n > 1)
                head = emit_switch(pieces, n, scratch, 0);
        for (size_t i = 0; i < n; i++)
                total += pieces[i].n;
        if (head + total > BPF_MAXINSNS)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.seccomp: the filter has %zu instructions, the kernel takes "
                                 "%d",
                                 head + total, BPF_MAXINSNS);
        out = arena_calloc(arena, head + total, sizeof(*out));
        if (!out)
                return plan_no_memory(err);
        if (n > 1)
                (void)emit_switch(pieces, n, out, head);
        for (size_t i = 0; i < n; i++)
                memcpy(out + head + piece_offset(pieces, &pieces[i]), pieces[i].insns,
                       pieces[i].n * sizeof(*out));
        *ret = (struct sock_fprog){.len = (unsigned short)(head + total), .filter = out};
        return 0;
}
