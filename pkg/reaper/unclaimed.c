/* SPDX-License-Identifier: Apache-2.0
 *
 * See unclaimed.h. What has grown shrinks when nothing is left.
 */
#include "pkg/reaper/unclaimed.h"

#include <stdlib.h>
#include <string.h>

#include "pkg/base/limits.h"

enum { ROOM_INITIAL = 32 };

int unclaimed_init(struct unclaimed *u)
{
        *u = (struct unclaimed){.exits = calloc(ROOM_INITIAL, sizeof(*u->exits))};
        if (!u->exits)
                return -1;
        u->room = ROOM_INITIAL;
        return 0;
}

void unclaimed_deinit(struct unclaimed *u)
{
        free(u->exits);
        *u = (struct unclaimed){.exits = NULL};
}

int unclaimed_reserve(struct unclaimed *u, size_t n)
{
        size_t room = u->room;
        struct reaped *grown;

        if (n > LIMIT_KEPT_EXITS)
                n = LIMIT_KEPT_EXITS;
        while (room < n)
                room *= 2;
        if (room == u->room)
                return 0;
        grown = realloc(u->exits, room * sizeof(*grown));
        if (!grown)
                return -1;
        u->exits = grown;
        u->room = room;
        return 0;
}

void unclaimed_remove(struct unclaimed *u, size_t i)
{
        u->n--;
        memmove(&u->exits[i], &u->exits[i + 1], (u->n - i) * sizeof(*u->exits));
}

bool unclaimed_find(const struct unclaimed *u, pid_t pid, size_t *ret_index)
{
        for (size_t i = 0; i < u->n; i++) {
                if (u->exits[i].exit.pid == pid) {
                        *ret_index = i;
                        return true;
                }
        }
        return false;
}

void unclaimed_add(struct unclaimed *u, const struct reaped *reaped, struct notes *notes)
{
        size_t i;

        if (unclaimed_find(u, reaped->exit.pid, &i))
                unclaimed_remove(u, i);
        (void)unclaimed_reserve(u, u->n + 1);
        if (u->n == u->room) {
                notes_remove(notes, u->exits[0].exit.pid);
                unclaimed_remove(u, 0);
        }
        for (i = u->n; i > 0 && u->exits[i - 1].seq > reaped->seq; i--)
                u->exits[i] = u->exits[i - 1];
        u->exits[i] = *reaped;
        u->n++;
}

void unclaimed_forget(struct unclaimed *u, uint64_t from, struct notes *notes)
{
        struct reaped *shrunk;
        size_t n = 0;

        for (; n < u->n && u->exits[n].seq < from; n++)
                notes_remove(notes, u->exits[n].exit.pid);
        if (n == 0)
                return;
        u->n -= n;
        memmove(u->exits, u->exits + n, u->n * sizeof(*u->exits));
        if (u->n > 0 || u->room == ROOM_INITIAL)
                return;
        shrunk = realloc(u->exits, ROOM_INITIAL * sizeof(*shrunk));
        if (!shrunk)
                return;
        u->exits = shrunk;
        u->room = ROOM_INITIAL;
}
