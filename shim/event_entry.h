/* SPDX-License-Identifier: Apache-2.0
 *
 * One entry of the file of events (event_store.h), as bytes: a header of 12 (all numbers
 * little-endian) and a packed belay.state.v1.Event.
 *
 *   magic 4 | length of the rest 4 | live 1 | 0 0 0
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shim/events.h"

/* Where in an entry stands whether it is live: 1, or 0 when it is done with. */
enum { EVENT_ENTRY_LIVE_AT = 8 };

/* The live entry of an event, on the heap; NULL without memory. */
uint8_t *event_entry_pack(const struct task_event *event, size_t *ret_len);

/* The entry at `at`; 1 and the event (NULL: a dead one), 0 at the end; -EBADMSG for a damaged one,
 * -ENOMEM. */
int event_entry_read(const uint8_t *text, size_t len, size_t at, struct task_event **ret,
                     size_t *ret_len);
