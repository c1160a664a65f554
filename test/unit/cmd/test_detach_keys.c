/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys that end an attach: how they are written, and how they are found in what is typed.
 */
#include <string.h>

#include "cmd/belay/detach_keys.h"
#include "test/unit/unit.h"

static struct detach_keys parse(const char *text)
{
        struct error err = ERROR_INIT;
        struct detach_keys keys;

        assert_int_equal(detach_keys_parse(text, &keys, &err), 0);
        return keys;
}

/* Types a text and asserts what is passed on; true when the keys have come. */
static bool type(struct detach_keys *keys, const char *typed, const char *passed_on)
{
        uint8_t out[128];
        size_t len = 0;
        bool found = detach_keys_filter(keys, (const uint8_t *)typed, strlen(typed), out, &len);

        assert_int_equal(len, strlen(passed_on));
        assert_memory_equal(out, passed_on, len);
        return found;
}

static void keys_are_characters_and_control_characters(void **state)
{
        struct detach_keys keys = parse(DETACH_KEYS_DEFAULT);

        (void)state;
        assert_int_equal(keys.n_keys, 2);
        assert_int_equal(keys.keys[0], 0x10);
        assert_int_equal(keys.keys[1], 0x11);
        keys = parse("ctrl-@,a,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,ctrl-z");
        assert_int_equal(keys.n_keys, 8);
        assert_memory_equal(keys.keys, "\0a\x1b\x1c\x1d\x1e\x1f\x1a", 8);
        assert_int_equal(parse("none").n_keys, 0);
}

static void what_are_no_keys_is_refused(void **state)
{
        static const char *const texts[] = {"",
                                            "ab",
                                            "ctrl-",
                                            "ctrl-A",
                                            "ctrl-1",
                                            "ctrl-p,",
                                            ",a",
                                            "ctrl-pp",
                                            "alt-p",
                                            "\xc3\xa4",
                                            "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"};

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
                struct error err = ERROR_INIT;
                struct detach_keys keys;

                assert_int_equal(detach_keys_parse(texts[i], &keys, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_int_equal(keys.n_keys, 0);
        }
}

static void keys_are_found_within_one_read_and_across_reads(void **state)
{
        struct detach_keys keys = parse("ctrl-p,ctrl-q");

        (void)state;
        assert_true(type(&keys, "ls\n\x10\x11rest", "ls\n"));
        assert_false(type(&keys, "x\x10", "x"));
        assert_true(type(&keys, "\x11", ""));
}

static void what_was_held_back_is_passed_on_when_other_keys_follow(void **state)
{
        struct detach_keys keys = parse("ctrl-p,ctrl-q");

        (void)state;
        assert_false(type(&keys, "\x10", ""));
        assert_false(type(&keys, "up", "\x10up"));
        assert_false(type(&keys, "\x10\x10", "\x10"));
        assert_true(type(&keys, "\x11", ""));
}

/* The sequence begins again inside of itself. */
static void a_beginning_inside_of_a_mismatch_counts(void **state)
{
        struct detach_keys keys = parse("a,a,b");

        (void)state;
        assert_true(type(&keys, "aaab", "a"));
        keys = parse("a,b,a,c");
        assert_true(type(&keys, "ababac", "ab"));
        keys = parse("a,b,a,c");
        assert_false(type(&keys, "abab", "ab"));
        assert_false(type(&keys, "x", "abx"));
}

static void without_keys_everything_passes(void **state)
{
        struct detach_keys keys = parse("none");

        (void)state;
        assert_false(type(&keys, "\x10\x11", "\x10\x11"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_are_characters_and_control_characters),
                cmocka_unit_test(what_are_no_keys_is_refused),
                cmocka_unit_test(keys_are_found_within_one_read_and_across_reads),
                cmocka_unit_test(what_was_held_back_is_passed_on_when_other_keys_follow),
                cmocka_unit_test(a_beginning_inside_of_a_mismatch_counts),
                cmocka_unit_test(without_keys_everything_passes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
