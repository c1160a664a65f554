/* SPDX-License-Identifier: Apache-2.0
 *
 * See room.h. Above the hard limit there is only room with CAP_SYS_RESOURCE: getrlimit(2).
 */
#include "cmd/containerd-shim-belay-v2/room.h"

void room_make(struct room *room)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &room->before) < 0)
                return;
        limit = room->before;
        if (limit.rlim_cur == RLIM_INFINITY)
                return;
        limit.rlim_cur += ROOM_FDS;
        if (limit.rlim_cur > limit.rlim_max)
                limit.rlim_max = limit.rlim_cur;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
                limit = room->before;
                limit.rlim_cur = limit.rlim_max;
                if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                        return;
        }
        room->is_made = true;
}

void room_give_back(struct room *room)
{
        if (room->is_made)
                (void)setrlimit(RLIMIT_NOFILE, &room->before);
        room->is_made = false;
}
