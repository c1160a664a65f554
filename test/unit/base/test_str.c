/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "pkg/base/str.h"

#include "test/unit/unit.h"

static void assert_join(const char *a, const char *b, const char *c, const char *want)
{
        const char *parts[] = {a, b, c};
        char *got = path_join_clean(parts, 3);

        assert_string_equal(got, want);
        free(got);
}

/* Expectations taken from Go's path.Join. */
static void paths_are_joined_as_go_joins_them(void **state)
{
        assert_join("/run/containerd/containerd.sock", "default", "redis",
                    "/run/containerd/containerd.sock/default/redis");
        assert_join("/a//b/", "../c", ".", "/a/c");
        assert_join("/..", "..", "x", "/x");
        assert_join("a", "..", "..", "..");
        assert_join("..", "..", "b", "../../b");
        assert_join("", "", "", "");
        assert_join("", "a", "", "a");
        assert_join("a", "..", "", ".");
        assert_join("", "/a", "b", "/a/b");
        assert_join("/", "", "", "/");
}

static void ids_are_safe_file_names(void **state)
{
        char longest[78] = {0};

        memset(longest, 'a', 76);
        assert_true(id_is_valid("redis"));
        assert_true(id_is_valid("a.b_c-d"));
        assert_true(id_is_valid(longest));
        longest[76] = 'a';
        assert_false(id_is_valid(longest));
        assert_false(id_is_valid(""));
        assert_false(id_is_valid("."));
        assert_false(id_is_valid(".."));
        assert_true(id_is_valid("a..b"));
        assert_true(id_is_valid("_a+b-"));
        assert_false(id_is_valid("-a"));
        assert_false(id_is_valid("+a"));
        assert_false(id_is_valid(".a"));
        assert_false(id_is_valid("a/b"));
        assert_false(id_is_valid("a b"));
}

static void numbers_are_read_whole_or_not_at_all(void **state)
{
        uint64_t n = 7;

        assert_int_equal(str_to_u64("18446744073709551615", &n), 0);
        assert_true(n == UINT64_MAX);
        assert_true(str_to_u64("18446744073709551616", &n) < 0);
        assert_true(str_to_u64("", &n) < 0);
        assert_true(str_to_u64("-1", &n) < 0);
        assert_true(str_to_u64(" 1", &n) < 0);
        assert_true(str_to_u64("1x", &n) < 0);
}

static void text_that_is_not_utf8_is_mended_and_other_text_is_kept(void **state)
{
        char good[] = "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xb3";
        char kept[sizeof(good)];
        char bad[] = "a\xff\xc3(\xe2\x82x\xed\xa0\x80\xf5z\xc3";

        memcpy(kept, good, sizeof(good));
        str_make_utf8(good);
        assert_string_equal(good, kept);
        str_make_utf8(bad);
        assert_string_equal(bad, "a?\?(?\?x?\?\?\?z?");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(paths_are_joined_as_go_joins_them),
                cmocka_unit_test(ids_are_safe_file_names),
                cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
                cmocka_unit_test(text_that_is_not_utf8_is_mended_and_other_text_is_kept),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
