/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts with more than one meaning, or none: most of these json-c reads without complaint.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/oci/json_check.h"

#include "test/unit/unit.h"

/* The text lies at the end of its allocation, so that ASan sees a read beyond it. */
static int check_exactly(const char *text, size_t len, struct error *err)
{
        char *copy = malloc(len > 0 ? len : 1);
        int r;

        memcpy(copy, text, len);
        r = json_check(copy, len, "doc", "", err);
        free(copy);
        return r;
}

static void assert_good(const char *text)
{
        struct error err = ERROR_INIT;

        if (check_exactly(text, strlen(text), &err) < 0)
                fail_msg("%s: unexpectedly: %s", text, err.msg);
}

static void assert_bad(const char *text, const char *message)
{
        struct error err = ERROR_INIT;

        if (check_exactly(text, strlen(text), &err) == 0)
                fail_msg("%s: went through; expected: %s", text, message);
        assert_string_equal(err.msg, message);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
}

static void what_rfc_8259_allows_is_good(void **state)
{
        assert_good("{}");
        assert_good(" [ ] ");
        assert_good("null");
        assert_good("\"\"");
        assert_good("-0");
        assert_good("[0,-1,10,1.5,-0.25,1e9,1E+9,1.0e-300,true,false,null]");
        assert_good("{\"a\":{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]},\"b\":1}}");
        assert_good("\t\r\n {\"\":\"\"}");
        assert_good("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\\uFFFF\"");
        assert_good(
                "\"\x7f \xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 "
                "\xf4\x8f\xbf\xbf\"");
        assert_good("[18446744073709551615,-9223372036854775808]");
}

static void the_grammar_is_kept_to_the_letter(void **state)
{
        assert_bad("", "doc: line 1, column 1: a value is missing");
        assert_bad(" \n ", "doc: line 2, column 2: a value is missing");
        assert_bad("{} {}", "doc: line 1, column 4: text after the end");
        assert_bad("{},", "doc: line 1, column 3: text after the end");
        assert_bad("{}x", "doc: line 1, column 3: text after the end");
        assert_bad("{", "doc: line 1, column 2: end of text");
        assert_bad("[[]", "doc: line 1, column 4: end of text");
        assert_bad("{\"a\"", "doc: line 1, column 5: ':' is missing");
        assert_bad("{\"a\":", "doc: line 1, column 6: a value is missing");
        assert_bad("{\"a\":1,}", "doc: line 1, column 8: the name of a property is missing");
        assert_bad("{,}", "doc: line 1, column 2: the name of a property is missing");
        assert_bad("{a:1}", "doc: line 1, column 2: the name of a property is missing");
        assert_bad("{'a':1}", "doc: line 1, column 2: the name of a property is missing");
        assert_bad("['a']", "doc: line 1, column 2: a value is missing");
        assert_bad("[1,]", "doc: line 1, column 4: a value is missing");
        assert_bad("[,1]", "doc: line 1, column 2: a value is missing");
        assert_bad("[1 2]", "doc: line 1, column 4: ',' or ']' is missing");
        assert_bad("[1}", "doc: line 1, column 3: ',' or ']' is missing");
        assert_bad("{\"a\":1]", "doc: line 1, column 7: ',' or '}' is missing");
        assert_bad("{\"a\":1 \"b\":2}", "doc: line 1, column 8: ',' or '}' is missing");
        assert_bad("/* x */{}", "doc: line 1, column 1: a value is missing");
        assert_bad("{// x\n}", "doc: line 1, column 2: the name of a property is missing");
        assert_bad("\xef\xbb\xbf{}", "doc: line 1, column 1: a value is missing");
        assert_bad("[\f1]", "doc: line 1, column 2: a value is missing");
}

static void words_are_three_and_lower_case(void **state)
{
        assert_bad("[NaN]", "doc: line 1, column 2: a value is missing");
        assert_bad("[Infinity]", "doc: line 1, column 2: a value is missing");
        assert_bad("[-Infinity]", "doc: line 1, column 3: a digit is missing");
        assert_bad("[True]", "doc: line 1, column 2: a value is missing");
        assert_bad("[nul]", "doc: line 1, column 2: a value is missing");
        assert_bad("[nulll]", "doc: line 1, column 6: ',' or ']' is missing");
}

