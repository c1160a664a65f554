/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts the filters of single architectures together: see seccomp.c.
 */
#pragma once

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"

/* A 64-bit kernel runs programs of at most three of them. */
enum { SECCOMP_ARCHES_MAX = 3 };

/* A filter that judges the calls of one architecture. */
struct seccomp_piece {
        uint32_t token; /* SCMP_ARCH_* */
        struct sock_filter *insns;
        size_t n;
};

/* One piece is taken as it is. Calls of an architecture without a piece kill the thread, as in
 * libseccomp. Pure but for the arena. STATUS_INVALID_ARGUMENT when the kernel would not take so
 * many instructions. */
int seccomp_join(const struct seccomp_piece *pieces, size_t n, struct arena *arena,
                 struct sock_fprog *ret, struct error *err);
