/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory that messages pass through, shared by the connections of one server or client: a
 * buffer that every connection reads into, one arena at hand for the next call, and a few buffers
 * of messages that streams have sent. All are mappings of their own, made on first use and given
 * back when nothing has come for a second, so that an idle server holds none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/loop/loop.h"

struct ttrpc_pool;
struct ttrpc_out;

struct ttrpc_pool *ttrpc_pool_new(struct loop *loop);
struct ttrpc_pool *ttrpc_pool_ref(struct ttrpc_pool *pool);
struct ttrpc_pool *ttrpc_pool_unref(struct ttrpc_pool *pool);

/* A buffer that was given back, with room for TTRPC_SPARE_SIZE bytes; NULL: there is none. */
struct ttrpc_out *ttrpc_pool_out_take(struct ttrpc_pool *pool);

/* A message that is done with, of any kind: it is kept or freed. */
void ttrpc_pool_out_give(struct ttrpc_pool *pool, struct ttrpc_out *out);

/* Keeps nothing from now on and forgets the loop; calls may still give their arenas back. */
void ttrpc_pool_close(struct ttrpc_pool *pool);

/* fn runs when nothing has come for a second, once after each use; from outside of all of the
 * others' callbacks. */
void ttrpc_pool_on_idle(struct ttrpc_pool *pool, void (*fn)(void *userdata), void *userdata);

/* Something has come that needs no memory from here. */
void ttrpc_pool_use(struct ttrpc_pool *pool);

/* TTRPC_READ_MAX bytes, good until control returns to the loop; NULL without memory. */
uint8_t *ttrpc_pool_read_buffer(struct ttrpc_pool *pool);

/* An empty arena with TTRPC_UNPACK_BUDGET; NULL without memory. */
struct arena *ttrpc_pool_arena_take(struct ttrpc_pool *pool);
void ttrpc_pool_arena_give(struct ttrpc_pool *pool, struct arena *arena);
