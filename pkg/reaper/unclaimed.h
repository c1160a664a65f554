/* SPDX-License-Identifier: Apache-2.0
 *
 * Exits of pids that nobody has heard of yet, in the order of reaping, at most LIMIT_KEPT_EXITS. To
 * find and to add one needs no memory; without it, and beyond the limit, the oldest goes for it:
 * whoever has made a child names it within a moment of its birth.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/reaper/notes.h"

struct unclaimed {
        struct reaped *exits;
        size_t n;
        size_t room;
};

int unclaimed_init(struct unclaimed *u); /* -1 without memory */
void unclaimed_deinit(struct unclaimed *u);

/* Makes room for n in all, within the limit; -1 without memory. */
int unclaimed_reserve(struct unclaimed *u, size_t n);

bool unclaimed_find(const struct unclaimed *u, pid_t pid, size_t *ret_index);

/* One with the same pid is replaced: the pid was used again. Of what goes for it the note goes,
 * too. */
void unclaimed_add(struct unclaimed *u, const struct reaped *reaped, struct notes *notes);

/* It is nobody's, or not unclaimed any more. */
void unclaimed_remove(struct unclaimed *u, size_t i);

/* Those of before `from` go, with their notes. */
void unclaimed_forget(struct unclaimed *u, uint64_t from, struct notes *notes);
