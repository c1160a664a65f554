/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/runc/internal.h"

#include "test/unit/unit.h"

static char got[64];

static bool last_error(const char *log)
{
        return log_last_error(log, strlen(log), got, sizeof(got));
}

static bool member(const char *text, const char *key)
{
        return json_string(text, strlen(text), key, got, sizeof(got));
}

static void the_last_error_of_a_log_counts(void **state)
{
        (void)state;
        assert_true(last_error("{\"level\":\"error\",\"msg\":\"first\",\"time\":\"t\"}\n"
                               "{\"level\":\"warning\",\"msg\":\"w\"}\n"
                               "{\"msg\":\"second \\\"x\\\"\\n\",\"level\":\"error\"}\n"
                               "{\"level\":\"info\",\"msg\":\"i\"}\n"));
        assert_string_equal(got, "second \"x\"");
}

static void a_log_without_an_error_has_none(void **state)
{
        static const char *const logs[] = {
                "",
                "\n\n",
                "plain text\n",
                "{\"level\":\"warning\",\"msg\":\"w\"}\n",
                "{\"level\":\"error\"}\n",
                "{\"level\":\"error\",\"msg\":\"cut",
                "{\"level\":\"error\",\"msg\":7}",
                "{\"x\":{\"level\":\"error\",\"msg\":\"inner\"}}",
                "[\"level\",\"error\"]",
                "{\"level\":\"error\",\"msg\":\"bad \\u12\"}",
                "{\"level\":\"error\",\"msg\":\"bad \\q\"}",
                "{]",
                "{\"a\":]}",
        };

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(logs); i++)
                assert_false(last_error(logs[i]));
}

static void a_line_that_was_cut_hides_none_before_it(void **state)
{
        (void)state;
        assert_true(last_error("{\"level\":\"error\",\"msg\":\"whole\"}\n{\"level\":\"err"));
        assert_string_equal(got, "whole");
        assert_true(last_error("or\",\"msg\":\"half\"}\n{\"level\":\"error\",\"msg\":\"whole\"}"));
        assert_string_equal(got, "whole");
}

static void members_of_any_type_are_passed_over(void **state)
{
        (void)state;
        assert_true(member(" { \"a\" : [1, {\"root\":\"no\"}, \"}\"] , \"b\":true, \"c\":-1.5e3, "
                           "\"root\" : \"/run/x\" }",
                           "root"));
        assert_string_equal(got, "/run/x");
        assert_false(member("{\"a\":{\"root\":\"no\"}}", "root"));
        assert_false(member("{\"root\":null}", "root"));
}

static void escapes_become_utf8(void **state)
{
        (void)state;
        assert_true(member("{\"m\":\"\\u0041\\u00e9\\u20AC\\ud83d\\u0000\\t\\/\"}", "m"));
        assert_string_equal(got, "A\xc3\xa9\xe2\x82\xac??\t/");
}

static void what_does_not_fit_is_cut(void **state)
{
        char text[256] = "{\"m\":\"";

        (void)state;
        memset(text + strlen(text), 'x', 200);
        memcpy(text + 206, "\"}", 3);
        assert_true(member(text, "m"));
        assert_int_equal(strlen(got), sizeof(got) - 1);
}

static void assert_set(const char *text, bool value, const char *expected)
{
        size_t len = strlen(text);
        _cleanup_free_ char *changed = json_set_bool(text, &len, "t", value);

        assert_non_null(changed);
        assert_string_equal(changed, expected);
        assert_int_equal(len, strlen(expected));
}

static void a_member_is_set_where_it_is_or_added_in_front(void **state)
{
        (void)state;
        assert_set("{\"a\":1,\"t\" : true ,\"b\":[2]}", false, "{\"a\":1,\"t\" : false,\"b\":[2]}");
        assert_set("{\"t\":null}", true, "{\"t\":true}");
        assert_set(" {\"a\":{\"t\":false}}", true, "{\"t\":true,\"a\":{\"t\":false}}");
        assert_set("{ }", true, "{\"t\":true }");
        assert_set("{", true, "{\"t\":true,");
        assert_set("[]", true, "[]");
        assert_set("", true, "");
}

static void a_quoted_string_is_read_back(void **state)
{
        static const char nasty[] = "a\"b\\c\n\t\x01 \xc3\xa9";
        _cleanup_free_ char *quoted = json_quote(nasty);
        char text[128] = "{\"k\":";

        (void)state;
        assert_non_null(quoted);
        memcpy(text + 5, quoted, strlen(quoted));
        memcpy(text + 5 + strlen(quoted), "}", 2);
        assert_true(member(text, "k"));
        assert_string_equal(got, nasty);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_last_error_of_a_log_counts),
                cmocka_unit_test(a_log_without_an_error_has_none),
                cmocka_unit_test(a_line_that_was_cut_hides_none_before_it),
                cmocka_unit_test(members_of_any_type_are_passed_over),
                cmocka_unit_test(escapes_become_utf8),
                cmocka_unit_test(what_does_not_fit_is_cut),
                cmocka_unit_test(a_member_is_set_where_it_is_or_added_in_front),
                cmocka_unit_test(a_quoted_string_is_read_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
