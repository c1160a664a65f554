/* SPDX-License-Identifier: Apache-2.0
 *
 * What a reader gives of a log as it lies there: files, times, streams, formats.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/log/log.h"
#include "pkg/log/read_files.h"

#include "test/unit/log/reader.h"
#include "test/unit/unit.h"

static void all_files_are_read_from_the_oldest_on(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 3, CRI("20", "stdout", "F a"));
        reader_put(f, 1, CRI("21", "stderr", "F b"));
        reader_put(f, 0, CRI("22", "stdout", "P c") CRI("22", "stdout", "F d"));
        assert_string_equal(reader_all(f, false), "a\nb\nc|d\n");
}

static void an_entry_has_its_stream_and_time(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0, "2023-11-14T22:13:20.000000007Z stderr F b\n");
        reader_start(f, false);
        reader_next(f);
        assert_int_equal(f->last.kind, LOG_FRAME_ENTRY);
        assert_int_equal(f->last.stream, LOG_STDERR);
        assert_int_equal(f->last.time_ns, UINT64_C(1700000000000000007));
}

static void a_log_that_is_gone_is_not_found(void **state)
{
        struct fixture *f = *state;

        reader_start(f, false);
        reader_next(f);
        assert_int_equal(f->last.kind, LOG_FRAME_FAILURE);
        assert_int_equal(f->last.code, STATUS_NOT_FOUND);
        assert_non_null(strstr(f->last_text, f->path));
}

static void a_line_that_is_being_written_is_given_when_the_log_has_ended(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0, CRI("20", "stdout", "F a") "2023-11-14T22:13:21.000000000Z stdout F b");
        assert_string_equal(reader_all(f, false), "a\n");
        assert_string_equal(reader_all(f, true), "a\nb|");
        f->query.tail = 1;
        assert_string_equal(reader_all(f, false), "a\n");
        assert_string_equal(reader_all(f, true), "b|");
}

static void a_torn_line_of_an_older_file_is_given(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 1, "2023-11-14T2");
        reader_put(f, 0, CRI("20", "stdout", "F a"));
        assert_string_equal(reader_all(f, false), "2023-11-14T2|a\n");
}

static void tail_counts_from_the_end_across_files(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 2, CRI("20", "stdout", "F a"));
        reader_put(f, 1, CRI("21", "stdout", "F b") CRI("22", "stdout", "F c"));
        reader_put(f, 0, CRI("23", "stdout", "F d"));
        f->query.tail = 1;
        assert_string_equal(reader_all(f, false), "d\n");
        f->query.tail = 2;
        assert_string_equal(reader_all(f, false), "c\nd\n");
        f->query.tail = 3;
        assert_string_equal(reader_all(f, false), "b\nc\nd\n");
        f->query.tail = 4;
        assert_string_equal(reader_all(f, false), "a\nb\nc\nd\n");
        f->query.tail = 9;
        assert_string_equal(reader_all(f, false), "a\nb\nc\nd\n");
        f->query.tail = -1;
        assert_string_equal(reader_all(f, false), "");
}

static void tail_takes_the_parts_of_a_line_for_one(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0,
                   CRI("20", "stdout", "F a") CRI("21", "stdout", "P b") CRI("21", "stdout", "P c")
                           CRI("21", "stdout", "F d") CRI("22", "stdout", "P e"));
        f->query.tail = 1;
        assert_string_equal(reader_all(f, false), "e|");
        f->query.tail = 2;
        assert_string_equal(reader_all(f, false), "b|c|d\ne|");
        f->query.tail = 3;
        assert_string_equal(reader_all(f, false), "a\nb|c|d\ne|");
}

static void tail_counts_lines_of_the_stream_that_is_asked_for(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0,
                   CRI("20", "stderr", "F a") CRI("21", "stderr", "F b") CRI("22", "stdout", "F c")
                           CRI("23", "stdout", "F d"));
        f->query.tail = 1;
        f->query.err = true;
        assert_string_equal(reader_all(f, false), "b\n");
}

/* A log of 40 GiB, sparse but for its end: who reads it does not come to an end in time. */
static void tail_does_not_read_a_large_log(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 0, "");
        assert_int_equal(truncate(f->path, (off_t)40 << 30), 0);
        reader_put(f, 0, "\n\n" CRI("20", "stdout", "F a") CRI("21", "stdout", "F b"));
        f->query.tail = 2;
        assert_string_equal(reader_all(f, false), "a\nb\n");
}

