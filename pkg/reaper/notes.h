/* SPDX-License-Identifier: Apache-2.0
 *
 * Exits as they are noted in memory that outlives an execve: a header, and slots that are used or
 * free. A slot is filled first and becomes used by one store, so at every instruction an exit is
 * noted as a whole or not at all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/reaper/reaper.h"

struct reaped {
        struct reaper_exit exit;
        uint64_t seq; /* order of reaping, of all images whose notes are there */
};

struct notes {
        struct notes_memory *memory; /* NULL: nothing is noted */
        size_t room;                 /* slots */
        size_t n;                    /* of which the first so many may be used */
};

int notes_open(struct notes *ret, void *memory, size_t size, struct error *err);

/* One with the same pid is replaced: the pid was used again, or an image has died before it could
 * reap what it had noted. Without room the oldest that was delivered goes for it, else the oldest.
 */
void notes_add(struct notes *notes, const struct reaped *reaped);
void notes_set_delivered(struct notes *notes, pid_t pid);
void notes_remove(struct notes *notes, pid_t pid);
void notes_remove_delivered(struct notes *notes);

/* In no order. False behind the last. */
bool notes_next(const struct notes *notes, size_t *i, struct reaped *ret);
