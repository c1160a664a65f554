/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "pkg/base/arena.h"

#include "test/unit/unit.h"

static void an_arena_hands_out_zeroed_aligned_memory(void **state)
{
        struct arena *a = arena_new(1u << 20);

        for (size_t size = 1; size < 40000; size = size * 3 + 1) {
                unsigned char *p = arena_alloc(a, size);

                assert_non_null(p);
                assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
                for (size_t i = 0; i < size; i++)
                        assert_int_equal(p[i], 0);
                memset(p, 0xff, size);
        }
        arena_free(a);
}

static void a_budget_is_never_exceeded(void **state)
{
        struct arena *a = arena_new(1000);
        size_t n = 0;

        assert_null(arena_alloc(a, 1001));
        assert_null(arena_alloc(a, SIZE_MAX));
        assert_null(arena_calloc(a, SIZE_MAX / 2, 3));
        while (arena_alloc(a, 100))
                n++;
        assert_in_range(n, 8, 10);
        arena_free(a);
}

static void a_reset_arena_is_as_new(void **state)
{
        struct arena *a = arena_new(100000);

        for (int round = 0; round < 3; round++) {
                unsigned char *p = arena_alloc(a, 90000);
                unsigned char *q = arena_alloc(a, 64);

                assert_non_null(p);
                assert_non_null(q);
                assert_int_equal(p[0] | p[89999] | q[0] | q[63], 0);
                memset(p, 0xff, 90000);
                memset(q, 0xff, 64);
                arena_reset(a);
                assert_int_equal(arena_used(a), 0);
        }
        arena_free(a);
}

static void what_fits_into_the_callers_memory_is_there(void **state)
{
        _Alignas(max_align_t) char memory[1024];
        struct arena *a;
        char *p;

        (void)state;
        memset(memory, 0xff, sizeof(memory));
        a = arena_new_in(memory, sizeof(memory), 100000);
        for (int round = 0; round < 2; round++) {
                p = arena_alloc(a, 500);
                assert_in_range((uintptr_t)p, (uintptr_t)memory,
                                (uintptr_t)(memory + sizeof(memory) - 500));
                for (size_t i = 0; i < 500; i++)
                        assert_int_equal(p[i], 0);
                memset(p, 0xff, 500);
                p = arena_alloc(a, 90000);
                assert_non_null(p);
                assert_false(p >= memory && p < memory + sizeof(memory));
                assert_int_equal(p[0] | p[89999], 0);
                assert_null(arena_alloc(a, 90000));
                arena_reset(a);
        }
        assert_null(arena_free(a));
        assert_int_equal((unsigned char)memory[1023], 0);
}

static void strings_are_copied_whole(void **state)
{
        struct arena *a = arena_new(4096);

        assert_string_equal(arena_strdup(a, "abc"), "abc");
        assert_string_equal(arena_printf(a, "%s-%d", "x", 7), "x-7");
        assert_memory_equal(arena_memdup(a, "a\0b", 3), "a\0b", 4);
        arena_free(a);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_arena_hands_out_zeroed_aligned_memory),
                cmocka_unit_test(a_budget_is_never_exceeded),
                cmocka_unit_test(a_reset_arena_is_as_new),
                cmocka_unit_test(what_fits_into_the_callers_memory_is_there),
                cmocka_unit_test(strings_are_copied_whole),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
