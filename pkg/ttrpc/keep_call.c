/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls of a kept connection that have no answer yet: see keep.h. A call owns the units that
 * its frame takes from the moment it is published in its first one until it is ended, and its note
 * (see keep_note.c) as long. Which units are taken is known twice: in the area, for the next image,
 * and in the connection's bits, for the search; the area is what counts, and the bits are made of
 * it. No call lies in two areas.
 */
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/ttrpc/keep_store.h"
#include "pkg/ttrpc/wire.h"

struct keep_call *ttrpc_kept_call(const struct ttrpc_kept *kept, int unit)
{
        return area_call(unit_area(kept, unit), (size_t)unit % KEEP_UNITS);
}

int ttrpc_kept_n_units(const struct ttrpc_kept *kept)
{
        return (int)(1 + kept->n_more) * KEEP_UNITS;
}

enum { KEEP_LARGE = 20 }; /* units: more than any request without its payload takes */

_Static_assert((size_t)KEEP_LARGE *KEEP_UNIT >=
                       sizeof(struct keep_call) + TTRPC_HEADER_SIZE + KEEP_BRIEF_MAX,
               "a call without its payload is not large");

static void units_mark(struct ttrpc_kept *kept, int unit, size_t n)
{
        uint64_t *used = unit_used(kept, unit);
        size_t first = (size_t)unit % KEEP_UNITS;

        for (size_t i = first; i < first + n; i++)
                used[i / 64] |= bit_of(i);
}

/* The first n free units in a row of one area, below an end, or -1. */
static int area_find(const uint64_t *used, size_t n, size_t end)
{
        size_t n_free = 0;

        for (size_t i = 0; i < end; i++) {
                if (n_free == 0 && i % 64 == 0 && used[i / 64] == UINT64_MAX) {
                        i += 63;
                        continue;
                }
                n_free = used[i / 64] & bit_of(i) ? 0 : n_free + 1;
                if (n_free == n)
                        return (int)(i + 1 - n);
        }
        return -1;
}

/* Large requests leave half of the area to the rest; the rest has as many areas as it takes. */
static int units_find(struct ttrpc_kept *kept, size_t n)
{
        if (n > KEEP_LARGE)
                return area_find(kept->used, n, KEEP_UNITS / 2);
        for (int from = 0;; from += KEEP_UNITS) {
                int unit;

                if (from == ttrpc_kept_n_units(kept) && !ttrpc_kept_more_add(kept))
                        return -1;
                unit = area_find(unit_used(kept, from), n, KEEP_UNITS);
                if (unit >= 0)
                        return from + unit;
        }
}

/* It will need its payload if it is dispatched again. */
static bool lacks_payload(const struct keep_call *call)
{
        return (call->flags & (KEEP_CALL_BRIEF | KEEP_CALL_HEARD)) == KEEP_CALL_BRIEF;
}

static void count_brief(struct ttrpc_kept *kept, int more)
{
        kept->n_brief += (unsigned)more;
        kept->keep->n_brief += (unsigned)more;
        ttrpc_keep_publish_layout(kept->keep);
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
        int unit = units_find(kept, n);
        struct keep_call *call;

        if (unit < 0)
                return KEEP_UNKEPT;
        kept->touched = true;
        call = ttrpc_kept_call(kept, unit);
        call->seq = ++kept->keep->head->seq;
        call->deadline_ns = 0;
        call->len = (uint32_t)len;
        call->flags = flags;
        call->half_closed = 0;
        call->note = 0;
        memcpy(call->frame, frame, len);
        units_mark(kept, unit, n);
        if (lacks_payload(call))
                count_brief(kept, 1);
        CHAOS_POINT("frames");
        PUBLISH(unit_state(kept, unit), state);
        CHAOS_POINT("frames");
        return unit;
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
        for (int i = 0; frame->type == TTRPC_FRAME_REQUEST && i < ttrpc_kept_n_units(kept); i++) {
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
        return (enum keep_call_state)LOOK(unit_state(kept, unit));
}

void ttrpc_kept_call_set(struct ttrpc_kept *kept, int unit, enum keep_call_state state)
{
        if (unit < 0)
                return;
        PUBLISH(unit_state(kept, unit), state);
        CHAOS_POINT("frames");
}

void ttrpc_kept_call_heard(struct ttrpc_kept *kept, int unit)
{
        struct keep_call *call = ttrpc_kept_call(kept, unit);
        bool lacked = lacks_payload(call);

        call->flags |= KEEP_CALL_HEARD;
        if (lacked)
                count_brief(kept, -1);
}

void ttrpc_kept_call_end(struct ttrpc_kept *kept, int unit)
{
        struct keep_area *area = kept->area;
        const struct keep_call *call;
        uint64_t *used;
        size_t first;

        if (unit == KEEP_UNKEPT)
                PUBLISH(&area->n_unkept, LOOK(&area->n_unkept) - 1);
        if (unit < 0)
                return;
        PUBLISH(unit_state(kept, unit), KEEP_CALL_FREE);
        CHAOS_POINT("frames");
        call = ttrpc_kept_call(kept, unit);
        used = unit_used(kept, unit);
        first = (size_t)unit % KEEP_UNITS;
        for (size_t i = first; i < first + units_of(call->len); i++)
                used[i / 64] &= ~bit_of(i);
        if (lacks_payload(call))
                count_brief(kept, -1);
        ttrpc_kept_note_gone(kept, call);
}

void ttrpc_kept_calls_found(struct ttrpc_kept *kept)
{
        uint64_t answering = LOOK(&kept->area->answering);

        /* An answer was queued, and its call not yet taken off. */
        if (pair_first(answering) != 0 && pair_end(answering) == pair_end(LOOK(&kept->area->out)))
                PUBLISH(unit_state(kept, (int)pair_first(answering) - 1), KEEP_CALL_FREE);
        PUBLISH(&kept->area->answering, 0);
        for (int i = 0; i < ttrpc_kept_n_units(kept); i++) {
                const struct keep_call *call = ttrpc_kept_call(kept, i);

                if (ttrpc_kept_call_state(kept, i) == KEEP_CALL_FREE)
                        continue;
                units_mark(kept, i, units_of(call->len));
                if (lacks_payload(call))
                        count_brief(kept, 1);
                ttrpc_kept_note_found(kept, call);
        }
}
