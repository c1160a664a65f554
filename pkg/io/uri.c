/* SPDX-License-Identifier: Apache-2.0
 *
 * Stdio URIs: see uri.h. A scheme is what RFC 3986 calls one: a letter, then letters, digits and
 * `+-.`, up to a colon. So a path that has a colon in it is still a path, since it begins with '/'.
 */
#include "pkg/io/uri.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

enum { SCHEME_SHOWN_MAX = 32 }; /* characters of a scheme in an error text */

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Length of the scheme in front of the colon, 0 if the text has none. */
static size_t scheme_length(const char *text)
{
        size_t n = 0;

        if (!is_letter(text[0]))
                return 0;
        while (is_letter(text[n]) || (text[n] >= '0' && text[n] <= '9') || text[n] == '+' ||
               text[n] == '-' || text[n] == '.')
                n++;
        return text[n] == ':' ? n : 0;
}

static bool scheme_is(const char *text, size_t n, const char *name)
{
        return strlen(name) == n && strncasecmp(text, name, n) == 0;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* Decodes in place, up to a '?' or '#'. False for a bad escape and for an escaped NUL. */
static bool percent_decode(char *s)
{
        char *out = s;

        for (; *s && *s != '?' && *s != '#'; s++) {
                int high;
                int low;

                if (*s != '%') {
                        *out++ = *s;
                        continue;
                }
                high = hex_value(s[1]);
                low = high < 0 ? -1 : hex_value(s[2]);
                if (low < 0 || (high == 0 && low == 0))
                        return false;
                *out++ = (char)(high << 4 | low);
                s += 2;
        }
        *out = '\0';
        return true;
}

static int check_path(const char *path, struct error *err)
{
        if (path[0] != '/')
                return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s' is not an absolute path",
                                 path);
        if (strlen(path) >= PATH_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "path '%.64s...' is too long", path);
        return 0;
}

int io_uri_parse(const char *text, enum io_target *ret_target, char **ret_path, struct error *err)
{
        enum io_target target = IO_TARGET_PATH;
        _cleanup_free_ char *path = NULL;
        size_t n;

        if (str_is_empty(text)) {
                *ret_target = IO_TARGET_NULL;
                *ret_path = NULL;
                return 0;
        }
        n = scheme_length(text);
        if (n > 0) {
                if (scheme_is(text, n, "binary") || scheme_is(text, n, "binary-v2"))
                        return error_set(err, STATUS_UNIMPLEMENTED,
                                         "stdio scheme '%.*s' is not supported yet", (int)n, text);
                if (scheme_is(text, n, "file"))
                        target = IO_TARGET_FILE;
                else if (scheme_is(text, n, "fd"))
                        target = IO_TARGET_FD;
                else if (scheme_is(text, n, "console"))
                        target = IO_TARGET_CONSOLE;
                else if (!scheme_is(text, n, "fifo"))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "unknown stdio scheme '%.*s'",
                                         n < SCHEME_SHOWN_MAX ? (int)n : SCHEME_SHOWN_MAX, text);
                text += n + 1;
                if (!str_has_prefix(text, "///"))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "stdio URI has no absolute path behind the scheme");
                text += 2;
        }
        path = strdup(text);
        if (!path)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        if (n > 0 && !percent_decode(path))
                return error_set(err, STATUS_INVALID_ARGUMENT, "bad escape in stdio URI '%.64s'",
                                 text);
        if (check_path(path, err) < 0)
                return -1;
        *ret_target = target;
        *ret_path = TAKE_PTR(path);
        return 0;
}
