/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of logs as others and we have written them.
 */
#include <stdlib.h>
#include <string.h>

#include "pkg/log/entry.h"

#include "test/unit/unit.h"

static char room[4096];

static bool parse(enum log_format format, const char *line, struct log_entry *entry)
{
        /* A copy of exactly that size, so that ASan sees what is read behind it. */
        static char *copy;
        size_t len = strlen(line);

        free(copy);
        copy = malloc(len + 1);
        assert_non_null(copy);
        copy = realloc(copy, len > 0 ? len : 1);
        memcpy(copy, line, len);
        return log_entry_parse(format, copy, len, room, entry);
}

static void assert_text(const struct log_entry *entry, const char *text)
{
        assert_int_equal(entry->n, strlen(text));
        assert_memory_equal(entry->text, text, strlen(text));
}

/* ---- Times ---- */

static void a_time_is_nanoseconds_since_1970(void **state)
{
        static const struct {
                const char *text;
                uint64_t ns;
        } times[] = {
                {"1970-01-01T00:00:00Z", 0},
                {"2000-02-29T12:00:00Z", UINT64_C(951825600000000000)},
                {"2023-11-14T22:13:20.123456789Z", UINT64_C(1700000000123456789)},
                {"2023-11-14T22:13:20.5Z", UINT64_C(1700000000500000000)},
                {"2023-11-14T23:13:20.1234567891234+01:00", UINT64_C(1700000000123456789)},
                {"2023-11-14T16:43:20-05:30", UINT64_C(1700000000000000000)},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
                uint64_t ns = 1;

                assert_true(log_time_parse(times[i].text, strlen(times[i].text), &ns));
                assert_int_equal(ns, times[i].ns);
        }
}

static void what_is_no_time_is_refused(void **state)
{
        static const char *const texts[] = {
                "",
                "2023-11-14",
                "2023-11-14T22:13:20",
                "2023-11-14T22:13:20.Z",
                "2023-13-14T22:13:20Z",
                "2023-11-14 22:13:20Z",
                "2023-11-14T22:13:20Zx",
                "9999-11-14T22:13:20Z",
                "1969-12-31T23:59:59Z",
                "1970-01-01T00:00:00+01:00",
                "2023-11-14T24:13:20Z",
                "+023-11-14T22:13:20Z",
                "2023-11-14T22:13:20+1:00",
        };
        uint64_t ns;

        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                assert_false(log_time_parse(texts[i], strlen(texts[i]), &ns));
}

/* ---- CRI ---- */

static void a_line_of_containerd_s_cri_is_understood(void **state)
{
        struct log_entry entry;

        (void)state;
        assert_true(parse(LOG_FORMAT_CRI, "2023-11-14T22:13:20.123456789+00:00 stderr F a  text ",
                          &entry));
        assert_int_equal(entry.stream, LOG_STDERR);
        assert_int_equal(entry.time_ns, UINT64_C(1700000000123456789));
        assert_false(entry.is_partial);
        assert_text(&entry, "a  text ");
}

static void a_part_and_an_empty_line_of_cri_are_understood(void **state)
{
        struct log_entry entry;

        (void)state;
        assert_true(parse(LOG_FORMAT_CRI, "2023-11-14T22:13:20Z stdout P part", &entry));
        assert_true(entry.is_partial);
        assert_text(&entry, "part");
        assert_true(parse(LOG_FORMAT_CRI, "2023-11-14T22:13:20Z stdout F ", &entry));
        assert_false(entry.is_partial);
        assert_text(&entry, "");
        assert_true(parse(LOG_FORMAT_CRI, "2023-11-14T22:13:20Z stdout P:x:y z", &entry));
        assert_true(entry.is_partial);
}

static void what_is_not_cri_is_given_as_it_is(void **state)
{
        static const char *const lines[] = {
                "",
                "2023-11-14T22:13:20Z stdout F",
                "2023-11-14T22:13:20Z stdin F x",
                "2023-11-14T22:13:20Z stdout X x",
                "hello",
                "2023-11-14T22:13:20Z stdout  x",
                "2023-11-14T22:13:20Z stdout Fx x",
        };
        struct log_entry entry;

        (void)state;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                assert_false(parse(LOG_FORMAT_CRI, lines[i], &entry));
                assert_int_equal(entry.stream, LOG_STDOUT);
                assert_int_equal(entry.time_ns, 0);
                assert_false(entry.is_partial);
                assert_text(&entry, lines[i]);
        }
}

