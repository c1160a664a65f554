/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/clock.h"
#include "pkg/log/format.h"

#include "test/unit/unit.h"

#define AT      (UINT64_C(1700000000) * NSEC_PER_SEC + 5)
#define AT_TEXT "2023-11-14T22:13:20.000000005Z"

struct got {
        char *text;
        size_t len;
        size_t n_output;
        size_t n_emits;
};

static struct log_formatter formatter;

static void on_emit(const char *entries, size_t len, size_t n_output, void *userdata)
{
        struct got *got = userdata;

        got->text = realloc(got->text, got->len + len + 1);
        assert_non_null(got->text);
        memcpy(got->text + got->len, entries, len);
        got->len += len;
        got->text[got->len] = '\0';
        got->n_output += n_output;
        got->n_emits++;
}

static void begin(struct got *got, enum log_format format)
{
        *got = (struct got){0};
        log_formatter_init(&formatter, format, on_emit, got);
}

static void feed(int stream, const char *text)
{
        log_formatter_feed(&formatter, stream, AT, text, strlen(text));
}

static void expect(struct got *got, const char *want)
{
        assert_string_equal(got->text ? got->text : "", want);
        free(got->text);
        *got = (struct got){0};
}

static void cri_has_a_line_for_each_line(void **state)
{
        struct got got;

        begin(&got, LOG_FORMAT_CRI);
        feed(LOG_STDOUT, "one\ntwo\n\n");
        assert_int_equal(got.n_emits, 1);
        assert_int_equal(got.n_output, 9);
        expect(&got, AT_TEXT " stdout F one\n" AT_TEXT " stdout F two\n" AT_TEXT " stdout F \n");
        feed(LOG_STDERR, "three\n");
        expect(&got, AT_TEXT " stderr F three\n");
}

static void a_line_that_comes_in_parts_is_one(void **state)
{
        struct got got;

        begin(&got, LOG_FORMAT_CRI);
        feed(LOG_STDOUT, "half");
        assert_true(log_formatter_has_part(&formatter));
        feed(LOG_STDERR, "between\n");
        expect(&got, AT_TEXT " stderr F between\n");
        feed(LOG_STDOUT, " and half\n");
        assert_false(log_formatter_has_part(&formatter));
        expect(&got, AT_TEXT " stdout F half and half\n");
}

static void what_never_ends_is_a_part(void **state)
{
        struct got got;

        begin(&got, LOG_FORMAT_CRI);
        feed(LOG_STDOUT, "$ ");
        feed(LOG_STDERR, "?");
        log_formatter_flush(&formatter);
        assert_int_equal(got.n_output, 3);
        expect(&got, AT_TEXT " stdout P $ \n" AT_TEXT " stderr P ?\n");
        log_formatter_flush(&formatter);
        assert_int_equal(got.n_emits, 0);
}

static void a_long_line_is_cut_into_parts(void **state)
{
        static char line[2 * LOG_LINE_MAX + 11];
        struct got got;
        size_t n = strlen(AT_TEXT " stdout P ");

        memset(line, 'x', sizeof(line));
        line[sizeof(line) - 1] = '\n';
        begin(&got, LOG_FORMAT_CRI);
        log_formatter_feed(&formatter, LOG_STDOUT, AT, line, sizeof(line));
        assert_int_equal(got.n_output, sizeof(line));
        assert_int_equal(got.len, 3 * (n + 1) + sizeof(line) - 1);
        assert_memory_equal(got.text, AT_TEXT " stdout P xx", n + 2);
        assert_string_equal(got.text + got.len - n - 12, "\n" AT_TEXT " stdout F xxxxxxxxxx\n");
        free(got.text);
}

static void json_is_what_docker_writes(void **state)
{
        struct got got;

        begin(&got, LOG_FORMAT_JSON);
        feed(LOG_STDERR, "a \"b\" \\ \t\x01 \xc3\xa4 \xff\xc3 \xed\xa0\x80\n");
        expect(&got,
               "{\"log\":\"a \\\"b\\\" \\\\ \\u0009\\u0001 \xc3\xa4 \\ufffd\\ufffd "
               "\\ufffd\\ufffd\\ufffd\\n\",\"stream\":\"stderr\",\"time\":\"" AT_TEXT "\"}\n");
        feed(LOG_STDOUT, "part");
        log_formatter_flush(&formatter);
        expect(&got, "{\"log\":\"part\",\"stream\":\"stdout\",\"time\":\"" AT_TEXT "\"}\n");
}

