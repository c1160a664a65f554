/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "test/unit/engine/box.h"
#include "test/unit/unit.h"

static int make(void **state)
{
        static struct box box;

        box_make(&box);
        *state = &box;
        return 0;
}

static int destroy(void **state)
{
        box_remove(*state);
        return 0;
}

static struct box_result r; /* large */

static void a_plain_container_runs(void **state)
{
        box_run_ok(*state, &(struct box_config){.script = "echo hello; echo $HOME; pwd; echo $$"},
                   &r);
        assert_string_equal(r.out, "hello\n/root\n/\n1\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_plain_container_runs, make, destroy),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
