/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors that go through execve(2), as a message of saved state names them: by a number that
 * is one higher, so that 0 is none.
 *
 * What comes from before an execve has no CLOEXEC, or it would not have come. So that flag tells
 * what nobody has claimed yet from what this program has opened itself, and a number of a message
 * that leads to the latter is refused.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"

enum kept_kind {
        KEPT_ANY,
        KEPT_SOCKET,
        KEPT_PIPE, /* or a FIFO */
        KEPT_FILE, /* a regular one; a memfd counts */
        KEPT_TERMINAL,
};

/* -1 is none. */
static inline uint32_t kept_number(int fd)
{
        return (uint32_t)(fd + 1);
}

/*
 * Only looks: the descriptor, or -1 for none. A descriptor that is not open, is of another kind or
 * has been claimed is INVALID_ARGUMENT with its number and `what` it was to be.
 */
int kept_look(uint32_t number, enum kept_kind kind, const char *what, int *ret, struct error *err);

/* The same for a pidfd, which must be that process's. One of a process that has been reaped knows
 * its pid no more, and is taken. */
int kept_look_pidfd(uint32_t number, pid_t pid, const char *what, int *ret, struct error *err);

/* Makes it CLOEXEC: from here on it is somebody's. -1 is fine. */
void kept_claim(int fd);

/* Both: for what is closed again if something else fails, so that it is owned at once. */
int kept_take(uint32_t number, enum kept_kind kind, const char *what, int *ret, struct error *err);