/* Text is looked at in groups of bytes. */
static void json_escapes_a_character_wherever_it_stands(void **state)
{
        static const struct {
                const char *text;
                const char *want;
        } cases[] = {
                {"\"", "\\\""},
                {"\\", "\\\\"},
                {"\x1f", "\\u001f"},
                {"!", "!"},
                {"\x7f", "\x7f"},
                {"\x80", "\\ufffd"},
                {"\xff", "\\ufffd"},
                {"\xe2\x82\xac", "\xe2\x82\xac"},
                {"\xe2\x82", "\\ufffd\\ufffd"},
                {"\"\x01\\", "\\\"\\u0001\\\\"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                for (int before = 0; before < 20; before++) {
                        struct got got;
                        char text[64];
                        char want[256];

                        (void)snprintf(text, sizeof(text), "%.*s%s%.*s\n", before,
                                       "abcdefghijklmnopqrstuvwxyz", cases[i].text, 20 - before,
                                       "#$%&'()*+,-./0123456");
                        (void)snprintf(want, sizeof(want),
                                       "{\"log\":\"%.*s%s%.*s\\n\",\"stream\":\"stdout\","
                                       "\"time\":\"" AT_TEXT "\"}\n",
                                       before, "abcdefghijklmnopqrstuvwxyz", cases[i].want,
                                       20 - before, "#$%&'()*+,-./0123456");
                        begin(&got, LOG_FORMAT_JSON);
                        feed(LOG_STDOUT, text);
                        expect(&got, want);
                }
        }
}

static void an_entry_has_the_time_of_its_beginning(void **state)
{
        struct got got;

        begin(&got, LOG_FORMAT_CRI);
        feed(LOG_STDOUT, "first ");
        log_formatter_feed(&formatter, LOG_STDERR, AT + NSEC_PER_SEC, "other\n", 6);
        log_formatter_feed(&formatter, LOG_STDOUT, AT + NSEC_PER_SEC + 7, "end\nnext\n", 9);
        expect(&got, "2023-11-14T22:13:21.000000005Z stderr F other\n" AT_TEXT
                     " stdout F first end\n2023-11-14T22:13:21.000000012Z stdout F next\n");
        log_formatter_feed(&formatter, LOG_STDOUT, 5, "long ago\n", 9);
        expect(&got, "1970-01-01T00:00:00.000000005Z stdout F long ago\n");
}

static void raw_is_what_was_written(void **state)
{
        struct got got;

        begin(&got, LOG_FORMAT_RAW);
        feed(LOG_STDOUT, "a\nb");
        feed(LOG_STDERR, "c");
        expect(&got, "a\nbc");
}

/* The most that an entry can become, many of them at once, at every length. */
static void nothing_is_too_much_for_the_buffer(void **state)
{
        static char data[200000];
        struct got got;

        memset(data, 1, sizeof(data));
        begin(&got, LOG_FORMAT_JSON);
        log_formatter_feed(&formatter, LOG_STDOUT, AT, data, sizeof(data));
        log_formatter_flush(&formatter);
        assert_int_equal(got.n_output, sizeof(data));
        free(got.text);
        memset(data, '\n', sizeof(data));
        begin(&got, LOG_FORMAT_CRI);
        log_formatter_feed(&formatter, LOG_STDOUT, AT, data, sizeof(data));
        assert_int_equal(got.n_output, sizeof(data));
        assert_int_equal(got.len, sizeof(data) * strlen(AT_TEXT " stdout F \n"));
        free(got.text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(cri_has_a_line_for_each_line),
                cmocka_unit_test(a_line_that_comes_in_parts_is_one),
                cmocka_unit_test(what_never_ends_is_a_part),
                cmocka_unit_test(a_long_line_is_cut_into_parts),
                cmocka_unit_test(json_is_what_docker_writes),
                cmocka_unit_test(json_escapes_a_character_wherever_it_stands),
                cmocka_unit_test(an_entry_has_the_time_of_its_beginning),
                cmocka_unit_test(raw_is_what_was_written),
                cmocka_unit_test(nothing_is_too_much_for_the_buffer),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
