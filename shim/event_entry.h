/* SPDX-License-Identifier: Apache-2.0
 *
 * One entry of the file of events (event_store.h) or of their memory (event_memory.h), as bytes: a
 * header and a packed belay.state.v1.Event. Numbers are little-endian.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shim/events.h"

/* Where in an entry stands whether it is live: 1, or 0 when it is done with. */
enum { EVENT_ENTRY_LIVE_AT = 8 };

struct event_entry_head {
        uint32_t magic;
        uint32_t len; /* of what follows */
        uint8_t live;
        uint8_t zero[3];
};

/* Room for the entry of a stub. */
enum { EVENT_STUB_BYTES = sizeof(struct event_entry_head) + 11 };

/* The live entry of an event, on the heap; NULL without memory. */
uint8_t *event_entry_pack(const struct task_event *event, size_t *ret_len);

/* The same with nothing but its number: that there is such an event. Read again it has no topic.
 * Returns its length. */
size_t event_entry_pack_stub(const struct task_event *event, uint8_t ret[static EVENT_STUB_BYTES]);

/* The entry at `at`; 1 and the event (NULL: a dead one), 0 at the end; -EBADMSG for a damaged one,
 * -ENOMEM. */
int event_entry_read(const uint8_t *text, size_t len, size_t at, struct task_event **ret,
                     size_t *ret_len);
