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
#include "pkg/ttrpc/wire.h"

struct keep_call *ttrpc_kept_call(const struct ttrpc_kept *kept, int unit)
{
        return area_call(kept->area, (size_t)unit);
}

enum { KEEP_LARGE = 20 }; /* units: more than any request without its payload takes */

_Static_assert((size_t)KEEP_LARGE *KEEP_UNIT >=
                       sizeof(struct keep_call) + TTRPC_HEADER_SIZE + KEEP_BRIEF_MAX,
               "a call without its payload is not large");

static void units_mark(struct ttrpc_kept *kept, size_t unit, size_t n)
{
        for (size_t i = unit; i < unit + n; i++)
                kept->used[i / 64] |= bit_of(i);
}

/* The first n free units in a row, or KEEP_UNITS. Large requests leave half of them to the rest. */
static size_t units_find(const struct ttrpc_kept *kept, size_t n)
{
        size_t n_free = 0;

        for (size_t i = 0; i < (n > KEEP_LARGE ? KEEP_UNITS / 2 : KEEP_UNITS); i++) {
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

static int call_unkept(struct ttrpc_kept *kept)
{
        PUBLISH(&kept->area->n_unkept, LOOK(&kept->area->n_unkept) + 1);
        CHAOS_POINT("frames");
        return KEEP_UNKEPT;
}

static int call_new(struct ttrpc_kept *kept, const uint8_t *frame, size_t len, uint16_t flags,
                    enum keep_call_state state)
{
        size_t n = units_of((uint32_t)len);
        size_t unit = units_find(kept, n);
        struct keep_call *call;

        if (unit == KEEP_UNITS)
                return KEEP_UNKEPT;
        kept->touched = true;
        call = area_call(kept->area, unit);
        call->seq = ++kept->keep->head->seq;
        call->deadline_ns = 0;
        call->len = (uint32_t)len;
        call->flags = flags;
        call->half_closed = 0;
        call->note = 0;
        memcpy(call->frame, frame, len);
        units_mark(kept, unit, n);
        CHAOS_POINT("frames");
        PUBLISH(&kept->area->calls[unit], state);
        CHAOS_POINT("frames");
        return (int)unit;
}

int ttrpc_kept_call_add_brief(struct ttrpc_kept *kept, uint32_t id, uint8_t flags,
                              const uint8_t *body, size_t len)
{
        uint8_t bytes[TTRPC_HEADER_SIZE + KEEP_BRIEF_MAX];
        struct ttrpc_frame frame = {.stream_id = id, .type = TTRPC_FRAME_REQUEST, .flags = flags};
        int unit;

        if (body)
                frame.length = (uint32_t)ttrpc_wire_request_strip(
                        body, len, bytes + TTRPC_HEADER_SIZE, KEEP_BRIEF_MAX);
        ttrpc_frame_encode(&frame, bytes);
        unit = call_new(kept, bytes, TTRPC_HEADER_SIZE + frame.length, KEEP_CALL_BRIEF,
                        KEEP_CALL_RUNNING);
        return unit >= 0 ? unit : call_unkept(kept);
}

int ttrpc_kept_call_add(struct ttrpc_kept *kept, const uint8_t *frame, size_t len)
{
        struct ttrpc_frame head = ttrpc_frame_decode(frame);
        int unit = call_new(kept, frame, len, 0, KEEP_CALL_NEW);

        if (unit >= 0)
                return unit;
        return ttrpc_kept_call_add_brief(kept, head.stream_id, head.flags,
                                         frame + TTRPC_HEADER_SIZE, len - TTRPC_HEADER_SIZE);
}

bool ttrpc_kept_call_is_noted(const struct ttrpc_kept *kept, const struct ttrpc_frame *frame)
{
        for (int i = 0; frame->type == TTRPC_FRAME_REQUEST && i < KEEP_UNITS; i++) {
                const struct keep_call *call = ttrpc_kept_call(kept, i);

                if (ttrpc_kept_call_state(kept, i) == KEEP_CALL_RUNNING &&
                    call->flags & KEEP_CALL_BRIEF &&
                    ttrpc_frame_decode(call->frame).stream_id == frame->stream_id)
                        return true;
        }
        return false;
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
