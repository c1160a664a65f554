/* SPDX-License-Identifier: Apache-2.0
 *
 * Events that containerd has not accepted yet, in the file `events` of the bundle: so they outlive
 * the shim's process, by a re-exec as by a crash. One entry per event, appended in order; one that
 * is accepted (or given up) is marked in place, and the file is emptied when all of them are.
 *
 * What cannot be written (a full disk) goes to memory that outlives the process image
 * (event_memory.h), each by itself: when the disk has room again the next one is in the file. What
 * that has no room for either is only noted there: it is sent as long as this image lives, and the
 * next one counts it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

#include "shim/events.h"

#define EVENT_STORE_FILE "events"

struct event_store;

/* dir_fd: of the bundle, borrowed, as are the bytes that outlive the process image (NULL: none).
 * Nothing is read or written yet. NULL without memory. */
struct event_store *event_store_new(int dir_fd, void *memory, size_t memory_size);

/* The file stays if it holds events, or is not this image's yet, and is removed if not. */
struct event_store *event_store_free(struct event_store *store);

/* Before it: the descriptor that the file of the image before has, as kept.h names it. It is taken
 * where there is no file of that name: the bundle may have been removed. 0: none. */
void event_store_set_file(struct event_store *store, uint32_t number);

/* The descriptor of the file, or -1. */
int event_store_file(const struct event_store *store);

/*
 * Instead of a fresh file, takes over the one that is there, and the memory: each event that is not
 * marked is appended to the queue, whose owner owns it; one that is only noted has no topic. Those
 * from until_seq on never happened as far as the shim's state says, and are dropped; what lies
 * behind a damaged entry, or one that cannot be read, is lost. No file is no event. *ret_lost: as
 * event_store_set_lost() was told last.
 *
 * It only reads. So another image can try when this one fails, which is for want of memory or of a
 * descriptor: then some events may be in the queue.
 */
int event_store_load(struct event_store *store, uint64_t until_seq, struct list *queue,
                     uint64_t *ret_lost, struct error *err);

/*
 * Behind it, and before anything is added or removed: cuts off what was not loaded; a file that
 * could not be read to its end (EIO) is kept as `events.unreadable`, and what was loaded goes into
 * a new one. queue: that, in order. *ret_lost: events that have happened and were not there, as far
 * as that can be known, and one at least of a file of which nothing could be read. An error tells
 * why; the store is fit for use either way.
 */
int event_store_settle(struct event_store *store, struct list *queue, size_t *ret_lost,
                       struct error *err);

/* The numbers of lost events are given anew, so that the next image does not miss them, too; unless
 * one behind them has been given. Only just before the state says so: an event with such a number
 * would have happened, as far as the state that there is says. */
void event_store_renumber(struct event_store *store);

/* Appends; event->seq is set, also on failure: the error tells why the event is not in the file,
 * and where it is. Before the first one a file of another shim is emptied. */
int event_store_add(struct event_store *store, struct task_event *event, struct error *err);

/*
 * So many events have been lost, of all; the next image hears it. The last one is `event`, which is
 * removed next: if it is found all the same it is counted and no event. NULL: it has no entry, or
 * has been removed.
 */
void event_store_set_lost(struct event_store *store, uint64_t n, const struct task_event *event);

/* Marks it as done; is_first: it is the first in the queue. */
void event_store_remove(struct event_store *store, struct task_event *event, bool is_first);

/* Makes the file smaller when most of it is done with; queue: the events that are not, in order. */
void event_store_tidy(struct event_store *store, struct list *queue);

/* How many are in the memory, or only noted there. */
size_t event_store_n_in_memory(const struct event_store *store);

/* How many are as a whole nowhere else. */
size_t event_store_n_at_risk(const struct event_store *store);

/* The number that the next event gets: all below it have been added. */
uint64_t event_store_next_seq(const struct event_store *store);
