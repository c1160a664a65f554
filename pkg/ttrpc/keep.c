/* SPDX-License-Identifier: Apache-2.0
 *
 * See keep.h. All stores that publish something are release stores, so that no compiler moves one
 * before what it stands for. One thread writes; the next process image reads.
 */
#include "pkg/ttrpc/keep.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pkg/base/chaos.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/ttrpc.h"

static const uint64_t keep_magic = UINT64_C(0x7065656b63707274); /* "trpckeep" */

enum { KEEP_LAYOUT = 1, KEEP_HEAD_BYTES = 4096 };

_Static_assert(sizeof(struct keep_area) == TTRPC_KEEP_BYTES(1) - TTRPC_KEEP_BYTES(0),
               "TTRPC_KEEP_BYTES tells the size");
_Static_assert(offsetof(struct keep_area, units) == 4096, "an area at rest is one page");
_Static_assert(sizeof(struct keep_head) + TTRPC_CONNECTIONS_MAX * sizeof(int32_t) <=
                       KEEP_HEAD_BYTES,
               "the head is one page");
_Static_assert(KEEP_IN - TTRPC_READ_MAX - KEEP_FRAME_MAX >= KEEP_FRAME_MAX,
               "what is moved to the front does not overlap itself");

#define PUBLISH(object, value) atomic_store_explicit(object, value, memory_order_release)
#define LOOK(object)           atomic_load_explicit(object, memory_order_acquire)

static uint64_t pair(uint32_t first, uint32_t end)
{
        return (uint64_t)first << 32 | end;
}

static uint32_t pair_first(uint64_t both)
{
        return (uint32_t)(both >> 32);
}

static uint32_t pair_end(uint64_t both)
{
        return (uint32_t)both;
}

int ttrpc_keep_new(struct ttrpc_keep **ret, void *memory, size_t size, struct error *err)
{
        struct keep_head *head = memory;
        struct ttrpc_keep *keep;
        size_t n_areas;

        if (size < TTRPC_KEEP_BYTES(1))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "ttrpc server: %zu bytes to keep its connections in: at least %zu",
                                 size, (size_t)TTRPC_KEEP_BYTES(1));
        n_areas = (size - KEEP_HEAD_BYTES) / sizeof(struct keep_area);
        if (n_areas > TTRPC_CONNECTIONS_MAX)
                n_areas = TTRPC_CONNECTIONS_MAX;
        if (head->magic == 0) {
                head->layout = KEEP_LAYOUT;
                head->n_areas = (uint32_t)n_areas;
                head->magic = keep_magic;
        }
        if (head->magic != keep_magic)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "ttrpc server: kept connections: not such memory");
        if (head->layout != KEEP_LAYOUT)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "ttrpc server: kept connections: layout %u, this program knows %d",
                                 head->layout, KEEP_LAYOUT);
        if (head->n_areas != n_areas)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "ttrpc server: kept connections: room for %u, must be %zu",
                                 head->n_areas, n_areas);
        keep = calloc(1, sizeof(*keep));
        if (!keep)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc server: no memory");
        keep->n_refs = 1;
        keep->head = head;
        keep->areas = (struct keep_area *)((uint8_t *)memory + KEEP_HEAD_BYTES);
        *ret = keep;
        return 0;
}

struct ttrpc_keep *ttrpc_keep_unref(struct ttrpc_keep *keep)
{
        if (keep && --keep->n_refs == 0)
                free(keep);
        return NULL;
}

int ttrpc_keep_listener(struct ttrpc_keep *keep, int fd)
{
        for (int i = 0; i < KEEP_LISTENERS; i++) {
                if (LOOK(&keep->head->listeners[i]) == 0) {
                        PUBLISH(&keep->head->listeners[i], fd + 1);
                        return i;
                }
        }
        return -1;
}

void ttrpc_keep_listener_gone(struct ttrpc_keep *keep, int index)
{
        if (index >= 0)
                PUBLISH(&keep->head->listeners[index], 0);
}

/* ---- Checking ---- */

/* What is no descriptor is none that is kept. */
static size_t keep_fds(const struct keep_head *head, int ret[], size_t n)
{
        size_t n_found = 0;

        for (size_t i = 0; i < KEEP_LISTENERS + TTRPC_CONNECTIONS_MAX; i++) {
                int32_t fd = 0;

                if (i < KEEP_LISTENERS)
                        fd = LOOK(&head->listeners[i]);
                else if (i - KEEP_LISTENERS < head->n_areas)
                        fd = LOOK(&head->conns[i - KEEP_LISTENERS]);
                if (fd > 0 && n_found++ < n)
                        ret[n_found - 1] = fd - 1;
        }
        return n_found;
}

static size_t units_of(uint32_t len)
{
        return (sizeof(struct keep_call) + len + KEEP_UNIT - 1) / KEEP_UNIT;
}

static struct keep_call *area_call(const struct keep_area *area, size_t unit)
{
        return (struct keep_call *)area->units[unit];
}

