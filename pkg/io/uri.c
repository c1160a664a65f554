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

#include "pkg/base/limits.h"
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

/* Decodes in place. False for a bad escape and for an escaped NUL. */
static bool percent_decode(char *s, bool plus_is_space)
{
        char *out = s;

        for (; *s; s++) {
                int high;
                int low;

                if (*s != '%') {
                        *out++ = *s == '+' && plus_is_space ? ' ' : *s;
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

void io_uri_clear(struct io_uri *uri)
{
        for (size_t i = 0; i < uri->n_params; i++) {
                free(uri->params[i].key);
                free(uri->params[i].value);
        }
        free(uri->params);
        free(uri->path);
        *uri = (struct io_uri){.target = IO_TARGET_NULL};
}

/* ---- The query ---- */

static bool has_param(const struct io_uri *uri, const char *key)
{
        for (size_t i = 0; i < uri->n_params; i++) {
                if (str_equal(uri->params[i].key, key))
                        return true;
        }
        return false;
}

/* pair: "key=value" or "key". */
static int add_param(struct io_uri *uri, char *pair, struct error *err)
{
        char *equals = strchr(pair, '=');
        struct io_uri_param *param = &uri->params[uri->n_params];
        char *value = pair + strlen(pair);

        if (equals) {
                *equals = '\0';
                value = equals + 1;
        }
        if (!percent_decode(pair, true) || !percent_decode(value, true))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "bad escape in the query of a stdio URI, near '%.64s'", pair);
        if (has_param(uri, pair))
                return 0;
        param->key = strdup(pair);
        param->value = strdup(value);
        if (!param->key || !param->value) {
                free(TAKE_PTR(param->key));
                free(TAKE_PTR(param->value));
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        }
        uri->n_params++;
        return 0;
}

static int parse_query(struct io_uri *uri, char *query, struct error *err)
{
        char *rest = NULL;

        uri->params = calloc(LIMIT_URI_PARAMS, sizeof(*uri->params));
        if (!uri->params)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        for (char *pair = strtok_r(query, "&", &rest); pair; pair = strtok_r(NULL, "&", &rest)) {
                if (uri->n_params == LIMIT_URI_PARAMS)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "stdio URI with more than %d parameters",
                                         LIMIT_URI_PARAMS);
                if (add_param(uri, pair, err) < 0)
                        return -1;
        }
        return 0;
}

/* ---- The whole ---- */

static const struct {
        const char *name;
        enum io_target target;
        bool has_query;
} schemes[] = {
        {"fifo", IO_TARGET_PATH, false},    {"file", IO_TARGET_FILE, false},
        {"fd", IO_TARGET_FD, false},        {"console", IO_TARGET_CONSOLE, false},
        {"binary", IO_TARGET_BINARY, true}, {"binary-v2", IO_TARGET_BINARY_V2, true},
        {"log", IO_TARGET_LOG, true},       {"attach", IO_TARGET_ATTACH, false},
};

/* text: "scheme:..." with a scheme of n characters. */
static int parse_scheme(const char *text, size_t n, enum io_target *ret_target, bool *ret_has_query,
                        struct error *err)
{
        for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
                if (!scheme_is(text, n, schemes[i].name))
                        continue;
                if (!str_has_prefix(text + n, ":///"))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "stdio URI has no absolute path behind the scheme");
                *ret_target = schemes[i].target;
                *ret_has_query = schemes[i].has_query;
                return 0;
        }
        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown stdio scheme '%.*s'",
                         n < SCHEME_SHOWN_MAX ? (int)n : SCHEME_SHOWN_MAX, text);
}

/* uri->path: everything behind "scheme://". Cuts off what is no path. */
static int parse_rest(struct io_uri *uri, bool has_query, struct error *err)
{
        size_t n = strcspn(uri->path, "?#");
        char *query = uri->path[n] == '?' ? uri->path + n + 1 : NULL;

        uri->path[n] = '\0';
        if (query)
                query[strcspn(query, "#")] = '\0';
        if (!percent_decode(uri->path, false))
                return error_set(err, STATUS_INVALID_ARGUMENT, "bad escape in stdio URI '%.64s'",
                                 uri->path);
        return query && has_query ? parse_query(uri, query, err) : 0;
}

int io_uri_parse(const char *text, struct io_uri *ret, struct error *err)
{
        _cleanup_(io_uri_clear_p) struct io_uri uri = {.target = IO_TARGET_NULL};
        bool has_query = false;
        size_t n;

        *ret = uri;
        if (str_is_empty(text))
                return 0;
        uri.target = IO_TARGET_PATH;
        n = scheme_length(text);
        if (n > 0 && parse_scheme(text, n, &uri.target, &has_query, err) < 0)
                return -1;
        uri.path = strdup(n > 0 ? text + n + strlen("://") : text);
        if (!uri.path)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        if (n > 0 && parse_rest(&uri, has_query, err) < 0)
                return -1;
        if (check_path(uri.path, err) < 0)
                return -1;
        *ret = uri;
        uri = (struct io_uri){.target = IO_TARGET_NULL};
        return 0;
}
