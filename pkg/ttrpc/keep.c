/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory as a whole, and which connection has which area of it: see keep.h. The memory is its
 * owner's and stays when all of this is gone. The head says which descriptors the next image gets;
 * an area is a connection's from the accept until its struct ttrpc_kept is freed, which may be long
 * after the connection was closed and forgotten. What is in an area: keep_bytes.c, keep_call.c,
 * keep_note.c; behind it: keep_annex.c, keep_more.c. What is checked before it is believed:
 * keep_check.c.
 */
#include "pkg/ttrpc/keep.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pkg/base/chaos.h"
#include "pkg/ttrpc/keep_store.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/ttrpc.h"

static const uint64_t keep_magic = UINT64_C(0x7065656b63707274); /* "trpckeep" */

enum { KEEP_HEAD_BYTES = 4096 };

_Static_assert(sizeof(struct keep_area) == TTRPC_KEEP_BYTES(1) - TTRPC_KEEP_BYTES(0),
               "TTRPC_KEEP_BYTES tells the size");
_Static_assert(offsetof(struct keep_area, units) == 4096, "an area at rest is one page");
_Static_assert(sizeof(struct keep_head) + TTRPC_CONNECTIONS_MAX * sizeof(int32_t) <=
                       KEEP_HEAD_BYTES,
               "the head is one page");
_Static_assert(sizeof(struct keep_head) + TTRPC_CONNECTIONS_MAX * sizeof(int32_t) <=
                               KEEP_ANNEXES_AT &&
                       KEEP_ANNEXES_AT + sizeof(struct keep_annexes) <= KEEP_HEAD_BYTES,
               "the annexes are behind it in its page");

int ttrpc_keep_new(struct ttrpc_keep **ret, void *memory, size_t size, struct error *err)
{
        struct keep_head *head = memory;
        struct ttrpc_keep *keep;
        size_t n_areas;
        uint32_t layout;

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
        layout = LOOK(&head->layout);
        if (layout < KEEP_LAYOUT || layout > KEEP_LAYOUT_MORE)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "ttrpc server: kept connections: layout %u, this program knows %d",
                                 layout, KEEP_LAYOUT_MORE);
        if (head->n_areas != n_areas)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "ttrpc server: kept connections: room for %u, must be %zu",
                                 head->n_areas, n_areas);
        keep = calloc(1, sizeof(*keep));
        if (!keep)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc server: no memory");
        keep->n_refs = 1;
        keep->annexes_fd = -1;
        keep->head = head;
        keep->areas = (struct keep_area *)((uint8_t *)memory + KEEP_HEAD_BYTES);
        *ret = keep;
        return 0;
}

struct ttrpc_keep *ttrpc_keep_unref(struct ttrpc_keep *keep)
{
        if (!keep || --keep->n_refs > 0)
                return NULL;
        ttrpc_keep_annexes_close(keep);
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

size_t ttrpc_keep_fds(const struct keep_head *head, int ret[], size_t n)
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

size_t ttrpc_kept_fds(const void *keep, size_t keep_size, int ret[], size_t n)
{
        struct keep_head *head = (struct keep_head *)keep;
        size_t n_found;
        int32_t annexes;

        if (keep_size < TTRPC_KEEP_BYTES(1) || head->magic != keep_magic)
                return 0;
        n_found = ttrpc_keep_fds(head, ret, n);
        annexes = LOOK(&head_annexes(head)->fd);
        if (annexes > 0 && n_found++ < n)
                ret[n_found - 1] = annexes - 1;
        return n_found;
}

/* ---- Connections ---- */

void ttrpc_keep_publish_layout(struct ttrpc_keep *keep)
{
        uint32_t layout = KEEP_LAYOUT;

        if (keep->n_more > 0)
                layout = KEEP_LAYOUT_MORE;
        else if (keep->n_in_annexes > 0 || keep->n_brief > 0)
                layout = KEEP_LAYOUT_ANNEXES;
        PUBLISH(&keep->head->layout, layout);
}

void ttrpc_keep_give_back(void *bytes, size_t size)
{
        (void)madvise(bytes, size, MADV_REMOVE);
}

static uint64_t *busy_word(struct ttrpc_keep *keep, unsigned slot)
{
        return &keep->busy[slot / 64];
}

bool ttrpc_keep_is_taken(const struct ttrpc_keep *keep, unsigned slot)
{
        return keep->busy[slot / 64] & bit_of(slot);
}

void ttrpc_keep_take(struct ttrpc_keep *keep, unsigned slot, bool taken)
{
        if (taken)
                *busy_word(keep, slot) |= bit_of(slot);
        else
                *busy_word(keep, slot) &= ~bit_of(slot);
}

int ttrpc_keep_free_slot(const struct ttrpc_keep *keep)
{
        for (unsigned slot = 0; slot < keep->head->n_areas; slot++) {
                if (LOOK(&keep->head->conns[slot]) == 0 && !ttrpc_keep_is_taken(keep, slot))
                        return (int)slot;
        }
        return -1;
}

/* No allocation: an accepted socket is in here before anything else is done with it. */
int ttrpc_keep_conn(struct ttrpc_keep *keep, int fd)
{
        int slot = ttrpc_keep_free_slot(keep);

        if (slot < 0)
                return -1;
        memset(&keep->areas[slot], 0, offsetof(struct keep_area, units));
        PUBLISH(&keep->head->conns[slot], fd + 1);
        CHAOS_POINT("frames");
        return slot;
}

void ttrpc_keep_conn_gone(struct ttrpc_keep *keep, int slot)
{
        if (slot < 0)
                return;
        PUBLISH(&keep->head->conns[slot], 0);
        ttrpc_keep_give_back(&keep->areas[slot], sizeof(keep->areas[slot]));
}

void ttrpc_keep_trim(struct ttrpc_keep *keep)
{
        unsigned from = 0;

        for (unsigned i = 0; i <= keep->head->n_areas; i++) {
                if (i < keep->head->n_areas && !ttrpc_keep_is_taken(keep, i))
                        continue;
                if (i > from)
                        ttrpc_keep_give_back(&keep->areas[from],
                                             (i - from) * sizeof(keep->areas[0]));
                from = i + 1;
        }
}

struct ttrpc_kept *ttrpc_kept_of_slot(struct ttrpc_keep *keep, unsigned slot)
{
        struct ttrpc_kept *kept = calloc(1, sizeof(*kept));

