/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

static int setup(void **state)
{
        static struct harness h;

        harness_init(&h, NULL);
        *state = &h;
        return 0;
}

static int teardown(void **state)
{
        harness_deinit(*state);
        return 0;
}

static void a_call_is_answered(void **state)
{
        struct harness *h = *state;

        peer_call(&h->peer, 1, "Echo", "hello", 7);
        peer_expect_echo(&h->peer, 1, "hello");
        peer_call(&h->peer, 3, "Echo", "again", 7);
        peer_expect_echo(&h->peer, 3, "again");
}

static void calls_may_be_answered_out_of_order(void **state)
{
        struct harness *h = *state;

        for (uint32_t id = 1; id <= 9; id += 2)
                peer_call(&h->peer, id, "Keep", "", 0);
        peer_call(&h->peer, 11, "Echo", "between", 0);
        peer_expect_echo(&h->peer, 11, "between");
        assert_int_equal(h->n_kept, 5);
        kept_reply(h, 3, "d");
        kept_reply(h, 0, "a");
        kept_reply(h, 4, "e");
        peer_expect_echo(&h->peer, 7, "d");
        peer_expect_echo(&h->peer, 1, "a");
        peer_expect_echo(&h->peer, 9, "e");
        kept_reply(h, 1, "b");
        kept_reply(h, 2, "c");
        peer_expect_echo(&h->peer, 3, "b");
        peer_expect_echo(&h->peer, 5, "c");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_call_is_answered, setup, teardown),
                cmocka_unit_test_setup_teardown(calls_may_be_answered_out_of_order, setup,
                                                teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
