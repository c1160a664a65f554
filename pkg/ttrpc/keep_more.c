/* SPDX-License-Identifier: Apache-2.0
 *
 * Further areas (keep.h): where a connection's own has no room for its calls, it takes one of a
 * slot that has no connection, and so on. They are a chain, by the number of the next one's slot,
 * and only their units are used. A unit's number counts through all of them. They are given back,
 * from the last, when the loop has time to trim, and with their connection.
 */
#include <stdlib.h>
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/ttrpc/keep_store.h"

struct keep_area *ttrpc_keep_more(const struct ttrpc_keep *keep, const struct keep_area *area)
{
        uint32_t more = LOOK(&area->more);

        return more > 0 ? &keep->areas[more - 1] : NULL;
}

static unsigned slot_of(const struct ttrpc_keep *keep, const struct keep_area *area)
{
        return (unsigned)(area - keep->areas);
}

static struct keep_area *last_area(const struct ttrpc_kept *kept)
{
        return kept->n_more > 0 ? kept->more[kept->n_more - 1].area : kept->area;
}

/* Room in our own memory for n in all. */
static int reserve(struct ttrpc_kept *kept, unsigned n)
{
        struct keep_extent *grown = reallocarray(kept->more, n, sizeof(*grown));

        if (!grown)
                return -1;
        kept->more = grown;
        return 0;
}

static void take(struct ttrpc_kept *kept, struct keep_area *area)
{
        ttrpc_keep_take(kept->keep, slot_of(kept->keep, area), true);
        kept->more[kept->n_more++] = (struct keep_extent){.area = area};
        kept->keep->n_more++;
}

static void let_go(struct ttrpc_kept *kept)
{
        kept->n_more--;
        kept->keep->n_more--;
        ttrpc_keep_take(kept->keep, slot_of(kept->keep, kept->more[kept->n_more].area), false);
}

bool ttrpc_kept_more_add(struct ttrpc_kept *kept)
{
        struct ttrpc_keep *keep = kept->keep;
        int slot = ttrpc_keep_free_slot(keep);
        struct keep_area *last = last_area(kept);

        if (slot < 0 || reserve(kept, kept->n_more + 1) < 0)
                return false;
        memset(&keep->areas[slot], 0, offsetof(struct keep_area, units));
        take(kept, &keep->areas[slot]);
        ttrpc_keep_publish_layout(keep);
        CHAOS_POINT("frames");
        PUBLISH(&last->more, (uint32_t)slot + 1);
        CHAOS_POINT("frames");
        return true;
}

int ttrpc_kept_more_found(struct ttrpc_kept *kept)
{
        struct keep_area *area = kept->area;

        while ((area = ttrpc_keep_more(kept->keep, area))) {
                if (reserve(kept, kept->n_more + 1) < 0)
                        return -1;
                take(kept, area);
        }
        return 0;
}

void ttrpc_kept_more_leave(struct ttrpc_kept *kept)
{
        while (kept->n_more > 0)
                let_go(kept);
        free(kept->more);
        kept->more = NULL;
}

static void free_last(struct ttrpc_kept *kept)
{
        struct keep_area *area = last_area(kept);

        let_go(kept);
        PUBLISH(&last_area(kept)->more, 0);
        CHAOS_POINT("frames");
        ttrpc_keep_give_back(area, sizeof(*area));
}

void ttrpc_kept_more_free(struct ttrpc_kept *kept)
{
        while (kept->n_more > 0)
                free_last(kept);
        ttrpc_kept_more_leave(kept);
        ttrpc_keep_publish_layout(kept->keep);
}

static bool is_unused(const struct keep_extent *extent)
{
        for (size_t i = 0; i < KEEP_UNITS / 64; i++) {
                if (extent->used[i] != 0)
                        return false;
        }
        return true;
}

void ttrpc_kept_more_trim(struct ttrpc_kept *kept)
{
        if (kept->n_more == 0)
                return;
        while (kept->n_more > 0 && is_unused(&kept->more[kept->n_more - 1]))
                free_last(kept);
        ttrpc_keep_publish_layout(kept->keep);
}