static void numbers_have_one_spelling_and_fit_64_bits(void **state)
{
        assert_bad("[01]", "doc: line 1, column 4: a number begins with 0");
        assert_bad("[-01]", "doc: line 1, column 5: a number begins with 0");
        assert_bad("[+1]", "doc: line 1, column 2: a value is missing");
        assert_bad("[.5]", "doc: line 1, column 2: a value is missing");
        assert_bad("[1.]", "doc: line 1, column 4: a digit is missing");
        assert_bad("[1.e1]", "doc: line 1, column 4: a digit is missing");
        assert_bad("[1e]", "doc: line 1, column 4: a digit is missing");
        assert_bad("[1e+]", "doc: line 1, column 5: a digit is missing");
        assert_bad("[-]", "doc: line 1, column 3: a digit is missing");
        assert_bad("[0x10]", "doc: line 1, column 3: ',' or ']' is missing");
        assert_bad("[1,18446744073709551616]", "[1]: number out of range");
        assert_bad("{\"a\":-9223372036854775809}", "a: number out of range");
        assert_bad("99999999999999999999999999999999", "doc: number out of range");
}

static void strings_are_utf_8_without_control_characters_and_nul(void **state)
{
        assert_bad("\"abc", "doc: line 1, column 5: end of text in a string");
        assert_bad("\"abc\\", "doc: line 1, column 5: unknown escape in a string");
        assert_bad("\"abc\\\"", "doc: line 1, column 7: end of text in a string");
        assert_bad("\"a\nb\"", "doc: line 1, column 3: control character in a string");
        assert_bad("\"\x1f\"", "doc: line 1, column 2: control character in a string");
        assert_bad("\"\\q\"", "doc: line 1, column 2: unknown escape in a string");
        assert_bad("\"\\u12\"", "doc: line 1, column 2: unknown escape in a string");
        assert_bad("\"\\u12g4\"", "doc: line 1, column 2: unknown escape in a string");
        assert_bad("\"\\ud800\"", "doc: line 1, column 2: half of a surrogate pair");
        assert_bad("\"\\ud800x\"", "doc: line 1, column 2: half of a surrogate pair");
        assert_bad("\"\\ud800\\u0041\"", "doc: line 1, column 2: half of a surrogate pair");
        assert_bad("\"\\udc00\"", "doc: line 1, column 2: half of a surrogate pair");
        assert_bad("\"\xff\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\x80\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\xc0\x80\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\xc3\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\xe0\x9f\xbf\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\xed\xa0\x80\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\xf0\x8f\xbf\xbf\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\xf4\x90\x80\x80\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("\"\xf5\x80\x80\x80\"", "doc: line 1, column 2: not UTF-8");
        assert_bad("{\"a\":[\"x\",\"\\u0000\"]}", "a[1]: NUL in a string");
        assert_bad("{\"a\\u0000\":1}", "['a\\u0000']: NUL in the name of a property");
}

static void a_nul_byte_is_text_like_any_other(void **state)
{
        static const char after[] = "{}\0";
        static const char before_value[] = "[\0]";
        static const char in_string[] = "[\"\0\"]";
        static const char in_escape[] = "[\"\\\0\"]";
        struct error err = ERROR_INIT;

        assert_int_equal(check_exactly(after, 3, &err), -1);
        assert_string_equal(err.msg, "doc: line 1, column 3: text after the end");
        assert_int_equal(check_exactly(before_value, 3, &err), -1);
        assert_string_equal(err.msg, "doc: line 1, column 2: a value is missing");
        assert_int_equal(check_exactly(in_string, 5, &err), -1);
        assert_string_equal(err.msg, "doc: line 1, column 3: control character in a string");
        assert_int_equal(check_exactly(in_escape, 6, &err), -1);
        assert_string_equal(err.msg, "doc: line 1, column 3: unknown escape in a string");
}

static void a_key_given_twice_is_found_in_every_spelling(void **state)
{
        assert_bad("{\"a\":1,\"a\":1}", "a: given twice");
        assert_bad("{\"x\":{\"b\":1,\"c\":{\"b\":2},\"a\":3,\"b\":{\"z\":0}}}", "x.b: given twice");
        assert_bad("[0,{\"\":1,\"\":2}]", "[1]['']: given twice");
        assert_bad("{\"\xc3\xa9\":1,\"\xc3\xa9\":1}", "['\xc3\xa9']: given twice");
        assert_good("{\"a\":1,\"A\":1,\"aa\":1,\"\":1,\"b\":{\"a\":1}}");
        assert_good("[{\"a\":1},{\"a\":1}]");
        /* Which of two spellings is shown depends on the sort; that it is found does not. */
        assert_int_equal(check_exactly("{\"a\":1,\"\\u0061\":1}", 18, NULL), -1);
        assert_int_equal(check_exactly("{\"\xc3\xa9\":1,\"\\u00E9\":1}", 19, NULL), -1);
        assert_int_equal(check_exactly("{\"/\":1,\"\\/\":1}", 14, NULL), -1);
}

