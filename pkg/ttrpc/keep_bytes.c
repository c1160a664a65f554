/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a kept connection: what was read and not yet taken, and what is queued and not yet
 * sent; see keep.h. What is read lies nowhere else: the connection reads into the area, and borrows
 * from there until it reads again. What is queued is a copy: pkg/ttrpc/out.c owns the bytes that it
 * sends, and tells here what has come and gone. The ring's places only grow, so the end of an
 * answer or of a request says by itself whether all of it was queued.
 */
#include <stddef.h>
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/ttrpc/keep_store.h"
#include "pkg/ttrpc/limits.h"

_Static_assert(KEEP_ANNEX_IN >= TTRPC_HEADER_SIZE + TTRPC_MESSAGE_MAX && KEEP_ANNEX_IN >= KEEP_IN,
               "every frame that is heard has room, and what was read of one that is not");
_Static_assert(KEEP_ANNEX_OUT == TTRPC_QUEUED_BYTES_MAX, "all that may be queued has room");
_Static_assert(KEEP_IN - TTRPC_READ_MAX - KEEP_FRAME_MAX >= KEEP_FRAME_MAX,
               "what is moved to the front does not overlap itself");

/* ---- In ---- */

uint8_t *ttrpc_kept_in_room(struct ttrpc_kept *kept)
{
        struct keep_area *area = kept->area;
        uint64_t in = LOOK(&area->in);
        uint32_t len = pair_end(in) - pair_first(in);

        kept->touched = true;
        if (len == 0) {
                PUBLISH(&area->in, 0);
        } else if (pair_end(in) > KEEP_IN - TTRPC_READ_MAX) {
                memcpy(area->in_bytes, area->in_bytes + pair_first(in), len);
                CHAOS_POINT("frames");
                PUBLISH(&area->in, pair(0, len));
        }
        CHAOS_POINT("frames");
        return area->in_bytes + pair_end(LOOK(&area->in));
}

void ttrpc_kept_in_add(struct ttrpc_kept *kept, size_t n)
{
        uint64_t in = LOOK(&kept->area->in);

        PUBLISH(&kept->area->in, pair(pair_first(in), pair_end(in) + (uint32_t)n));
        CHAOS_POINT("frames");
}

const uint8_t *ttrpc_kept_in(const struct ttrpc_kept *kept, size_t *ret_len)
{
        uint64_t in = LOOK(&kept->area->in);

        *ret_len = pair_end(in) - pair_first(in);
        return kept->area->in_bytes + pair_first(in);
}

void ttrpc_kept_in_take(struct ttrpc_kept *kept, size_t n)
{
        uint64_t in = LOOK(&kept->area->in);

        CHAOS_POINT("frames");
        PUBLISH(&kept->area->in, pair(pair_first(in) + (uint32_t)n, pair_end(in)));
        CHAOS_POINT("frames");
}

/* An annex with memory for the frame, or for as much of it as is not thrown away. */
static struct keep_annex *frame_annex(struct ttrpc_kept *kept, const uint8_t *data, size_t len)
{
        size_t whole = TTRPC_HEADER_SIZE + (size_t)ttrpc_frame_decode(data).length;
        size_t n = whole <= TTRPC_HEADER_SIZE + TTRPC_MESSAGE_MAX ? whole : len;
        struct keep_annex *annex = ttrpc_kept_annex(kept);

        return annex && ttrpc_kept_annex_reserve(kept, annex, offsetof(struct keep_annex, in) + n)
                       ? annex
                       : NULL;
}

/* It is in the annex before it is there no more. */
uint8_t *ttrpc_kept_frame_begin(struct ttrpc_kept *kept, const uint8_t *data, size_t len)
{
        struct keep_annex *annex = frame_annex(kept, data, len);

        kept->touched = true;
        if (annex) {
                memcpy(annex->in, data, len);
                PUBLISH(&annex->in_len, len);
                CHAOS_POINT("frames");
        }
        ttrpc_kept_place(kept, &kept->area->in_large, annex ? KEEP_IN_ANNEX : KEEP_NOWHERE);
        ttrpc_kept_in_take(kept, len);
        return annex ? annex->in : NULL;
}

void ttrpc_kept_frame_add(struct ttrpc_kept *kept, size_t n)
{
        if (LOOK(&kept->area->in_large) != KEEP_IN_ANNEX)
                return;
        PUBLISH(&kept->annex->in_len, LOOK(&kept->annex->in_len) + n);
        CHAOS_POINT("frames");
}

void ttrpc_kept_frame_end(struct ttrpc_kept *kept)
{
        ttrpc_kept_place(kept, &kept->area->in_large, KEEP_IN_AREA);
        CHAOS_POINT("frames");
}

uint8_t *ttrpc_kept_frame(const struct ttrpc_kept *kept, size_t *ret_len)
{
        if (LOOK(&kept->area->in_large) != KEEP_IN_ANNEX)
                return NULL;
        *ret_len = LOOK(&kept->annex->in_len);
        return kept->annex->in;
}

/* ---- Out ---- */

struct ring {
        uint8_t *bytes;
        size_t size;
};

/* That which holds what is queued, but for KEEP_NOWHERE. */
static struct ring out_ring(const struct ttrpc_kept *kept)
{
        if (LOOK(&kept->area->out_large) == KEEP_IN_ANNEX)
                return (struct ring){kept->annex->out, KEEP_ANNEX_OUT};
        return (struct ring){kept->area->out_bytes, KEEP_OUT};
}

static void ring_put(struct ring ring, uint32_t place, const uint8_t *data, size_t len)
{
        size_t at = place % ring.size;
        size_t n = len < ring.size - at ? len : ring.size - at;

        memcpy(ring.bytes + at, data, n);
        memcpy(ring.bytes, data + n, len - n);
}

