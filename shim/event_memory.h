/* SPDX-License-Identifier: Apache-2.0
 *
 * Events in memory that outlives the process image (a region of pkg/state): those for which there
 * is no room on the disk, and what the file of events cannot tell: how many were lost, and what was
 * done with when it could not be marked. Entries (event_entry.h) stand in a ring, in order; one is
 * there from the store of the ring's end on, and none is changed but for its mark. So whoever finds
 * it after a crash finds each as a whole or not at all.
 *
 * Nothing is touched before there is something to be kept, since a page that is read is a page that
 * is there. A page for which there is no memory is an error, and no signal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

struct event_memory {
        struct event_memory_shared *shared; /* NULL: there is none */
        size_t room;                        /* of the ring */
        bool is_begun;                      /* its first page is there, and has been written to */
};

/* Takes note of it alone; it stays the caller's. NULL: there is none, and nothing can be kept. */
void event_memory_init(struct event_memory *memory, void *region, size_t size);

/* Of the process image before, whatever it has left. Changes nothing. UNIMPLEMENTED for another
 * layout, DATA_LOSS for what is none. */
int event_memory_look(struct event_memory *memory, struct error *err);

/* One more entry, if so many bytes are free then; *ret_at: its place. 0 or a negative errno. */
int event_memory_add(struct event_memory *memory, const uint8_t *entry, size_t len, size_t left,
                     uint64_t *ret_at);

/* Marks it as done. */
void event_memory_remove(struct event_memory *memory, uint64_t at);

/* A copy of what is in the ring, on the heap, and where it begins. 0, also with nothing; or a
 * negative errno. */
int event_memory_copy(const struct event_memory *memory, uint8_t **ret, size_t *ret_len,
                      uint64_t *ret_at);

/* So many were lost, and the last of them is the one with this number (0: it has none), which may
 * be found as if it were not. */
void event_memory_set_lost(struct event_memory *memory, uint32_t n, uint64_t seq);
uint32_t event_memory_lost(const struct event_memory *memory, uint32_t *ret_seq);

/* All up to this number are done with, as whatever they may be found. */
void event_memory_set_done(struct event_memory *memory, uint64_t seq);
uint64_t event_memory_done(const struct event_memory *memory);
