/* SPDX-License-Identifier: Apache-2.0
 *
 * After a crash: processes that a job of the image before had made and that nobody waits for any
 * more.
 *
 * A stage, or a process on its way to execve(2), runs our own image with our command line. Where
 * the container's processes cannot become ours as orphans, every child is one that was made. Where
 * they can, a process that has gone through its execve, or a runtime's binary, is told from them by
 * its pidfd: the image before had it, or the stage's socket still holds it, and nobody has claimed
 * either.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/reaper/reaper.h"

struct leftovers {
        int *fds; /* pidfds and sockets of stages that came along */
        size_t n;
};

/* When all else has been claimed. Without memory there are none. */
void leftovers_claim(struct leftovers *leftovers);
void leftovers_deinit(struct leftovers *leftovers);

/* Before a new job can make any. owns_children: every child is one that was made. */
void leftovers_kill(const struct leftovers *leftovers, const struct reaper *reaper,
                    bool owns_children);