static int calls_check(const struct keep_area *area, unsigned slot, struct error *err)
{
        size_t unit = 0;
        size_t free_from = 0; /* the end of the call before */

        for (; unit < KEEP_UNITS; unit++) {
                const struct keep_call *call = area_call(area, unit);
                uint8_t state = LOOK(&area->calls[unit]);
                struct ttrpc_frame frame;

                if (state == KEEP_CALL_FREE)
                        continue;
                if (state >= _KEEP_CALL_STATE_MAX || unit < free_from ||
                    call->len < TTRPC_HEADER_SIZE || call->len > sizeof(area->units) ||
                    units_of(call->len) > KEEP_UNITS - unit)
                        break;
                frame = ttrpc_frame_decode(call->frame);
                if (frame.type != TTRPC_FRAME_REQUEST || frame.length > TTRPC_MESSAGE_MAX ||
                    TTRPC_HEADER_SIZE + frame.length != call->len)
                        break;
                free_from = unit + units_of(call->len);
        }
        if (unit < KEEP_UNITS)
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: call in unit %zu is damaged",
                                 slot, unit);
        return 0;
}

static int area_check(const struct keep_area *area, unsigned slot, struct error *err)
{
        uint64_t in = LOOK(&area->in);
        uint64_t out = LOOK(&area->out);

        if (pair_first(in) > pair_end(in) || pair_end(in) > KEEP_IN)
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: read from %u to %u", slot,
                                 pair_first(in), pair_end(in));
        if (pair_end(out) - pair_first(out) > KEEP_OUT)
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: queued from %u to %u", slot,
                                 pair_first(out), pair_end(out));
        if (LOOK(&area->answering) >> 32 > KEEP_UNITS)
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: the answered call is damaged",
                                 slot);
        return calls_check(area, slot, err);
}

int ttrpc_keep_check(const struct ttrpc_keep *keep, struct error *err)
{
        int fds[KEEP_LISTENERS + TTRPC_CONNECTIONS_MAX];
        size_t n = keep_fds(keep->head, fds, KEEP_LISTENERS + TTRPC_CONNECTIONS_MAX);

        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; k < i; k++) {
                        if (fds[i] == fds[k])
                                return error_set(err, STATUS_DATA_LOSS,
                                                 "ttrpc server: descriptor %d is kept twice",
                                                 fds[i]);
                }
        }
        for (unsigned i = 0; i < keep->head->n_areas; i++) {
                if (LOOK(&keep->head->conns[i]) > 0 && area_check(&keep->areas[i], i, err) < 0)
                        return -1;
        }
        return 0;
}

size_t ttrpc_kept_fds(const void *keep, size_t keep_size, int ret[], size_t n)
{
        const struct keep_head *head = keep;

        if (keep_size < TTRPC_KEEP_BYTES(1) || head->magic != keep_magic)
                return 0;
        return keep_fds(head, ret, n);
}

bool ttrpc_area_is_whole(const struct keep_area *area)
{
        return LOOK(&area->in_large) == 0 && LOOK(&area->out_large) == 0 &&
               LOOK(&area->n_unkept) == 0;
}

/* ---- Connections ---- */

static uint64_t *busy_word(struct ttrpc_keep *keep, unsigned slot)
{
        return &keep->busy[slot / 64];
}

static uint64_t bit_of(size_t i)
{
        return UINT64_C(1) << (i % 64);
}

static struct ttrpc_kept *kept_of(struct ttrpc_keep *keep, unsigned slot)
{
        struct ttrpc_kept *kept = calloc(1, sizeof(*kept));

        if (!kept)
                return NULL;
        keep->n_refs++;
        *busy_word(keep, slot) |= bit_of(slot);
        kept->keep = keep;
        kept->area = &keep->areas[slot];
        kept->slot = slot;
        kept->touched = true;
        return kept;
}

/* No allocation: an accepted socket is in here before anything else is done with it. */
int ttrpc_keep_conn(struct ttrpc_keep *keep, int fd)
{
        unsigned slot = 0;

        while (slot < keep->head->n_areas &&
               (LOOK(&keep->head->conns[slot]) != 0 || *busy_word(keep, slot) & bit_of(slot)))
                slot++;
        if (slot == keep->head->n_areas)
                return -1;
        memset(&keep->areas[slot], 0, offsetof(struct keep_area, units));
        PUBLISH(&keep->head->conns[slot], fd + 1);
        CHAOS_POINT("frames");
        return (int)slot;
}

void ttrpc_keep_conn_gone(struct ttrpc_keep *keep, int slot)
{
        if (slot >= 0)
                PUBLISH(&keep->head->conns[slot], 0);
}

static void units_mark(struct ttrpc_kept *kept, size_t unit, size_t n)
{
        for (size_t i = unit; i < unit + n; i++)
                kept->used[i / 64] |= bit_of(i);
}

struct ttrpc_kept *ttrpc_kept_of_slot(struct ttrpc_keep *keep, unsigned slot)
{
        struct ttrpc_kept *kept = kept_of(keep, slot);
        uint64_t answering;

