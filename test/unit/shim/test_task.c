/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "containerd/task/v3/task.pb-c.h"
#include "test/unit/shim/harness.h"

enum { CREATED = 1, RUNNING = 2, STOPPED = 3 };

static void a_container_lives_from_create_to_shutdown(void **state)
{
        struct harness *h = *state;
        struct reply *wait;
        struct answer a;

        harness_create(h);
        a = rpc_do(h, "State", NULL);
        assert_int_equal(a.status, CREATED);
        assert_int_equal(a.seconds, NOT_EXITED);
        wait = rpc_begin(h, "Wait", NULL);
        assert_int_equal(rpc_do(h, "Start", NULL).code, 0);
        assert_int_equal(rpc_do(h, "State", NULL).status, RUNNING);
        assert_false(wait->done);
        fake_exit(h->fake.init, CLD_EXITED, 7);
        a = rpc_end(h, wait);
        assert_int_equal(a.exit_status, 7);
        assert_true(a.seconds > 1600000000);
        a = rpc_do(h, "State", NULL);
        assert_int_equal(a.status, STOPPED);
        assert_int_equal(a.exit_status, 7);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 7);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        assert_false(h->finished);
        a = rpc_do(h, "Delete", NULL);
        assert_int_equal(a.code, 0);
        assert_int_equal(a.exit_status, 7);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        harness_run_until(h, &h->finished);
        assert_string_equal(events_topics(&h->events), "create start exit delete");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_container_lives_from_create_to_shutdown,
                                                harness_setup, harness_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
