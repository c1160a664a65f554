/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of belay, with two verbs of the test's own.
 */
#include <limits.h>
#include <string.h>

#include "cmd/belay/args.h"
#include "test/unit/unit.h"

static const struct verb verbs[] = {
        {
                .name = "run",
                .flags = ARG_BIT(ARG_RM) | ARG_BIT(ARG_DETACH) | ARG_BIT(ARG_TERMINAL) |
                         ARG_BIT(ARG_ENV) | ARG_BIT(ARG_ROOTFS),
                .takes_id = true,
                .words_max = INT_MAX,
        },
        {.name = "kill", .flags = ARG_BIT(ARG_ALL), .takes_id = true, .words_max = 1},
        {.name = "list"},
};

static struct args parse_ok(int argc, const char *const *argv, const char *verb_name)
{
        const struct verb *verb = NULL;
        struct error err = ERROR_INIT;
        struct args args;

        assert_int_equal(args_parse(argc, argv, verbs, UNIT_COUNT(verbs), &args, &verb, &err), 0);
        assert_string_equal(verb ? verb->name : "", verb_name);
        return args;
}

#define ARGV(...)                                                                   \
        (int)UNIT_COUNT(((const char *[]){"belay", __VA_ARGS__})), (const char *[]) \
        {                                                                           \
                "belay", __VA_ARGS__, NULL                                          \
        }

static void assert_refused(const char *text, int argc, const char *const *argv)
{
        const struct verb *verb = NULL;
        struct error err = ERROR_INIT;
        struct args args;

        assert_int_equal(args_parse(argc, argv, verbs, UNIT_COUNT(verbs), &args, &verb, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.msg, text));
}

static void defaults_hold_when_nothing_is_given(void **state)
{
        struct args args = parse_ok(ARGV("list"), "list");

        (void)state;
        assert_string_equal(args.root, "/run/belay");
        assert_string_equal(args.runtime_namespace, "belay");
        assert_string_equal(args.exec_id, "");
        assert_null(args.id);
        assert_null(args.bundle);
        assert_false(args.json);
}

static void options_stand_before_and_behind_verb_and_id(void **state)
{
        struct args args = parse_ok(
                ARGV("--root", "/r", "run", "--rm", "-t", "box", "--rootfs=/x", "sh", "-c", "ls"),
                "run");

        (void)state;
        assert_string_equal(args.root, "/r");
        assert_string_equal(args.id, "box");
        assert_string_equal(args.rootfs, "/x");
        assert_true(args.rm);
        assert_true(args.terminal);
        assert_int_equal(args.n_words, 3);
        assert_string_equal(args.words[1], "-c");
}

static void two_dashes_leave_the_rest_to_the_container(void **state)
{
        struct args args = parse_ok(ARGV("run", "box", "--", "--rm", "--"), "run");

        (void)state;
        assert_false(args.rm);
        assert_int_equal(args.n_words, 2);
        assert_string_equal(args.words[0], "--rm");
        assert_null(args.words[2]);
}

static void letters_may_be_joined_with_each_other_and_with_a_value(void **state)
{
        struct args args = parse_ok(ARGV("run", "-dt", "-eA=1", "-e", "B=2", "box"), "run");

        (void)state;
        assert_true(args.detach);
        assert_true(args.terminal);
        assert_int_equal(args.n_env, 2);
        assert_string_equal(args.env[0], "A=1");
        assert_string_equal(args.env[1], "B=2");
        assert_int_equal(args.n_words, 0);
}

static void help_and_version_need_nothing_else(void **state)
{
        (void)state;
        assert_true(parse_ok(ARGV("--help"), "").help);
        assert_true(parse_ok(ARGV("run", "-h"), "run").help);
        assert_true(parse_ok(ARGV("-V"), "").version);
}

static void mistakes_are_named(void **state)
{
        (void)state;
        assert_refused("unknown verb 'fly'", ARGV("fly"));
        assert_refused("unknown option --nope", ARGV("run", "--nope", "box"));
        assert_refused("unknown option -x", ARGV("run", "-x", "box"));
        assert_refused("kill does not take --rm", ARGV("kill", "--rm", "box"));
        assert_refused("without a verb does not take --rm", ARGV("--rm", "run", "box"));
        assert_refused("--rm takes no value", ARGV("run", "--rm=1", "box"));
        assert_refused("--root needs a value", ARGV("list", "--root"));
        assert_refused("which container?", ARGV("kill"));
        assert_refused("what is 'extra'?", ARGV("kill", "box", "TERM", "extra"));
        assert_refused("what is 'box'?", ARGV("list", "box"));
        assert_refused("'../box' is not an id", ARGV("kill", "../box"));
}

static void environment_variables_have_a_limit(void **state)
{
        const char *argv[2 * ARGS_ENV_MAX + 6] = {"belay", "run"};
        const struct verb *verb = NULL;
        struct error err = ERROR_INIT;
        struct args args;
        int n = 2;

        (void)state;
        for (int i = 0; i < ARGS_ENV_MAX; i++) {
                argv[n++] = "-e";
                argv[n++] = "A=1";
        }
        argv[n++] = "box";
        assert_int_equal(args_parse(n, argv, verbs, UNIT_COUNT(verbs), &args, &verb, &err), 0);
        argv[n - 1] = "-e";
        argv[n++] = "A=1";
        assert_int_equal(args_parse(n, argv, verbs, UNIT_COUNT(verbs), &args, &verb, &err), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(defaults_hold_when_nothing_is_given),
                cmocka_unit_test(options_stand_before_and_behind_verb_and_id),
                cmocka_unit_test(two_dashes_leave_the_rest_to_the_container),
                cmocka_unit_test(letters_may_be_joined_with_each_other_and_with_a_value),
                cmocka_unit_test(help_and_version_need_nothing_else),
                cmocka_unit_test(mistakes_are_named),
                cmocka_unit_test(environment_variables_have_a_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