        if (!kept)
                return NULL;
        keep->n_refs++;
        ttrpc_keep_take(keep, slot, true);
        kept->keep = keep;
        kept->area = &keep->areas[slot];
        kept->slot = slot;
        kept->touched = true;
        return ttrpc_kept_more_found(kept) == 0 ? kept : ttrpc_kept_leave(kept);
}

void ttrpc_kept_close(struct ttrpc_kept *kept)
{
        if (!kept->closed)
                PUBLISH(&kept->keep->head->conns[kept->slot], 0);
        kept->closed = true;
        CHAOS_POINT("frames");
}

struct ttrpc_kept *ttrpc_kept_leave(struct ttrpc_kept *kept)
{
        if (!kept)
                return NULL;
        ttrpc_kept_annex_unmap(kept);
        ttrpc_kept_more_leave(kept);
        kept->keep->n_brief -= kept->n_brief;
        ttrpc_keep_take(kept->keep, kept->slot, false);
        ttrpc_keep_unref(kept->keep);
        free(kept);
        return NULL;
}

struct ttrpc_kept *ttrpc_kept_free(struct ttrpc_kept *kept)
{
        if (!kept)
                return NULL;
        ttrpc_kept_close(kept);
        kept->keep->n_brief -= kept->n_brief;
        kept->n_brief = 0;
        ttrpc_kept_annex_free(kept);
        ttrpc_kept_more_free(kept);
        /* Another client may have begun in it already. */
        if (LOOK(&kept->keep->head->conns[kept->slot]) == 0)
                ttrpc_keep_give_back(kept->area, sizeof(*kept->area));
        return ttrpc_kept_leave(kept);
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

void ttrpc_kept_turn(struct ttrpc_kept *kept, uint32_t id)
{
        PUBLISH(&kept->area->turn, id);
        CHAOS_POINT("frames");
}

bool ttrpc_area_is_whole(const struct keep_area *area)
{
        uint32_t in = LOOK(&area->in_large);
        uint32_t out = LOOK(&area->out_large);

        return (in == KEEP_IN_AREA || in == KEEP_IN_ANNEX) &&
               (out == KEEP_IN_AREA || out == KEEP_IN_ANNEX) && LOOK(&area->n_unkept) == 0;
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

        ttrpc_kept_annex_trim(kept);
        ttrpc_kept_more_trim(kept);
        if (!kept->touched)
                return;
        kept->touched = false;
        if (kept->closed || pair_first(in) == pair_end(in))
                ttrpc_keep_give_back(area->in_bytes, sizeof(area->in_bytes));
        if (kept->closed || pair_first(out) == pair_end(out))
                ttrpc_keep_give_back(area->out_bytes, sizeof(area->out_bytes));
        if (kept->closed || !has_calls(kept))
                ttrpc_keep_give_back(area->units, sizeof(area->units));
        if (kept->closed || kept->used_notes == 0)
                ttrpc_keep_give_back(area->notes, sizeof(area->notes));
}
