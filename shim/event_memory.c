/* SPDX-License-Identifier: Apache-2.0
 *
 * See event_memory.h. Places in the ring only grow, so first and end are two stores that need not
 * agree: an end that is behind is an entry that is not there yet, a first that is behind leads over
 * entries that are marked.
 */
#include "shim/event_memory.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pkg/base/chaos.h"

#include "shim/event_entry.h"

enum { LAYOUT = 1, PAGE = 4096 };

struct event_memory_shared {
        uint32_t layout; /* 0: nothing was ever kept */
        uint32_t unused;
        _Atomic uint64_t first; /* places in the ring */
        _Atomic uint64_t end;
        _Atomic uint64_t lost; /* the number of the last, its lower half, and how many */
        _Atomic uint64_t done;

        _Alignas(PAGE) uint8_t ring[];
};

#define PUBLISH(object, value) atomic_store_explicit(object, value, memory_order_release)
#define LOOK(object)           atomic_load_explicit(object, memory_order_acquire)

void event_memory_init(struct event_memory *memory, void *region, size_t size)
{
        *memory = (struct event_memory){.shared = region};
        assert((uintptr_t)region % PAGE == 0);
        if (region)
                memory->room = size - sizeof(*memory->shared);
}

int event_memory_look(struct event_memory *memory, struct error *err)
{
        struct event_memory_shared *shared = memory->shared;

        if (!shared)
                return 0;
        if (shared->layout == 0) {
                /* The page is there by now. */
                (void)madvise(shared, sizeof(*shared), MADV_REMOVE);
                return 0;
        }
        if (shared->layout != LAYOUT)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "events: layout version %u, this program knows %d", shared->layout,
                                 LAYOUT);
        if (LOOK(&shared->first) > LOOK(&shared->end) ||
            LOOK(&shared->end) - LOOK(&shared->first) > memory->room)
                return error_set(err, STATUS_DATA_LOSS, "events: the memory of them is damaged");
        memory->is_begun = true;
        return 0;
}

/* To write to a page that cannot be had is SIGBUS. A kernel that does not know the advice has no
 * other way. */
static int have_pages(void *begin, size_t len)
{
        uintptr_t at = (uintptr_t)begin / PAGE * PAGE;

        if (len == 0)
                return 0;
        len += (uintptr_t)begin - at;
        while (madvise((void *)at, len, MADV_POPULATE_WRITE) <
               0) { // NOLINT(performance-no-int-to-ptr)
                if (errno == EINVAL)
                        return 0;
                if (errno != EINTR && errno != EAGAIN)
                        return -ENOMEM;
        }
        return 0;
}

static bool begin(struct event_memory *memory)
{
        if (!memory->is_begun && memory->shared &&
            have_pages(memory->shared, sizeof(*memory->shared)) == 0) {
                memory->shared->layout = LAYOUT;
                memory->is_begun = true;
        }
        return memory->is_begun;
}

/* Where something of the ring lies: in one piece, or in two. */
struct span {
        uint8_t *at;
        size_t len;
        size_t len_behind; /* from the ring's beginning on */
};

static struct span span_of(const struct event_memory *memory, uint64_t place, size_t len)
{
        size_t offset = place % memory->room;
        size_t n = len < memory->room - offset ? len : memory->room - offset;

        return (struct span){memory->shared->ring + offset, n, len - n};
}

static void ring_get(const struct event_memory *memory, uint64_t place, void *ret, size_t len)
{
        struct span span = span_of(memory, place, len);

        memcpy(ret, span.at, span.len);
        memcpy((uint8_t *)ret + span.len, memory->shared->ring, span.len_behind);
}

int event_memory_add(struct event_memory *memory, const uint8_t *entry, size_t len, size_t left,
                     uint64_t *ret_at)
{
        struct event_memory_shared *shared = memory->shared;
        struct span span;
        uint64_t end;

        if (!begin(memory))
                return -ENOMEM;
        end = LOOK(&shared->end);
        if (len + left > memory->room - (end - LOOK(&shared->first)))
                return -ENOSPC;
        span = span_of(memory, end, len);
        if (have_pages(span.at, span.len) < 0 || have_pages(shared->ring, span.len_behind) < 0)
                return -ENOMEM;
        memcpy(span.at, entry, span.len);
        memcpy(shared->ring, entry + span.len, span.len_behind);
        CHAOS_POINT("event-in-memory");
        PUBLISH(&shared->end, end + len);
        *ret_at = end;
        return 0;
}

/* The length of an entry that is done with; 0: it is not. */
static size_t dead_len(const struct event_memory *memory, uint64_t place)
{
        struct event_entry_head head;

        ring_get(memory, place, &head, sizeof(head));
        return head.live ? 0 : sizeof(head) + le32toh(head.len);
}

void event_memory_remove(struct event_memory *memory, uint64_t at)
{
        struct event_memory_shared *shared = memory->shared;
        uint64_t first = LOOK(&shared->first);
        uint64_t end = LOOK(&shared->end);
        size_t n;

        *span_of(memory, at + EVENT_ENTRY_LIVE_AT, 1).at = 0;
        CHAOS_POINT("event-marked");
        while (first < end && (n = dead_len(memory, first)) > 0)
                first += n;
        PUBLISH(&shared->first, first);
        /* What is not shared memory is not given back. */
        if (first == end)
                (void)madvise(shared->ring, memory->room, MADV_REMOVE);
}

int event_memory_copy(const struct event_memory *memory, uint8_t **ret, size_t *ret_len,
                      uint64_t *ret_at)
{
        *ret_len = 0;
        if (!memory->is_begun)
                return 0;
        *ret_at = LOOK(&memory->shared->first);
        *ret_len = (size_t)(LOOK(&memory->shared->end) - *ret_at);
        *ret = malloc(*ret_len + 1);
        if (!*ret)
                return -ENOMEM;
        ring_get(memory, *ret_at, *ret, *ret_len);
        return 0;
}

void event_memory_set_lost(struct event_memory *memory, uint32_t n, uint64_t seq)
{
        if (begin(memory))
                PUBLISH(&memory->shared->lost, seq << 32 | n);
}

uint32_t event_memory_lost(const struct event_memory *memory, uint32_t *ret_seq)
{
        uint64_t lost = memory->is_begun ? LOOK(&memory->shared->lost) : 0;

        *ret_seq = (uint32_t)(lost >> 32);
        return (uint32_t)lost;
}

void event_memory_set_done(struct event_memory *memory, uint64_t seq)
{
        if (begin(memory))
                PUBLISH(&memory->shared->done, seq);
}

uint64_t event_memory_done(const struct event_memory *memory)
{
        return memory->is_begun ? LOOK(&memory->shared->done) : 0;
}
