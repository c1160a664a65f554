/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors with which a process image came, until it has taken over: if it fails or crashes
 * before, the next one gets them as they were, and nothing that this one has made for itself. They
 * may be held, too, by copies: then whatever a take-over closes can be put back under its number,
 * and closing the other one has no effect either: nobody sees a hangup.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"

struct held_fd {
        int fd;
        int copy; /* CLOEXEC; -1: it is only listed */
};

struct held {
        struct held_fd *fds; /* NULL: none are */
        size_t n;
};

/*
 * All that are open above stdio and not CLOEXEC: those that came through the execve(2). With copies
 * it needs as many again. Nothing is held when it fails.
 */
int held_init(struct held *held, bool copies, struct error *err);

/* Whether it is one of the copies. */
bool held_is_copy(const struct held *held, int fd);

/* Closes the copies. */
void held_deinit(struct held *held);

/* Every number is what it was, without CLOEXEC. May be called from a signal handler. */
void held_put_back(const struct held *held);
