/* SPDX-License-Identifier: Apache-2.0 */
#include "pkg/base/clock.h"

#include "shim/oom.h"
#include "test/unit/unit.h"

static void a_rest_is_in_proportion_to_the_look_before_it(void **state)
{
        (void)state;
        assert_int_equal(oom_rest_ns(0), 0);
        assert_int_equal(oom_rest_ns(100), 3200);
        assert_int_equal(oom_rest_ns(10 * NSEC_PER_MSEC), 320 * NSEC_PER_MSEC);
}

/* A look that had to wait for a processor, or for a lock of the kernel, says nothing of its cost.
 */
static void no_rest_is_longer_than_a_second(void **state)
{
        (void)state;
        assert_int_equal(oom_rest_ns(40 * NSEC_PER_MSEC), NSEC_PER_SEC);
        assert_int_equal(oom_rest_ns(5 * NSEC_PER_SEC), NSEC_PER_SEC);
        assert_int_equal(oom_rest_ns(UINT64_MAX), NSEC_PER_SEC);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_rest_is_in_proportion_to_the_look_before_it),
                cmocka_unit_test(no_rest_is_longer_than_a_second),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