/* ---- JSON ---- */

static void a_line_of_docker_is_understood(void **state)
{
        struct log_entry entry;

        (void)state;
        assert_true(parse(LOG_FORMAT_JSON,
                          "{\"log\":\"a \\\"b\\\"\\t\\u003c\\n\",\"stream\":\"stderr\","
                          "\"time\":\"2023-11-14T22:13:20.123456789Z\"}",
                          &entry));
        assert_int_equal(entry.stream, LOG_STDERR);
        assert_int_equal(entry.time_ns, UINT64_C(1700000000123456789));
        assert_false(entry.is_partial);
        assert_text(&entry, "a \"b\"\t<");
}

static void json_text_without_a_newline_is_a_part(void **state)
{
        struct log_entry entry;

        (void)state;
        assert_true(parse(LOG_FORMAT_JSON, "{\"log\":\"a\",\"stream\":\"stdout\"}", &entry));
        assert_true(entry.is_partial);
        assert_text(&entry, "a");
}

static void json_keys_may_come_in_any_order_with_others(void **state)
{
        struct log_entry entry;

        (void)state;
        assert_true(parse(LOG_FORMAT_JSON,
                          " {\"attrs\":{\"a\":[1,{\"}\":\"\\\"\"}]},\"n\": 1 ,\"time\" : "
                          "\"2023-11-14T22:13:20Z\",\"stream\":\"stdout\", \"log\":\"x\\n\"} ",
                          &entry));
        assert_text(&entry, "x");
        assert_int_equal(entry.time_ns, UINT64_C(1700000000000000000));
}

static void json_characters_become_utf_8(void **state)
{
        struct log_entry entry;

        (void)state;
        assert_true(parse(LOG_FORMAT_JSON, "{\"log\":\"\\u00e9\\u20ac\\ud83d\\ude00\\ud83d!\\n\"}",
                          &entry));
        assert_text(&entry, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd!");
}

static void what_is_not_json_is_given_as_it_is(void **state)
{
        static const char *const lines[] = {
                "",
                "{",
                "{\"log\":\"a",
                "{\"log\":\"a\\",
                "{\"log\":\"a\\u12",
                "{\"log\":\"a\"",
                "{\"stream\":\"stdout\"}",
                "{\"log\":1}",
                "{\"log\":\"a\"}x",
                "[]",
                "{\"log\":\"a\",\"stream\":\"stdin\"}",
                "{\"x\":[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]}",
                "{\"log\":\"a\",\"time\":\"now\"}",
                "{\"log\":\"\\x\"}",
        };
        struct log_entry entry;

        (void)state;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                assert_false(parse(LOG_FORMAT_JSON, lines[i], &entry));
                assert_text(&entry, lines[i]);
        }
}

static void a_raw_line_has_neither_time_nor_stream(void **state)
{
        struct log_entry entry;

        (void)state;
        assert_true(parse(LOG_FORMAT_RAW, "2023-11-14T22:13:20Z stdout F x", &entry));
        assert_int_equal(entry.stream, 0);
        assert_int_equal(entry.time_ns, 0);
        assert_text(&entry, "2023-11-14T22:13:20Z stdout F x");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_time_is_nanoseconds_since_1970),
                cmocka_unit_test(what_is_no_time_is_refused),
                cmocka_unit_test(a_line_of_containerd_s_cri_is_understood),
                cmocka_unit_test(a_part_and_an_empty_line_of_cri_are_understood),
                cmocka_unit_test(what_is_not_cri_is_given_as_it_is),
                cmocka_unit_test(a_line_of_docker_is_understood),
                cmocka_unit_test(json_text_without_a_newline_is_a_part),
                cmocka_unit_test(json_keys_may_come_in_any_order_with_others),
                cmocka_unit_test(json_characters_become_utf_8),
                cmocka_unit_test(what_is_not_json_is_given_as_it_is),
                cmocka_unit_test(a_raw_line_has_neither_time_nor_stream),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
