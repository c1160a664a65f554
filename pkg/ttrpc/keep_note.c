/* SPDX-License-Identifier: Apache-2.0
 *
 * Notes of streams: see keep.h. A place belongs to a call when both say so, by the number that no
 * two calls have; so an image that knows nothing of notes leaves none that would be taken for
 * another call's.
 */
#include <assert.h>

#include "pkg/base/chaos.h"
#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/limits.h"

_Static_assert(sizeof(struct keep_note) == KEEP_NOTE &&
                       sizeof(((struct keep_note *)NULL)->bytes) == TTRPC_NOTE_MAX,
               "notes fill what the area has left");
_Static_assert(KEEP_NOTES <= 32, "used_notes has a bit for each");
_Static_assert(offsetof(struct keep_area, notes) % 4096 == 0, "notes are pages of their own");

static uint32_t note_bit(unsigned note)
{
        return UINT32_C(1) << (note - 1);
}

static const struct keep_note *call_note(const struct keep_area *area, const struct keep_call *call)
{
        const struct keep_note *note;

        if (call->note == 0 || call->note > KEEP_NOTES)
                return NULL;
        note = &area->notes[call->note - 1];
        return note->seq == call->seq && note->len <= TTRPC_NOTE_MAX ? note : NULL;
}

void ttrpc_kept_note_found(struct ttrpc_kept *kept, const struct keep_call *call)
{
        if (call_note(kept->area, call))
                kept->used_notes |= note_bit(call->note);
}

void ttrpc_kept_note_gone(struct ttrpc_kept *kept, const struct keep_call *call)
{
        if (call_note(kept->area, call))
                kept->used_notes &= ~note_bit(call->note);
}

/* A place for the note of a call that has none. */
static bool note_new(struct ttrpc_kept *kept, struct keep_call *call)
{
        unsigned note = 1;

        while (note <= KEEP_NOTES && kept->used_notes & note_bit(note))
                note++;
        if (note > KEEP_NOTES)
                return false;
        kept->used_notes |= note_bit(note);
        kept->area->notes[note - 1].seq = call->seq;
        kept->area->notes[note - 1].len = 0;
        call->note = (uint8_t)note;
        return true;
}

uint8_t *ttrpc_kept_note_begin(struct ttrpc_kept *kept, int unit)
{
        struct keep_call *call = ttrpc_kept_call(kept, unit);

        kept->touched = true;
        if (!call_note(kept->area, call) && !note_new(kept, call))
                return NULL;
        CHAOS_POINT("frames");
        return kept->area->notes[call->note - 1].bytes;
}

void ttrpc_kept_note_end(struct ttrpc_kept *kept, int unit, size_t len)
{
        struct keep_note *note = &kept->area->notes[ttrpc_kept_call(kept, unit)->note - 1];

        assert(len <= TTRPC_NOTE_MAX);
        note->len = (uint32_t)len;
        CHAOS_POINT("frames");
}

const uint8_t *ttrpc_kept_note(const struct ttrpc_kept *kept, int unit, size_t *ret_len)
{
        const struct keep_note *note = call_note(kept->area, ttrpc_kept_call(kept, unit));

        if (!note || note->len == 0)
                return NULL;
        *ret_len = note->len;
        return note->bytes;
}
