/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors with which a process image came, held until it has taken over: whatever a take-over
 * closes before it fails or crashes can be put back under its number for the image before. As long
 * as they are held, closing the other one has no effect either: nobody sees a hangup.
 */
#pragma once

#include <stddef.h>

#include "pkg/base/error.h"

struct held_fd {
        int fd;
        int copy; /* CLOEXEC */
};

struct held {
        struct held_fd *fds; /* NULL: none are held */
        size_t n;
};

/*
 * All that are open above stdio and not CLOEXEC: those that came through the execve(2). Needs as
 * many again. Nothing is held when it fails.
 */
int held_init(struct held *held, struct error *err);

/* Closes the copies. */
void held_deinit(struct held *held);

/* Every number is what it was, without CLOEXEC. May be called from a signal handler. */
void held_put_back(const struct held *held);
