/* SPDX-License-Identifier: Apache-2.0
 *
 * An environment has each name once. The runtime-spec leaves it open what two entries with one name
 * mean; of those the last one counts here, as with runc since 1.2 (the C library would take the
 * first, a shell the last). A list may be as long as config.json allows, so it is sorted.
 */
#include <stdlib.h>
#include <string.h>

#include "pkg/engine/plan_private.h"

struct entry {
        const char *text;
        size_t name_len;
        size_t index;
};

/* By name, and among equals by place. */
static int compare_entries(const void *a, const void *b)
{
        const struct entry *x = a;
        const struct entry *y = b;
        size_t n = x->name_len < y->name_len ? x->name_len : y->name_len;
        int r = memcmp(x->text, y->text, n);

        if (r != 0)
                return r;
        if (x->name_len != y->name_len)
                return x->name_len < y->name_len ? -1 : 1;
        return x->index < y->index ? -1 : x->index > y->index;
}

static bool is_same_name(const struct entry *a, const struct entry *b)
{
        return a->name_len == b->name_len && memcmp(a->text, b->text, a->name_len) == 0;
}

size_t plan_unique_env(const struct oci_strings *env, char **ret, struct arena *arena)
{
        struct entry *entries = arena_calloc(arena, env->n, sizeof(*entries));
        size_t n = 0;

        if (!entries)
                return SIZE_MAX;
        for (size_t i = 0; i < env->n; i++) {
                ret[i] = env->items[i];
                entries[i] = (struct entry){ret[i], strcspn(ret[i], "="), i};
        }
        qsort(entries, env->n, sizeof(*entries), compare_entries);
        for (size_t i = 0; i + 1 < env->n; i++) {
                if (is_same_name(&entries[i], &entries[i + 1]))
                        ret[entries[i].index] = NULL;
        }
        for (size_t i = 0; i < env->n; i++) {
                if (ret[i])
                        ret[n++] = ret[i];
        }
        ret[n] = NULL;
        return n;
}
