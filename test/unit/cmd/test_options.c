/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim's command line against Go's flag syntax.
 */
#include <string.h>

#include "cmd/containerd-shim-belay-v2/options.h"
#include "test/unit/unit.h"

static struct options parse_ok(int argc, const char *const *argv)
{
        struct options options;
        struct error err = ERROR_INIT;

        assert_int_equal(options_parse(argc, argv, &options, &err), 0);
        return options;
}

#define PARSE(...)                                                                            \
        parse_ok((int)(sizeof((const char *[]){"shim", __VA_ARGS__}) / sizeof(const char *)), \
                 (const char *[]){"shim", __VA_ARGS__, NULL})

#define assert_refused(text, ...)                                                                \
        do {                                                                                     \
                const char *argv[] = {"shim", __VA_ARGS__, NULL};                                \
                struct options options;                                                          \
                struct error err = ERROR_INIT;                                                   \
                                                                                                 \
                assert_int_equal(options_parse((int)UNIT_COUNT(argv) - 1, argv, &options, &err), \
                                 -1);                                                            \
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);                             \
                assert_string_equal(err.msg, text);                                              \
        } while (0)

static void start_of_containerd_1_6_is_read(void **state)
{
        struct options o =
                PARSE("-namespace", "default", "-address", "/run/containerd/containerd.sock",
                      "-publish-binary", "/usr/bin/containerd", "-id", "redis", "-debug", "start");

        (void)state;
        assert_string_equal(o.runtime_namespace, "default");
        assert_string_equal(o.address, "/run/containerd/containerd.sock");
        assert_string_equal(o.publish_binary, "/usr/bin/containerd");
        assert_string_equal(o.id, "redis");
        assert_string_equal(o.action, "start");
        assert_string_equal(o.bundle, "");
        assert_true(o.debug);
        assert_false(o.version);
}

static void all_four_spellings_of_a_value_are_read(void **state)
{
        (void)state;
        assert_string_equal(PARSE("-id", "a").id, "a");
        assert_string_equal(PARSE("-id=a").id, "a");
        assert_string_equal(PARSE("--id", "a").id, "a");
        assert_string_equal(PARSE("--id=a").id, "a");
}

static void a_value_may_look_like_a_flag_or_be_empty(void **state)
{
        (void)state;
        assert_string_equal(PARSE("-id", "-debug").id, "-debug");
        assert_string_equal(PARSE("-id=a=b").id, "a=b");
        assert_string_equal(PARSE("-id=").id, "");
        assert_string_equal(PARSE("-id", "").id, "");
}

static void a_boolean_takes_its_value_only_after_an_equals_sign(void **state)
{
        struct options o = PARSE("-debug", "false");

        (void)state;
        assert_true(o.debug);
        assert_string_equal(o.action, "false");
        assert_false(PARSE("-debug=false").debug);
        assert_false(PARSE("--debug=0").debug);
        assert_false(PARSE("-debug", "-debug=F").debug);
        assert_true(PARSE("-debug=t").debug);
        assert_true(PARSE("-debug=1").debug);
        assert_true(PARSE("-debug=TRUE").debug);
}

static void parsing_stops_at_the_action(void **state)
{
        struct options o = PARSE("-id", "a", "delete", "-id", "b", "-unknown");

        (void)state;
        assert_string_equal(o.id, "a");
        assert_string_equal(o.action, "delete");
}

static void two_dashes_end_the_flags(void **state)
{
        struct options o = PARSE("-id", "a", "--", "-v");

        (void)state;
        assert_string_equal(o.action, "-v");
        assert_false(o.version);
}

static void a_single_dash_is_an_action(void **state)
{
        (void)state;
        assert_string_equal(PARSE("-", "start").action, "-");
}

static void without_words_the_action_is_empty(void **state)
{
        struct options o = parse_ok(1, (const char *[]){"shim", NULL});

        (void)state;
        assert_string_equal(o.action, "");
        assert_string_equal(o.runtime_namespace, "");
        assert_string_equal(o.socket, "");
}

static void version_and_info_have_their_spellings(void **state)
{
        (void)state;
        assert_true(PARSE("-v").version);
        assert_true(PARSE("--version").version);
        assert_true(PARSE("-info").info);
        assert_true(PARSE("-h").help);
        assert_true(PARSE("--help").help);
}

static void what_go_refuses_is_refused_in_its_words(void **state)
{
        (void)state;
        assert_refused("flag provided but not defined: -nonsense", "-nonsense", "start");
        assert_refused("flag provided but not defined: -nonsense", "--nonsense=1", "start");
        assert_refused("flag provided but not defined: -i", "-i", "x");
        assert_refused("flag needs an argument: -id", "-id");
        assert_refused("bad flag syntax: -=x", "-=x");
        assert_refused("bad flag syntax: ---id", "---id", "x");
        assert_refused("bad flag syntax: --=x", "--=x");
        assert_refused("invalid boolean value \"yes\" for -debug: parse error", "-debug=yes");
        assert_refused("invalid boolean value \"\" for -debug: parse error", "-debug=");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(start_of_containerd_1_6_is_read),
                cmocka_unit_test(all_four_spellings_of_a_value_are_read),
                cmocka_unit_test(a_value_may_look_like_a_flag_or_be_empty),
                cmocka_unit_test(a_boolean_takes_its_value_only_after_an_equals_sign),
                cmocka_unit_test(parsing_stops_at_the_action),
                cmocka_unit_test(two_dashes_end_the_flags),
                cmocka_unit_test(a_single_dash_is_an_action),
                cmocka_unit_test(without_words_the_action_is_empty),
                cmocka_unit_test(version_and_info_have_their_spellings),
                cmocka_unit_test(what_go_refuses_is_refused_in_its_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
