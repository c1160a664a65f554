/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's OOM score, and its cgroup.
 */
#include <string.h>
#include <unistd.h>

#include "cmd/containerd-shim-belay-v2/place.h"
#include "test/unit/unit.h"

static int next(const char *text)
{
        struct error err = ERROR_INIT;
        int score = 0;

        assert_int_equal(place_oom_score_next(text, &score, &err), 0);
        return score;
}

static void the_score_is_one_above_the_parents(void **state)
{
        (void)state;
        assert_int_equal(next("0\n"), 1);
        assert_int_equal(next("-999\n"), -998);
        assert_int_equal(next("-1000\n"), -999);
        assert_int_equal(next("-1"), 0);
}

static void the_score_never_exceeds_the_kernels_maximum(void **state)
{
        (void)state;
        assert_int_equal(next("999\n"), 1000);
        assert_int_equal(next("1000\n"), 1000);
}

static void what_is_no_score_is_refused(void **state)
{
        static const char *const texts[] = {"",       "x",       "1 2",
                                            "1001\n", "-1001\n", "99999999999999999999"};
        int score = 7;

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
                struct error err = ERROR_INIT;

                assert_int_equal(place_oom_score_next(texts[i], &score, &err), -1);
                assert_int_equal(score, 7);
        }
}

static void a_cgroup_that_is_nowhere_is_an_error(void **state)
{
        struct error err = ERROR_INIT;

        (void)state;
        assert_int_equal(place_cgroup(getpid(), "/belay-no-such-cgroup", &err), -1);
        assert_non_null(strstr(err.msg, "belay-no-such-cgroup"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_score_is_one_above_the_parents),
                cmocka_unit_test(the_score_never_exceeds_the_kernels_maximum),
                cmocka_unit_test(what_is_no_score_is_refused),
                cmocka_unit_test(a_cgroup_that_is_nowhere_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
