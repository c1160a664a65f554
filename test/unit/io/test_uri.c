/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/limits.h"
#include "pkg/io/uri.h"

#include "test/unit/unit.h"

static void assert_target(const char *text, enum io_target want_target, const char *want_path)
{
        struct error err = ERROR_INIT;
        struct io_uri uri;

        assert_int_equal(io_uri_parse(text, &uri, &err), 0);
        assert_int_equal(uri.target, want_target);
        if (want_path)
                assert_string_equal(uri.path, want_path);
        else
                assert_null(uri.path);
        assert_int_equal(uri.n_params, 0);
        io_uri_clear(&uri);
}

static void assert_refused(const char *text, int want_code, const char *want_text)
{
        struct error err = ERROR_INIT;
        struct io_uri uri;

        assert_int_equal(io_uri_parse(text, &uri, &err), -1);
        assert_null(uri.path);
        assert_null(uri.params);
        assert_int_equal(err.code, want_code);
        if (!strstr(err.msg, want_text))
                fail_msg("'%s' is not in '%s'", want_text, err.msg);
}

static void no_text_means_no_stream(void **state)
{
        assert_target(NULL, IO_TARGET_NULL, NULL);
        assert_target("", IO_TARGET_NULL, NULL);
}

static void a_plain_path_is_taken_as_it_is(void **state)
{
        assert_target("/run/fifo/a-stdout", IO_TARGET_PATH, "/run/fifo/a-stdout");
        assert_target("/run/50%25?x#y:z://", IO_TARGET_PATH, "/run/50%25?x#y:z://");
}

static void known_schemes_lead_to_a_path(void **state)
{
        assert_target("fifo:///run/a", IO_TARGET_PATH, "/run/a");
        assert_target("FIFO:///run/a", IO_TARGET_PATH, "/run/a");
        assert_target("file:///var/log/x.log", IO_TARGET_FILE, "/var/log/x.log");
        assert_target("file:///a%20b%2fc?k=v", IO_TARGET_FILE, "/a b/c");
        assert_target("file:///a#b", IO_TARGET_FILE, "/a");
}

/* "key=value" pairs, with blanks between them. */
static void assert_params(const char *text, enum io_target want_target, const char *want)
{
        struct error err = ERROR_INIT;
        char got[256] = "";
        struct io_uri uri;

        assert_int_equal(io_uri_parse(text, &uri, &err), 0);
        assert_int_equal(uri.target, want_target);
        for (size_t i = 0; i < uri.n_params; i++) {
                size_t n = strlen(got);

                snprintf(got + n, sizeof(got) - n, "%s%s=%s", i == 0 ? "" : " ", uri.params[i].key,
                         uri.params[i].value);
        }
        assert_string_equal(got, want);
        io_uri_clear(&uri);
}

static void a_logging_binary_has_arguments(void **state)
{
        assert_params("binary:///usr/bin/log?a=b&c=d", IO_TARGET_BINARY, "a=b c=d");
        assert_params("binary-v2:///usr/bin/log?x", IO_TARGET_BINARY_V2, "x=");
        assert_params("binary:///l?a=b%20c+d&a=second&e%3D=%26", IO_TARGET_BINARY, "a=b c d e==&");
        assert_params("binary:///l?&&a=1&#x=2", IO_TARGET_BINARY, "a=1");
        assert_params("binary:///l", IO_TARGET_BINARY, "");
        assert_target("binary:///usr/bin/lo%67", IO_TARGET_BINARY, "/usr/bin/log");
}

static void a_bad_query_is_refused(void **state)
{
        char many[LIMIT_URI_PARAMS * 8 + 64] = "binary:///l?";

        assert_refused("binary:///l?a=%zz", STATUS_INVALID_ARGUMENT, "bad escape in the query");
        assert_refused("binary:///l?a=%00", STATUS_INVALID_ARGUMENT, "bad escape in the query");
        for (int i = 0; i <= LIMIT_URI_PARAMS; i++)
                snprintf(many + strlen(many), sizeof(many) - strlen(many), "k%d=&", i);
        assert_refused(many, STATUS_INVALID_ARGUMENT, "more than 64 parameters");
}

static void unknown_schemes_are_invalid(void **state)
{
        char longest[4000];

        assert_refused("npipe:////./pipe/x", STATUS_INVALID_ARGUMENT,
                       "unknown stdio scheme 'npipe'");
        assert_refused("ttrpc+unix:///run/x?streaming_id=1", STATUS_INVALID_ARGUMENT,
                       "'ttrpc+unix'");
        assert_refused("fil:///x", STATUS_INVALID_ARGUMENT, "'fil'");
        assert_refused("files:///x", STATUS_INVALID_ARGUMENT, "'files'");
        memset(longest, 'a', sizeof(longest));
        memcpy(longest + sizeof(longest) - 5, ":///", 5);
        assert_refused(longest, STATUS_INVALID_ARGUMENT, "unknown stdio scheme 'aaaa");
}

static void paths_must_be_absolute_and_of_a_sane_length(void **state)
{
        char longest[PATH_MAX + 2];

        assert_refused("fifo", STATUS_INVALID_ARGUMENT, "'fifo' is not an absolute path");
        assert_refused("./x", STATUS_INVALID_ARGUMENT, "absolute");
        assert_refused("file://x/y", STATUS_INVALID_ARGUMENT, "absolute");
        assert_refused("file:x", STATUS_INVALID_ARGUMENT, "absolute");
        assert_refused("file:", STATUS_INVALID_ARGUMENT, "absolute");
        memset(longest, 'a', sizeof(longest));
        longest[0] = '/';
        longest[sizeof(longest) - 1] = '\0';
        assert_refused(longest, STATUS_INVALID_ARGUMENT, "too long");
}

static void bad_escapes_are_invalid(void **state)
{
        assert_refused("file:///a%", STATUS_INVALID_ARGUMENT, "bad escape");
        assert_refused("file:///a%4", STATUS_INVALID_ARGUMENT, "bad escape");
        assert_refused("file:///a%g0", STATUS_INVALID_ARGUMENT, "bad escape");
        assert_refused("file:///a%00b", STATUS_INVALID_ARGUMENT, "bad escape");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_text_means_no_stream),
                cmocka_unit_test(a_plain_path_is_taken_as_it_is),
                cmocka_unit_test(known_schemes_lead_to_a_path),
                cmocka_unit_test(a_logging_binary_has_arguments),
                cmocka_unit_test(a_bad_query_is_refused),
                cmocka_unit_test(unknown_schemes_are_invalid),
                cmocka_unit_test(paths_must_be_absolute_and_of_a_sane_length),
                cmocka_unit_test(bad_escapes_are_invalid),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
