/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls of a kept connection that have no answer yet: see keep.h. A call owns the units that
 * its frame takes from the moment it is published in its first one until it is ended, and its note
 * (see keep_note.c) as long. Which units are taken is known twice: in the area, for the next image,
 * and in the connection's bits, for the search; the area is what counts, and the bits are made of
 * it.
 */
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/ttrpc/keep_store.h"

struct keep_call *ttrpc_kept_call(const struct ttrpc_kept *kept, int unit)
{
        return area_call(kept->area, (size_t)unit);
}

static void units_mark(struct ttrpc_kept *kept, size_t unit, size_t n)
{
        for (size_t i = unit; i < unit + n; i++)
                kept->used[i / 64] |= bit_of(i);
}

/* The first n free units in a row, or KEEP_UNITS. */
static size_t units_find(const struct ttrpc_kept *kept, size_t n)
{
        size_t n_free = 0;

        for (size_t i = 0; i < KEEP_UNITS; i++) {
                if (n_free == 0 && i % 64 == 0 && kept->used[i / 64] == UINT64_MAX) {
                        i += 63;
                        continue;
                }
                n_free = kept->used[i / 64] & bit_of(i) ? 0 : n_free + 1;
                if (n_free == n)
                        return i + 1 - n;
        }
        return KEEP_UNITS;
}

int ttrpc_kept_call_unkept(struct ttrpc_kept *kept)
{
        PUBLISH(&kept->area->n_unkept, LOOK(&kept->area->n_unkept) + 1);
        CHAOS_POINT("frames");
        return KEEP_UNKEPT;
}

int ttrpc_kept_call_add(struct ttrpc_kept *kept, const uint8_t *frame, size_t len)
{
        size_t n = units_of((uint32_t)len);
        size_t unit = units_find(kept, n);
        struct keep_call *call;

        if (unit == KEEP_UNITS)
                return ttrpc_kept_call_unkept(kept);
        call = area_call(kept->area, unit);
        call->seq = ++kept->keep->head->seq;
        call->deadline_ns = 0;
        call->len = (uint32_t)len;
        call->heard = 0;
        call->half_closed = 0;
        call->note = 0;
        memcpy(call->frame, frame, len);
        units_mark(kept, unit, n);
        CHAOS_POINT("frames");
        PUBLISH(&kept->area->calls[unit], KEEP_CALL_NEW);
        CHAOS_POINT("frames");
        return (int)unit;
}

enum keep_call_state ttrpc_kept_call_state(const struct ttrpc_kept *kept, int unit)
{
        return (enum keep_call_state)LOOK(&kept->area->calls[unit]);
}

void ttrpc_kept_call_set(struct ttrpc_kept *kept, int unit, enum keep_call_state state)
{
        if (unit < 0)
                return;
        PUBLISH(&kept->area->calls[unit], state);
        CHAOS_POINT("frames");
}

void ttrpc_kept_call_end(struct ttrpc_kept *kept, int unit)
{
        struct keep_area *area = kept->area;
        size_t n;

        if (unit == KEEP_UNKEPT)
                PUBLISH(&area->n_unkept, LOOK(&area->n_unkept) - 1);
        if (unit < 0)
                return;
        PUBLISH(&area->calls[unit], KEEP_CALL_FREE);
        CHAOS_POINT("frames");
        n = units_of(ttrpc_kept_call(kept, unit)->len);
        for (size_t i = (size_t)unit; i < (size_t)unit + n; i++)
                kept->used[i / 64] &= ~bit_of(i);
        ttrpc_kept_note_gone(kept, ttrpc_kept_call(kept, unit));
}

void ttrpc_kept_calls_found(struct ttrpc_kept *kept)
{
        uint64_t answering = LOOK(&kept->area->answering);

        /* An answer was queued, and its call not yet taken off. */
        if (pair_first(answering) != 0 && pair_end(answering) == pair_end(LOOK(&kept->area->out)))
                PUBLISH(&kept->area->calls[pair_first(answering) - 1], KEEP_CALL_FREE);
        PUBLISH(&kept->area->answering, 0);
        for (size_t i = 0; i < KEEP_UNITS; i++) {
                const struct keep_call *call = area_call(kept->area, i);

                if (LOOK(&kept->area->calls[i]) == KEEP_CALL_FREE)
                        continue;
                units_mark(kept, i, units_of(call->len));
                ttrpc_kept_note_found(kept, call);
        }
}
