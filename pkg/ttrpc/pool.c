/* SPDX-License-Identifier: Apache-2.0
 *
 * See pool.h. One timer tells idleness: it runs only while something is kept, and each use merely
 * sets a flag, so that a busy server pays nothing for it.
 */
#include "pkg/ttrpc/pool.h"

#include <stdbool.h>
#include <stdlib.h>

#include "pkg/base/clock.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/out.h"

struct ttrpc_pool {
        unsigned n_refs;
        struct loop_timer *timer; /* NULL when closed */
        bool used;                /* since the timer was set */
        struct arena *reads;      /* holds buffer */
        uint8_t *buffer;
        struct arena *spare;
        void (*on_idle)(void *userdata);
        void *on_idle_userdata;
        struct list outs; /* of TTRPC_SPARE_SIZE each */
        size_t n_outs;
};

static void pool_drop_outs(struct ttrpc_pool *pool)
{
        while (!list_is_empty(&pool->outs))
                (void)ttrpc_out_free(list_first(&pool->outs, struct ttrpc_out, node));
        pool->n_outs = 0;
}

static void pool_trim(struct ttrpc_pool *pool)
{
        pool->reads = arena_free(pool->reads);
        pool->buffer = NULL;
        pool->spare = arena_free(pool->spare);
        pool_drop_outs(pool);
}

static void pool_on_timer(struct loop_timer *timer, void *userdata)
{
        struct ttrpc_pool *pool = userdata;

        if (pool->used) {
                pool->used = false;
                (void)loop_timer_set(timer, NSEC_PER_SEC);
                return;
        }
        pool_trim(pool);
        if (pool->on_idle)
                pool->on_idle(pool->on_idle_userdata);
}

static void pool_touch(struct ttrpc_pool *pool)
{
        pool->used = true;
        if (!loop_timer_is_set(pool->timer))
                (void)loop_timer_set(pool->timer, NSEC_PER_SEC);
}

struct ttrpc_pool *ttrpc_pool_new(struct loop *loop)
{
        struct ttrpc_pool *pool = calloc(1, sizeof(*pool));

        if (!pool)
                return NULL;
        pool->n_refs = 1;
        list_init(&pool->outs);
        pool->timer = loop_timer_new(loop, pool_on_timer, pool);
        return pool->timer ? pool : ttrpc_pool_unref(pool);
}

struct ttrpc_pool *ttrpc_pool_ref(struct ttrpc_pool *pool)
{
        pool->n_refs++;
        return pool;
}

struct ttrpc_pool *ttrpc_pool_unref(struct ttrpc_pool *pool)
{
        if (!pool || --pool->n_refs > 0)
                return NULL;
        ttrpc_pool_close(pool);
        pool_trim(pool);
        free(pool);
        return NULL;
}

void ttrpc_pool_on_idle(struct ttrpc_pool *pool, void (*fn)(void *userdata), void *userdata)
{
        pool->on_idle = fn;
        pool->on_idle_userdata = userdata;
}

void ttrpc_pool_use(struct ttrpc_pool *pool)
{
        if (pool->timer)
                pool_touch(pool);
}

/* The read buffer stays until the last reference: the frame in it may be on the stack. */
void ttrpc_pool_close(struct ttrpc_pool *pool)
{
        pool->timer = loop_timer_free(pool->timer);
        pool->spare = arena_free(pool->spare);
        pool_drop_outs(pool);
}

uint8_t *ttrpc_pool_read_buffer(struct ttrpc_pool *pool)
{
        if (!pool->reads)
                pool->reads = arena_new(TTRPC_READ_MAX);
        if (pool->reads && !pool->buffer)
                pool->buffer = arena_alloc(pool->reads, TTRPC_READ_MAX);
        if (pool->buffer)
                ttrpc_pool_use(pool);
        return pool->buffer;
}

struct arena *ttrpc_pool_arena_take(struct ttrpc_pool *pool)
{
        struct arena *arena = pool->spare;

        pool->spare = NULL;
        return arena ? arena : arena_new(TTRPC_UNPACK_BUDGET);
}

void ttrpc_pool_arena_give(struct ttrpc_pool *pool, struct arena *arena)
{
        if (!pool->timer || pool->spare) {
                arena_free(arena);
                return;
        }
        arena_reset(arena);
        pool->spare = arena;
        pool_touch(pool);
}

struct ttrpc_out *ttrpc_pool_out_take(struct ttrpc_pool *pool)
{
        struct ttrpc_out *out = list_first(&pool->outs, struct ttrpc_out, node);

        if (!out)
                return NULL;
        list_remove(&out->node);
        pool->n_outs--;
        return out;
}

void ttrpc_pool_out_give(struct ttrpc_pool *pool, struct ttrpc_out *out)
{
        if (!pool->timer || !out->arena || out->room != TTRPC_SPARE_SIZE ||
            pool->n_outs == TTRPC_SPARES_MAX) {
                (void)ttrpc_out_free(out);
                return;
        }
        list_remove(&out->node);
        list_append(&pool->outs, &out->node);
        pool->n_outs++;
        pool_touch(pool);
}
