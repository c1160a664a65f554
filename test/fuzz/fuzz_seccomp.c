/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as linux.seccomp, through the parser and libseccomp to a filter. A filter that comes
 * out is one that the kernel would take: it ends, each jump lands in it, and each way through it
 * returns. The same profile gives the same filter again, which is what a cache relies on.
 */
#include <linux/bpf_common.h>
#include <linux/filter.h>
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
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
        memcpy(text + sizeof(head) - 1, data, size);
        memcpy(text + sizeof(head) - 1 + size, tail, sizeof(tail) - 1);
        if (oci_spec_parse(text, len, arena, &spec, NULL) == 0 && spec->linux_.seccomp)
                compile_twice(spec->linux_.seccomp, arena);
        free(text);
        arena_free(arena);
        return 0;
}
