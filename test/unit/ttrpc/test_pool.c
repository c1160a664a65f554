/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "pkg/base/clock.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/out.h"
#include "pkg/ttrpc/pool.h"

#include "echo.pb-c.h"
#include "test/unit/unit.h"

struct fixture {
        struct loop *loop;
        struct ttrpc_pool *pool;
};

static void begin(struct fixture *f)
{
        struct error err = ERROR_INIT;

        assert_int_equal(loop_new(&f->loop, &err), 0);
        f->pool = ttrpc_pool_new(f->loop);
        assert_non_null(f->pool);
}

static void end(struct fixture *f)
{
        ttrpc_pool_unref(f->pool);
        loop_free(f->loop);
}

static struct ttrpc_out *message_of(struct fixture *f, size_t len)
{
        static uint8_t data[TTRPC_MESSAGE_MAX / 2];
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct error err = ERROR_INIT;
        struct ttrpc_out *out = NULL;

        response.data = (ProtobufCBinaryData){.len = len, .data = data};
        assert_int_equal(ttrpc_out_data(&out, f->pool, 1, &response.base, &err), 0);
        assert_true(out->len > len);
        return out;
}

static void the_buffer_of_a_message_that_has_left_is_used_again(void **state)
{
        struct fixture f;
        struct ttrpc_out *first;
        struct ttrpc_out *second;

        begin(&f);
        first = message_of(&f, 32 << 10);
        first->sent = first->len;
        ttrpc_pool_out_give(f.pool, first);
        second = message_of(&f, 20000);
        assert_ptr_equal(second, first);
        assert_int_equal(second->sent, 0);
        ttrpc_out_free(second);
        end(&f);
}

static void only_so_many_of_one_size_are_kept(void **state)
{
        struct ttrpc_out *outs[TTRPC_SPARES_MAX + 2];
        const size_t n = sizeof(outs) / sizeof(outs[0]);
        struct fixture f;

        begin(&f);
        ttrpc_pool_out_give(f.pool, message_of(&f, 10));
        ttrpc_pool_out_give(f.pool, message_of(&f, TTRPC_SPARE_SIZE));
        assert_null(ttrpc_pool_out_take(f.pool));
        for (size_t i = 0; i < n; i++)
                outs[i] = message_of(&f, 32 << 10);
        for (size_t i = 0; i < n; i++)
                ttrpc_pool_out_give(f.pool, outs[i]);
        for (size_t i = 0; i < TTRPC_SPARES_MAX; i++)
                ttrpc_out_free(ttrpc_pool_out_take(f.pool));
        assert_null(ttrpc_pool_out_take(f.pool));
        end(&f);
}

static void a_pool_that_is_closed_keeps_none(void **state)
{
        struct fixture f;

        begin(&f);
        ttrpc_pool_out_give(f.pool, message_of(&f, 32 << 10));
        ttrpc_pool_close(f.pool);
        assert_null(ttrpc_pool_out_take(f.pool));
        ttrpc_pool_out_give(f.pool, message_of(&f, 32 << 10));
        assert_null(ttrpc_pool_out_take(f.pool));
        end(&f);
}

static void on_late(struct loop_timer *timer, void *userdata)
{
        loop_quit(userdata);
}

/* Two rounds of the pool's timer: in the first one it was used. */
static void what_is_kept_goes_when_nothing_has_come_for_a_while(void **state)
{
        struct fixture f;
        struct error err = ERROR_INIT;
        struct loop_timer *late;

        begin(&f);
        ttrpc_pool_out_give(f.pool, message_of(&f, 32 << 10));
        late = loop_timer_new(f.loop, on_late, f.loop);
        assert_int_equal(loop_timer_set(late, 2 * NSEC_PER_SEC + 100 * NSEC_PER_MSEC), 0);
        assert_int_equal(loop_run(f.loop, &err), 0);
        assert_null(ttrpc_pool_out_take(f.pool));
        loop_timer_free(late);
        end(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_buffer_of_a_message_that_has_left_is_used_again),
                cmocka_unit_test(only_so_many_of_one_size_are_kept),
                cmocka_unit_test(a_pool_that_is_closed_keeps_none),
                cmocka_unit_test(what_is_kept_goes_when_nothing_has_come_for_a_while),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