        if (!kept)
                return NULL;
        /* An answer was queued, and its call not yet taken off. */
        answering = LOOK(&kept->area->answering);
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
        return kept;
}

void ttrpc_kept_close(struct ttrpc_kept *kept)
{
        if (!kept->closed)
                PUBLISH(&kept->keep->head->conns[kept->slot], 0);
        kept->closed = true;
        CHAOS_POINT("frames");
}

struct ttrpc_kept *ttrpc_kept_free(struct ttrpc_kept *kept)
{
        if (!kept)
                return NULL;
        ttrpc_kept_close(kept);
        ttrpc_kept_trim(kept);
        *busy_word(kept->keep, kept->slot) &= ~bit_of(kept->slot);
        ttrpc_keep_unref(kept->keep);
        free(kept);
        return NULL;
}

void ttrpc_kept_half_close(struct ttrpc_kept *kept)
{
        PUBLISH(&kept->area->half_closed, 1);
        CHAOS_POINT("frames");
}

void ttrpc_kept_last_id(struct ttrpc_kept *kept, uint32_t id)
{
        PUBLISH(&kept->area->last_id, id);
        CHAOS_POINT("frames");
}

/* Where it is no shared memory, nothing is given back, and nothing is lost. */
static void give_back(void *bytes, size_t size)
{
        (void)madvise(bytes, size, MADV_REMOVE);
}

static bool has_calls(const struct ttrpc_kept *kept)
{
        for (size_t i = 0; i < KEEP_UNITS / 64; i++) {
                if (kept->used[i] != 0)
                        return true;
        }
        return false;
}

void ttrpc_kept_trim(struct ttrpc_kept *kept)
{
        struct keep_area *area = kept->area;
        uint64_t in = LOOK(&area->in);
        uint64_t out = LOOK(&area->out);

        if (!kept->touched)
                return;
        kept->touched = false;
        if (kept->closed || pair_first(in) == pair_end(in))
                give_back(area->in_bytes, sizeof(area->in_bytes));
        if (kept->closed || pair_first(out) == pair_end(out))
                give_back(area->out_bytes, sizeof(area->out_bytes));
        if (kept->closed || !has_calls(kept))
                give_back(area->units, sizeof(area->units));
        if (kept->closed || kept->used_notes == 0)
                give_back(area->notes, sizeof(area->notes));
}

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

void ttrpc_kept_in_large(struct ttrpc_kept *kept, bool large)
{
        PUBLISH(&kept->area->in_large, large);
        CHAOS_POINT("frames");
}

/* ---- Calls ---- */

struct keep_call *ttrpc_kept_call(const struct ttrpc_kept *kept, int unit)
{
        return area_call(kept->area, (size_t)unit);
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

/* ---- Out ---- */

static void ring_put(struct keep_area *area, uint32_t place, const uint8_t *data, size_t len)
{
        size_t at = place % KEEP_OUT;
        size_t n = len < KEEP_OUT - at ? len : KEEP_OUT - at;

        memcpy(area->out_bytes + at, data, n);
        memcpy(area->out_bytes, data + n, len - n);
}

/* The call is noted first: who finds its answer in the ring knows by it that the call is over. */
void ttrpc_kept_out_add(struct ttrpc_kept *kept, const uint8_t *data, size_t len, int ends)
{
        struct keep_area *area = kept->area;
        uint64_t out = LOOK(&area->out);
        uint32_t end = pair_end(out) + (uint32_t)len;

        kept->touched = true;
        if (LOOK(&area->out_large) || len > KEEP_OUT - (pair_end(out) - pair_first(out))) {
                PUBLISH(&area->out_large, 1);
                CHAOS_POINT("frames");
        } else {
                ring_put(area, pair_end(out), data, len);
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

uint64_t ttrpc_kept_last_tag(struct ttrpc_kept *kept)
{
        struct keep_area *area = kept->area;
        uint64_t asking = LOOK(&area->asking);
        uint32_t last_id;

        /* It was queued, and not yet noted as such. */
        if (pair_first(asking) != 0 && pair_end(asking) == pair_end(LOOK(&area->out)))
                PUBLISH(&area->last_id, pair_first(asking));
        PUBLISH(&area->asking, 0);
        last_id = LOOK(&area->last_id);
        return last_id > 0 ? LOOK(&area->tags[last_id / 2 % 2]) : 0;
}

void ttrpc_kept_out_sent(struct ttrpc_kept *kept, size_t n, bool empty)
{
        struct keep_area *area = kept->area;
        uint64_t out = LOOK(&area->out);

        if (empty) {
                PUBLISH(&area->out, 0);
                PUBLISH(&area->out_large, 0);
        } else if (!LOOK(&area->out_large)) {
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
        size_t len = pair_end(out) - pair_first(out);
        size_t at = pair_first(out) % KEEP_OUT;
        size_t n = len < KEEP_OUT - at ? len : KEEP_OUT - at;

        memcpy(ret, kept->area->out_bytes + at, n);
        memcpy(ret + n, kept->area->out_bytes, len - n);
}
