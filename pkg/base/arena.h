/* SPDX-License-Identifier: Apache-2.0
 *
 * An arena: many small allocations that die together, within a budget. Its pages come from mmap(2)
 * and go back with munmap(2), so that a burst leaves nothing behind in the heap of a long-lived
 * shim.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct arena;

/* budget: the most bytes that the arena may hand out. NULL when there is no memory. */
struct arena *arena_new(size_t budget);

/* The first bytes of it are the caller's memory, which outlives it: aligned for any type, size of
 * at least 256. What fits there costs no system call. Never NULL. */
struct arena *arena_new_in(void *memory, size_t size, size_t budget);

struct arena *arena_free(struct arena *a);

/* Zeroed and aligned for any type; NULL beyond the budget or without memory. Sizes of 0 are fine.
 */
void *arena_alloc(struct arena *a, size_t size);

/* n elements of size bytes, checked for overflow. */
void *arena_calloc(struct arena *a, size_t n, size_t size);

char *arena_strdup(struct arena *a, const char *s);
char *arena_memdup(struct arena *a, const void *data, size_t len); /* adds a NUL behind it */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Bytes handed out so far. */
size_t arena_used(const struct arena *a);

/* Forgets every allocation but keeps the first chunk of pages for the next use. */
void arena_reset(struct arena *a);
