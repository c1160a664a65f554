/* SPDX-License-Identifier: Apache-2.0
 *
 * inotify_init1(2) in libc's place, for a test of what becomes of a watch on a host that has no
 * instance left. Included by one file of an executable.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool inotify_is_used_up;

int inotify_init1(int flags)
{
        if (inotify_is_used_up) {
                errno = EMFILE;
                return -1;
        }
        return (int)syscall(SYS_inotify_init1, flags);
}