/* The annex, with memory for len bytes of the ring from a place on. */
static struct keep_annex *out_annex(struct ttrpc_kept *kept, uint32_t place, size_t len)
{
        struct keep_annex *annex = ttrpc_kept_annex(kept);
        size_t at = place % KEEP_ANNEX_OUT;
        size_t n = len < KEEP_ANNEX_OUT - at ? len : KEEP_ANNEX_OUT - at;

        return annex && ttrpc_kept_annex_reserve(kept, annex->out + at, n) &&
                               ttrpc_kept_annex_reserve(kept, annex->out, len - n)
                       ? annex
                       : NULL;
}

/* All that is queued goes to the annex, under its places, where there is room for more, too. */
static void out_move(struct ttrpc_kept *kept, size_t more)
{
        uint64_t out = LOOK(&kept->area->out);
        size_t len = pair_end(out) - pair_first(out);
        size_t at = pair_first(out) % KEEP_OUT;
        size_t n = len < KEEP_OUT - at ? len : KEEP_OUT - at;
        struct keep_annex *annex = out_annex(kept, pair_first(out), len + more);

        if (annex) {
                struct ring ring = {annex->out, KEEP_ANNEX_OUT};

                ring_put(ring, pair_first(out), kept->area->out_bytes + at, n);
                ring_put(ring, pair_first(out) + (uint32_t)n, kept->area->out_bytes, len - n);
                CHAOS_POINT("frames");
        }
        ttrpc_kept_place(kept, &kept->area->out_large, annex ? KEEP_IN_ANNEX : KEEP_NOWHERE);
        CHAOS_POINT("frames");
}

/* The call is noted first: who finds its answer in the ring knows by it that the call is over. */
void ttrpc_kept_out_add(struct ttrpc_kept *kept, const uint8_t *data, size_t len, int ends)
{
        struct keep_area *area = kept->area;
        uint64_t out = LOOK(&area->out);
        uint32_t end = pair_end(out) + (uint32_t)len;

        kept->touched = true;
        if (LOOK(&area->out_large) == KEEP_IN_AREA &&
            len > KEEP_OUT - (pair_end(out) - pair_first(out)))
                out_move(kept, len);
        else if (LOOK(&area->out_large) == KEEP_IN_ANNEX && !out_annex(kept, pair_end(out), len))
                ttrpc_kept_place(kept, &area->out_large, KEEP_NOWHERE);
        if (LOOK(&area->out_large) != KEEP_NOWHERE) {
                ring_put(out_ring(kept), pair_end(out), data, len);
                if (ends >= 0)
                        PUBLISH(&area->answering, pair((uint32_t)ends + 1, end));
                CHAOS_POINT("frames");
                PUBLISH(&area->out, pair(pair_first(out), end));
                CHAOS_POINT("frames");
        }
        ttrpc_kept_call_end(kept, ends);
        if (ends >= 0)
                PUBLISH(&area->answering, 0);
        CHAOS_POINT("frames");
}

void ttrpc_kept_ask(struct ttrpc_kept *kept, uint32_t id, uint64_t tag, size_t len)
{
        struct keep_area *area = kept->area;

        PUBLISH(&area->tags[id / 2 % 2], tag);
        PUBLISH(&area->asking, pair(id, pair_end(LOOK(&area->out)) + (uint32_t)len));
        CHAOS_POINT("frames");
}

void ttrpc_kept_asked(struct ttrpc_kept *kept, uint32_t id)
{
        PUBLISH(&kept->area->last_id, id);
        CHAOS_POINT("frames");
        PUBLISH(&kept->area->asking, 0);
        CHAOS_POINT("frames");
}

uint32_t ttrpc_kept_last_asked(const struct ttrpc_kept *kept, uint64_t *ret_tag)
{
        const struct keep_area *area = kept->area;
        uint64_t asking = LOOK(&area->asking);
        uint32_t last_id = LOOK(&area->last_id);

        /* It was queued, and not yet noted as such. */
        if (pair_first(asking) != 0 && pair_end(asking) == pair_end(LOOK(&area->out)))
                last_id = pair_first(asking);
        *ret_tag = last_id > 0 ? LOOK(&area->tags[last_id / 2 % 2]) : 0;
        return last_id;
}

void ttrpc_kept_asked_found(struct ttrpc_kept *kept)
{
        uint64_t tag;

        PUBLISH(&kept->area->last_id, ttrpc_kept_last_asked(kept, &tag));
        PUBLISH(&kept->area->asking, 0);
}

void ttrpc_kept_out_sent(struct ttrpc_kept *kept, size_t n, bool empty)
{
        struct keep_area *area = kept->area;
        uint64_t out = LOOK(&area->out);

        if (empty) {
                PUBLISH(&area->out, 0);
                ttrpc_kept_place(kept, &area->out_large, KEEP_IN_AREA);
        } else if (LOOK(&area->out_large) != KEEP_NOWHERE) {
                PUBLISH(&area->out, pair(pair_first(out) + (uint32_t)n, pair_end(out)));
        }
        CHAOS_POINT("frames");
}

size_t ttrpc_kept_out_len(const struct ttrpc_kept *kept)
{
        uint64_t out = LOOK(&kept->area->out);

        return pair_end(out) - pair_first(out);
}

void ttrpc_kept_out_copy(const struct ttrpc_kept *kept, uint8_t *ret)
{
        uint64_t out = LOOK(&kept->area->out);
        struct ring ring = out_ring(kept);
        size_t len = pair_end(out) - pair_first(out);
        size_t at = pair_first(out) % ring.size;
        size_t n = len < ring.size - at ? len : ring.size - at;

        memcpy(ret, ring.bytes + at, n);
        memcpy(ret + n, ring.bytes, len - n);
}
