/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks of pages in a chain, the newest first; an allocation is cut from the newest chunk. The
 * arena's own header lies at the start of its first chunk, so that an empty arena costs one
 * mapping.
 */
#include "pkg/base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { CHUNK_SIZE = 16384 };

struct chunk {
        struct chunk *next;
        size_t size; /* of the mapping, this header included */
        size_t used;
};

struct arena {
        struct chunk first;
        struct chunk *chunks; /* newest first; the last one is &first */
        size_t budget;
        size_t used;
        bool is_borrowed; /* the first chunk is the caller's */
};

static size_t align_up(size_t n, size_t to)
{
        return (n + to - 1) / to * to;
}

static void *chunk_map(size_t size)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return p == MAP_FAILED ? NULL : p;
}

struct arena *arena_new(size_t budget)
{
        struct arena *a = chunk_map(CHUNK_SIZE);

        if (!a)
                return NULL;
        a->first.size = CHUNK_SIZE;
        a->first.used = align_up(sizeof(*a), alignof(max_align_t));
        a->chunks = &a->first;
        a->budget = budget;
        return a;
}

struct arena *arena_new_in(void *memory, size_t size, size_t budget)
{
        struct arena *a = memory;

        assert(size >= 256 && (uintptr_t)memory % alignof(max_align_t) == 0);
        memset(memory, 0, size);
        a->first.size = size;
        a->first.used = align_up(sizeof(*a), alignof(max_align_t));
        a->chunks = &a->first;
        a->budget = budget;
        a->is_borrowed = true;
        return a;
}

static void arena_unmap_extra(struct arena *a)
{
        while (a->chunks != &a->first) {
                struct chunk *next = a->chunks->next;

                (void)munmap(a->chunks, a->chunks->size);
                a->chunks = next;
        }
}

struct arena *arena_free(struct arena *a)
{
        if (!a)
                return NULL;
        arena_unmap_extra(a);
        if (!a->is_borrowed)
                (void)munmap(a, a->first.size);
        return NULL;
}

void arena_reset(struct arena *a)
{
        size_t start = align_up(sizeof(*a), alignof(max_align_t));

        arena_unmap_extra(a);
        memset((char *)a + start, 0, a->first.used - start);
        a->first.used = start;
        a->used = 0;
}

void *arena_alloc(struct arena *a, size_t size)
{
        struct chunk *c = a->chunks;
        void *p;

        if (size > a->budget - a->used)
                return NULL;
        size = align_up(size ? size : 1, alignof(max_align_t));
        if (size > c->size - c->used) {
                size_t start = align_up(sizeof(*c), alignof(max_align_t));
                size_t want = align_up(start + size, CHUNK_SIZE);

                c = chunk_map(want);
                if (!c)
                        return NULL;
                c->size = want;
                c->used = start;
                c->next = a->chunks;
                a->chunks = c;
        }
        p = (char *)c + c->used;
        c->used += size;
        a->used = size > a->budget - a->used ? a->budget : a->used + size;
        return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
        if (size != 0 && n > SIZE_MAX / size)
                return NULL;
        return arena_alloc(a, n * size);
}

char *arena_memdup(struct arena *a, const void *data, size_t len)
{
        char *copy = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;

        if (copy && len > 0)
                memcpy(copy, data, len);
        return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
        return arena_memdup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
        va_list ap;
        char *text;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        if (n < 0)
                return NULL;
        text = arena_alloc(a, (size_t)n + 1);
        if (!text)
                return NULL;
        va_start(ap, fmt);
        (void)vsnprintf(text, (size_t)n + 1, fmt, ap);
        va_end(ap);
        return text;
}

size_t arena_used(const struct arena *a)
{
        return a->used;
}
