/* SPDX-License-Identifier: Apache-2.0
 *
 * The store of events, as its two parts share it: event_store.c writes, event_load.c takes over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shim/event_memory.h"
#include "shim/event_store.h"

#define EVENT_STORE_NEW EVENT_STORE_FILE ".new"
#define EVENT_STORE_BAD EVENT_STORE_FILE ".unreadable"

struct event_store {
        int dir_fd;
        int fd;               /* -1: no file yet */
        uint32_t file_before; /* of the image before, as kept.h names it; 0: none */
        off_t end;
        off_t dead;
        size_t n_live; /* in the file */
        struct event_memory memory;
        size_t n_in_memory;
        size_t n_at_risk; /* with this image they are lost */
        uint64_t next_seq;

        bool is_settled;  /* the file is this image's; else nothing of it may be changed */
        struct list over; /* events that were loaded and are done with; for event_store_settle() */
        size_t n_lost;    /* of those that have happened; likewise */
        int why;          /* errno: why not all was loaded; likewise */
        size_t n_anew;    /* numbers below next_seq that event_store_renumber() gives anew */
        bool is_unreadable; /* the file is one that could not be read: it must not be overwritten */
};

/* All four return 0 or a negative errno. */
int event_store_open(struct event_store *store, int flags);
int event_store_open_new(struct event_store *store);

/* A file that could not be read gets another name; on failure it is where it was. */
int event_store_set_aside(struct event_store *store);

/* Appends an entry of so many bytes, or of the event: to the file, or to the memory. */
int event_store_to_file(struct event_store *store, struct task_event *event, const uint8_t *entry,
                        size_t len);
int event_store_to_memory(struct event_store *store, struct task_event *event, const uint8_t *entry,
                          size_t len);
