/* SPDX-License-Identifier: Apache-2.0
 *
 * How the files behind keep.h look at the memory and change it. All stores that publish something
 * are release stores, so that no compiler moves one before what it stands for. One thread writes;
 * the next process image reads.
 */
#pragma once

#include <stdatomic.h>

#include "pkg/ttrpc/keep.h"

#define PUBLISH(object, value) atomic_store_explicit(object, value, memory_order_release)
#define LOOK(object)           atomic_load_explicit(object, memory_order_acquire)

/* Two offsets that change in one store. */
static inline uint64_t pair(uint32_t first, uint32_t end)
{
        return (uint64_t)first << 32 | end;
}

static inline uint32_t pair_first(uint64_t both)
{
        return (uint32_t)(both >> 32);
}

static inline uint32_t pair_end(uint64_t both)
{
        return (uint32_t)both;
}

/* In an array of words, word i / 64. */
static inline uint64_t bit_of(size_t i)
{
        return UINT64_C(1) << (i % 64);
}

/* Units that a call takes whose frame has so many bytes, with its head. */
static inline size_t units_of(uint32_t len)
{
        return (sizeof(struct keep_call) + len + KEEP_UNIT - 1) / KEEP_UNIT;
}

static inline struct keep_call *area_call(const struct keep_area *area, size_t unit)
{
        return (struct keep_call *)area->units[unit];
}

/* Where a unit of a connection is: its area, what of that is used, and its number there. */
static inline struct keep_area *unit_area(const struct ttrpc_kept *kept, int unit)
{
        return unit < KEEP_UNITS ? kept->area : kept->more[unit / KEEP_UNITS - 1].area;
}

static inline uint64_t *unit_used(struct ttrpc_kept *kept, int unit)
{
        return unit < KEEP_UNITS ? kept->used : kept->more[unit / KEEP_UNITS - 1].used;
}

static inline _Atomic uint8_t *unit_state(const struct ttrpc_kept *kept, int unit)
{
        return &unit_area(kept, unit)->calls[unit % KEEP_UNITS];
}

static inline struct keep_annexes *head_annexes(struct keep_head *head)
{
        return (struct keep_annexes *)((uint8_t *)head + KEEP_ANNEXES_AT);
}

/* Every listener's and connection's descriptor, at most n of them; how many there are. What is no
 * descriptor is none that is kept. */
size_t ttrpc_keep_fds(const struct keep_head *head, int ret[], size_t n);
