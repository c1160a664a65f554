/* SPDX-License-Identifier: Apache-2.0
 *
 * Exits as they are noted in memory that outlives an execve: a header, and slots that are used or
 * free. A slot is filled first and becomes used by one store, so at every instruction an exit is
 * noted as a whole or not at all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"
#include "pkg/reaper/reaper.h"

struct notes {
        struct notes_memory *memory; /* NULL: nothing is noted */
        size_t room;                 /* slots */
        size_t n;                    /* of which the first so many may be used */
};

int notes_open(struct notes *ret, void *memory, size_t size, struct error *err);

/* One with the same pid is replaced: the pid was used again, or an image has died before it could
 * reap what it had noted. */
void notes_add(struct notes *notes, const struct reaper_exit *exit);
void notes_set_delivered(struct notes *notes, pid_t pid);
void notes_remove(struct notes *notes, pid_t pid);
void notes_remove_delivered(struct notes *notes);

/* False behind the last. */
bool notes_next(const struct notes *notes, size_t *i, struct reaper_exit *ret);
