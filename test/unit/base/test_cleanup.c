/* SPDX-License-Identifier: Apache-2.0
 *
 * Owners: what is taken is gone from where it was, and nothing else is.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"

#include "test/unit/unit.h"

static void a_taken_argument_is_evaluated_once(void **state)
{
        int fds[] = {10, 11, 12};
        char text[] = "ab";
        char *pointers[] = {&text[0], &text[1], NULL};
        size_t n = 0;

        assert_int_equal(TAKE_FD(fds[n++]), 10);
        assert_int_equal(n, 1);
        assert_int_equal(fds[0], -1);
        assert_int_equal(fds[1], 11);

        n = 0;
        assert_ptr_equal(TAKE_PTR(pointers[n++]), &text[0]);
        assert_int_equal(n, 1);
        assert_null(pointers[0]);
        assert_ptr_equal(pointers[1], &text[1]);
}

static void an_owner_closes_what_it_still_has(void **state)
{
        int kept = -1;
        int closed;

        {
                _cleanup_close_ int a = open("/", O_PATH | O_CLOEXEC);
                _cleanup_close_ int b = open("/", O_PATH | O_CLOEXEC);
                _cleanup_free_ char *text = malloc(8);

                assert_true(a >= 0 && b >= 0);
                assert_non_null(text);
                closed = a;
                kept = TAKE_FD(b);
                assert_int_equal(b, -1);
        }
        assert_int_equal(fcntl(closed, F_GETFD), -1);
        assert_int_equal(fcntl(kept, F_GETFD), FD_CLOEXEC);
        kept = fd_close(kept);
        assert_int_equal(kept, -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_taken_argument_is_evaluated_once),
                cmocka_unit_test(an_owner_closes_what_it_still_has),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
