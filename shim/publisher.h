/* SPDX-License-Identifier: Apache-2.0
 *
 * Hands events to containerd, in order: one queue, one event under way, and the next only when that
 * one was accepted. While containerd is away the queue waits, for as long as it takes; beyond
 * LIMIT_EVENTS_QUEUED the oldest are given up and counted. Nothing here ever blocks or fails an
 * exit. The queue is also in the bundle (event_store.h), so that it outlives the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

#include "shim/events.h"

struct publisher;

struct publisher_options {
        struct loop *loop;
        const char *address;           /* "" or NULL: events are dropped */
        const char *runtime_namespace; /* goes with every event */
        int dir_fd;                    /* of the bundle, for event_store.h; borrowed. -1: none */
        void *memory;                  /* that outlives the process image, for event_store.h; */
        size_t memory_size;            /* NULL: none */
        void *keep;                    /* TTRPC_KEEP_BYTES(1) that outlive the process image, for */
        size_t keep_size;              /* what is on its way to containerd; NULL: nothing is kept */
        uint64_t attempt_ns;           /* one attempt */
        uint64_t backoff_min_ns;       /* before the second attempt; doubled up to backoff_max_ns */
        uint64_t backoff_max_ns;
};

/* The strings are copied. Nothing is connected before the first event. */
int publisher_new(struct publisher **ret, const struct publisher_options *options,
                  struct error *err);

/*
 * Takes over what an earlier process of this shim has left in the bundle; before anything is
 * published. until_seq: as in event_store_load(); n_lost: what that process has counted. An event
 * that was on its way is not sent again if the connection goes on: its answer is waited for. Fails
 * for want of memory or of a descriptor. Until publisher_resume() nothing has an effect, so another
 * image can try then; until it does the publisher must not be freed.
 */
int publisher_restore(struct publisher *publisher, uint64_t until_seq, uint64_t n_lost,
                      struct error *err);

/* Before it: the descriptor that the file had there, as kept.h names it, for when it has no name
 * any more. 0: none. */
void publisher_set_file(struct publisher *publisher, uint32_t number);

/* From here on this image publishes. What of the file could not be read, or was never in it, is
 * counted as lost, and the log says so. */
void publisher_resume(struct publisher *publisher);

/* Just before the first commit behind it: see event_store_renumber(). */
void publisher_renumber(struct publisher *publisher);

/* What is still queued stays in the bundle; the log says how much. */
struct publisher *publisher_free(struct publisher *publisher);

/* Queues an event, which it owns from now on. NULL (no memory for the event) counts as lost. */
void publisher_publish_take(struct publisher *publisher, struct task_event *event);

/* False when an event is on its way of which another image would not know whether containerd has
 * it. */
bool publisher_is_quiet(const struct publisher *publisher);

/* Holds back what is not on its way, or lets it go on. */
void publisher_hold(struct publisher *publisher, bool hold);

/* The descriptor of the file, or -1. */
int publisher_file(const struct publisher *publisher);

/* The number of the next event: all below it have happened. */
uint64_t publisher_next_seq(const struct publisher *publisher);

/* Events that containerd has not accepted yet. */
size_t publisher_n_queued(const struct publisher *publisher);

/* Of them, those that only a program knows of that knows VAULT_QUEUE. */
size_t publisher_n_in_memory(const struct publisher *publisher);

/* Of them, those that would be lost with this process image: there was no room for them. */
size_t publisher_n_at_risk(const struct publisher *publisher);

/* Those that were given up, refused for good or had no memory, since the shim began. */
uint64_t publisher_n_lost(const struct publisher *publisher);

/* fn runs once, from the loop, when nothing is queued; at the end of this round if that is so now.
 * Clear with NULL. */
void publisher_on_idle(struct publisher *publisher, void (*fn)(void *userdata), void *userdata);