static void a_key_given_twice_is_found_among_many(void **state)
{
        _cleanup_free_ char *text = NULL;
        struct error err = ERROR_INIT;
        size_t len = 0;
        FILE *f = open_memstream(&text, &len);

        (void)fputc('{', f);
        for (int i = 0; i < 50000; i++)
                (void)fprintf(f, "\"key%d\":%d,", i, i);
        (void)fflush(f);
        assert_int_equal(check_exactly(text, len, &err), -1);
        assert_string_equal(err.msg,
                            "doc: line 1, column 827782: the name of a property is missing");
        (void)fputs("\"key31415\":0}", f);
        (void)fclose(f);
        assert_int_equal(check_exactly(text, len, &err), -1);
        assert_string_equal(err.msg, "key31415: given twice");
        text[len - 5] = '!'; /* the key's last digit */
        assert_int_equal(check_exactly(text, len, &err), 0);
}

static void depth_and_size_are_bounded(void **state)
{
        _cleanup_free_ char *text = calloc(1, LIMIT_CONFIG_BYTES + 1);
        struct error err = ERROR_INIT;

        memset(text, '[', LIMIT_JSON_DEPTH);
        memset(text + LIMIT_JSON_DEPTH, ']', LIMIT_JSON_DEPTH);
        assert_int_equal(check_exactly(text, 2 * LIMIT_JSON_DEPTH, &err), 0);
        memset(text, '[', LIMIT_JSON_DEPTH + 1);
        assert_int_equal(check_exactly(text, 2 * LIMIT_JSON_DEPTH, &err), -1);
        assert_string_equal(err.msg, "doc: line 1, column 65: nested too deeply");

        text[0] = '[';
        for (size_t i = 1; i < 2 * LIMIT_JSON_VALUES + 2; i += 2)
                memcpy(text + i, "0,", 2);
        assert_int_equal(check_exactly(text, 2 * LIMIT_JSON_VALUES + 1, &err), -1);
        assert_non_null(strstr(err.msg, ": too many values"));

        for (size_t i = 1; i < 3 * LIMIT_JSON_CONTAINERS + 3; i += 3)
                memcpy(text + i, "{},", 3);
        assert_int_equal(check_exactly(text, 3 * LIMIT_JSON_CONTAINERS + 1, &err), -1);
        assert_non_null(strstr(err.msg, ": too many objects and lists"));

        memset(text, ' ', LIMIT_CONFIG_BYTES + 1);
        memcpy(text, "{}", 2);
        assert_int_equal(json_check(text, LIMIT_CONFIG_BYTES, "doc", "", &err), 0);
        assert_int_equal(json_check(text, LIMIT_CONFIG_BYTES + 1, "doc", "", &err), -1);
        assert_string_equal(err.msg, "doc: longer than 10485760 bytes");
}

static void a_long_path_is_cut_and_not_overrun(void **state)
{
        char text[4096];
        size_t used = 0;
        struct error err = ERROR_INIT;

        for (int i = 0; i < 60; i++)
                used += (size_t)snprintf(text + used, sizeof(text) - used, "{\"property%d\":", i);
        (void)snprintf(text + used, sizeof(text) - used, "\"\\u0000\"");
        assert_int_equal(check_exactly(text, strlen(text), &err), -1);
        assert_int_equal(strlen(err.msg), 255 + strlen(": NUL in a string"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_rfc_8259_allows_is_good),
                cmocka_unit_test(the_grammar_is_kept_to_the_letter),
                cmocka_unit_test(words_are_three_and_lower_case),
                cmocka_unit_test(numbers_have_one_spelling_and_fit_64_bits),
                cmocka_unit_test(strings_are_utf_8_without_control_characters_and_nul),
                cmocka_unit_test(a_nul_byte_is_text_like_any_other),
                cmocka_unit_test(a_key_given_twice_is_found_in_every_spelling),
                cmocka_unit_test(a_key_given_twice_is_found_among_many),
                cmocka_unit_test(depth_and_size_are_bounded),
                cmocka_unit_test(a_long_path_is_cut_and_not_overrun),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