static void since_and_until_bound_the_times(void **state)
{
        struct fixture *f = *state;

        reader_put(f, 1, CRI("20", "stdout", "F a") "no entry\n" CRI("21", "stdout", "F b"));
        reader_put(f, 0, CRI("22", "stdout", "F c") "neither\n" CRI("23", "stdout", "F d"));
        f->query.since_ns = SECONDS(21);
        assert_string_equal(reader_all(f, false), "b\nc\nneither\nd\n");
        f->query.until_ns = SECONDS(23);
        assert_string_equal(reader_all(f, false), "b\nc\nneither\n");
        f->query.since_ns = 0;
        assert_string_equal(reader_all(f, false), "a\nno entry\nb\nc\nneither\n");
        f->query.tail = 2;
        assert_string_equal(reader_all(f, false), "c\nneither\n");
        f->query.follow = true; /* it is over by now */
        assert_string_equal(reader_all(f, false), "c\nneither\n");
}

static void since_finds_its_place_in_a_large_file(void **state)
{
        struct fixture *f = *state;
        FILE *file = fopen(f->path, "we");

        assert_non_null(file);
        for (int i = 0; i < 24 * 3600; i++)
                fprintf(file, "2023-11-14T%02d:%02d:%02d.000000000Z stdout F %d\n", i / 3600,
                        i / 60 % 60, i % 60, i);
        fclose(file);
        f->query.since_ns = SECONDS(20);
        f->query.until_ns = SECONDS(23);
        assert_string_equal(reader_all(f, false), "80000\n80001\n80002\n");
}

static void a_json_log_is_read(void **state)
{
        struct fixture *f = *state;

        f->config.format = LOG_FORMAT_JSON;
        reader_put(
                f, 0,
                "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n{\"log\":");
        assert_string_equal(reader_all(f, true), "a\n{\"log\":|");
}

static void a_raw_log_is_read_and_has_no_times(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        f->config.format = LOG_FORMAT_RAW;
        reader_put(f, 0, "a\n\nb");
        assert_string_equal(reader_all(f, true), "a\n\nb|");
        f->query.since_ns = 1;
        assert_int_equal(log_query_check(&f->query, LOG_FORMAT_RAW, &err), -1);
        assert_int_equal(err.code, STATUS_FAILED_PRECONDITION);
}

/* Longer than all that is read at once: it comes in parts, and the next line is whole. */
static void a_line_of_any_length_comes_in_parts(void **state)
{
        struct fixture *f = *state;
        size_t n = 0;
        char *line = malloc(1 << 20);

        assert_non_null(line);
        memset(line, 'x', 1 << 20);
        strcpy(line + (1 << 20) - 3, "\n");
        reader_put(f, 0, "2023-11-14T22:13:20.000000000Z stderr F ");
        reader_put(f, 0, line);
        reader_put(f, 0, CRI("21", "stdout", "F end"));
        free(line);
        reader_start(f, false);
        for (reader_next(f); f->last.is_partial; reader_next(f)) {
                assert_int_equal(f->last.stream, LOG_STDERR);
                n += f->last.n;
        }
        assert_int_equal(n + f->last.n, (1 << 20) - 2);
        reader_next(f);
        assert_string_equal(f->last_text, "end\n");
        reader_end(f);
        f->query.tail = 1;
        assert_string_equal(reader_all(f, false), "end\n");
}

static void frames_that_make_no_sense_are_refused(void **state)
{
        struct log_frame frame = {.kind = LOG_FRAME_ENTRY, .n = LOG_READ_TEXT_MAX + 1};
        struct log_frame parsed;
        const char *text;

        (void)state;
        assert_int_equal(log_frame_parse(&frame, 3, &parsed, &text), 0);
        assert_int_equal(log_frame_parse(&frame, sizeof(frame), &parsed, &text), -EPROTO);
        frame.n = 0;
        assert_int_equal(log_frame_parse(&frame, sizeof(frame), &parsed, &text), sizeof(frame));
        frame.kind = 9;
        assert_int_equal(log_frame_parse(&frame, sizeof(frame), &parsed, &text), -EPROTO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reader_set_up, reader_tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(all_files_are_read_from_the_oldest_on),
                TEST(an_entry_has_its_stream_and_time),
                TEST(a_log_that_is_gone_is_not_found),
                TEST(a_line_that_is_being_written_is_given_when_the_log_has_ended),
                TEST(a_torn_line_of_an_older_file_is_given),
                TEST(tail_counts_from_the_end_across_files),
                TEST(tail_takes_the_parts_of_a_line_for_one),
                TEST(tail_counts_lines_of_the_stream_that_is_asked_for),
                TEST(tail_does_not_read_a_large_log),
                TEST(since_and_until_bound_the_times),
                TEST(since_finds_its_place_in_a_large_file),
                TEST(a_json_log_is_read),
                TEST(a_raw_log_is_read_and_has_no_times),
                TEST(a_line_of_any_length_comes_in_parts),
                TEST(frames_that_make_no_sense_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
