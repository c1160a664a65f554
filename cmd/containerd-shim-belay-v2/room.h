/* SPDX-License-Identifier: Apache-2.0
 *
 * Room for descriptors while a process image takes over from one that has crashed: what that had
 * made for itself stays open until the take-over is done, and the limit may have been reached. So
 * it is higher for as long, and then what it was: containers inherit it.
 */
#pragma once

#include <stdbool.h>
#include <sys/resource.h>

/* More than an image opens until it has taken over. */
enum { ROOM_FDS = 64 };

struct room {
        struct rlimit before;
        bool is_made;
};

/* As far as the hard limit and the privileges go. */
void room_make(struct room *room);

/* Does nothing if none was made. May be called from a signal handler. */
void room_give_back(struct room *room);
