/* SPDX-License-Identifier: Apache-2.0
 *
 * How the steps of a teardown share its time, by numbers alone: whatever each of them takes of its
 * share, all are over at the deadline, and none is left without time by those before it.
 */
#include "pkg/base/clock.h"
#include "pkg/engine/teardown.h"

#include "test/unit/unit.h"

enum { WHOLE_MS = 2000, STEPS = _TEARDOWN_STEP_MAX };

static const uint64_t begin_ns = 1000 * NSEC_PER_SEC;
static const uint64_t deadline_ns = begin_ns + WHOLE_MS * NSEC_PER_MSEC;

/* One of the ways to use the time: a bit for each step, whether it takes all of its share. */
static void take_steps(unsigned takes_all, int ret_share_ms[STEPS], uint64_t *ret_end_ns)
{
        uint64_t now = begin_ns;

        for (int step = 0; step < STEPS; step++) {
                ret_share_ms[step] = teardown_share_ms(deadline_ns, now, (enum teardown_step)step);
                if (takes_all & (1U << step))
                        now += (uint64_t)ret_share_ms[step] * NSEC_PER_MSEC;
        }
        *ret_end_ns = now;
}

static void the_steps_are_over_at_the_deadline_however_many_wait_as_long_as_they_may(void **state)
{
        (void)state;
        for (unsigned takes_all = 0; takes_all < 1U << STEPS; takes_all++) {
                int share[STEPS];
                uint64_t end;

                take_steps(takes_all, share, &end);
                assert_true(end <= deadline_ns);
                if (takes_all & (1U << (STEPS - 1)))
                        assert_true(end == deadline_ns);
        }
}

static void no_step_is_left_without_time_by_those_before_it(void **state)
{
        (void)state;
        for (unsigned takes_all = 0; takes_all < 1U << STEPS; takes_all++) {
                int share[STEPS];
                uint64_t end;

                take_steps(takes_all, share, &end);
                for (int step = 0; step < STEPS; step++)
                        assert_true(share[step] >= 100);
        }
}

static void most_of_the_time_is_for_who_needs_it(void **state)
{
        int share[STEPS];
        uint64_t end;

        (void)state;
        take_steps(0, share, &end);
        for (int step = 0; step < STEPS; step++)
                assert_true(share[step] >= WHOLE_MS * 3 / 4);
}

static void a_step_that_comes_too_late_has_a_chance(void **state)
{
        (void)state;
        for (int step = 0; step < STEPS; step++) {
                const int kept = step == TEARDOWN_SCOPE ? 200 : 100;

                assert_int_equal(teardown_share_ms(deadline_ns, deadline_ns + 5 * NSEC_PER_SEC,
                                                   (enum teardown_step)step),
                                 kept);
                assert_int_equal(teardown_share_ms(0, deadline_ns, (enum teardown_step)step), kept);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(
                        the_steps_are_over_at_the_deadline_however_many_wait_as_long_as_they_may),
                cmocka_unit_test(no_step_is_left_without_time_by_those_before_it),
                cmocka_unit_test(most_of_the_time_is_for_who_needs_it),
                cmocka_unit_test(a_step_that_comes_too_late_has_a_chance),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
