/* SPDX-License-Identifier: Apache-2.0
 *
 * The little JSON that a runtime's log and the bundle's options.json are: one object of strings.
 * What is nested in it is skipped, not read. The text comes from a program that may have been
 * killed while it wrote, so anything may be missing.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

struct cursor {
        const char *at;
        const char *end;
};

struct sink {
        char *text; /* NULL: for nobody */
        size_t size;
        size_t len;
};

static void put(struct sink *sink, char c)
{
        if (sink->text && sink->len + 1 < sink->size)
                sink->text[sink->len++] = c;
}

static void put_utf8(struct sink *sink, uint32_t c)
{
        if (c < 0x80) {
                put(sink, (char)c);
        } else if (c < 0x800) {
                put(sink, (char)(0xc0 | c >> 6));
                put(sink, (char)(0x80 | (c & 0x3f)));
        } else {
                put(sink, (char)(0xe0 | c >> 12));
                put(sink, (char)(0x80 | (c >> 6 & 0x3f)));
                put(sink, (char)(0x80 | (c & 0x3f)));
        }
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct cursor *c)
{
        while (c->at < c->end && is_blank(*c->at))
                c->at++;
}

static bool skip_char(struct cursor *c, char expected)
{
        skip_blanks(c);
        if (c->at >= c->end || *c->at != expected)
                return false;
        c->at++;
        return true;
}

static bool read_hex(struct cursor *c, uint32_t *ret)
{
        *ret = 0;
        for (int i = 0; i < 4; i++, c->at++) {
                static const char digits[] = "0123456789abcdefABCDEF";
                const char *d = c->at < c->end && *c->at ? strchr(digits, *c->at) : NULL;
                uint32_t n;

                if (!d)
                        return false;
                n = (uint32_t)(d - digits);
                *ret = *ret << 4 | (n < 16 ? n : n - 6);
        }
        return true;
}

/* Behind the backslash. Halves of surrogate pairs become '?'. */
static bool read_escape(struct cursor *c, struct sink *sink)
{
        static const char letters[] = "\"\\/bfnrt";
        static const char meanings[] = "\"\\/\b\f\n\r\t";
        const char *letter;
        uint32_t code;

        if (c->at >= c->end)
                return false;
        if (*c->at == 'u') {
                c->at++;
                if (!read_hex(c, &code))
                        return false;
                put_utf8(sink, code == 0 || (code >= 0xd800 && code < 0xe000) ? '?' : code);
                return true;
        }
        letter = *c->at ? strchr(letters, *c->at) : NULL;
        if (!letter)
                return false;
        put(sink, meanings[letter - letters]);
        c->at++;
        return true;
}

static bool read_string(struct cursor *c, struct sink *sink)
{
        if (!skip_char(c, '"'))
                return false;
        while (c->at < c->end) {
                char ch = *c->at++;

                if (ch == '"') {
                        if (sink->text)
                                sink->text[sink->len] = '\0';
                        return true;
                }
                if (ch != '\\')
                        put(sink, ch);
                else if (!read_escape(c, sink))
                        return false;
        }
        return false;
}

/* Up to the ',' or '}' behind the value. */
static bool skip_value(struct cursor *c)
{
        struct sink nobody = {0};
        size_t depth = 0;

        while (c->at < c->end) {
                char ch = *c->at;

                if (ch == '"') {
                        if (!read_string(c, &nobody))
                                return false;
                        continue;
                }
                if (depth == 0 && (ch == ',' || ch == '}'))
                        return true;
                if (ch == '{' || ch == '[')
                        depth++;
                else if ((ch == '}' || ch == ']') && depth-- == 0)
                        return false;
                c->at++;
        }
        return false;
}

/* One member; *found when it is the one that is sought, and a string. */
static bool read_member(struct cursor *c, const char *key, struct sink *value, bool *found)
{
        char name[64] = "";
        struct sink name_sink = {.text = name, .size = sizeof(name)};

        if (!read_string(c, &name_sink) || !skip_char(c, ':'))
                return false;
        skip_blanks(c);
        if (strcmp(name, key) != 0 || c->at >= c->end || *c->at != '"')
                return skip_value(c);
        *found = read_string(c, value);
        return *found;
}

bool json_string(const char *text, size_t len, const char *key, char *ret, size_t ret_size)
{
        struct cursor c = {.at = text, .end = text + len};
        struct sink value = {.text = ret, .size = ret_size};
        bool found = false;

        if (!skip_char(&c, '{'))
                return false;
        do {
                if (!read_member(&c, key, &value, &found))
                        return false;
        } while (!found && skip_char(&c, ','));
        if (found)
                str_make_utf8(ret);
        return found;
}

bool log_last_error(const char *text, size_t len, char *ret, size_t ret_size)
{
        const char *end = text + len;
        bool found = false;

        while (text < end) {
                const char *newline = memchr(text, '\n', (size_t)(end - text));
                size_t n = (size_t)((newline ? newline : end) - text);
                char level[16];

                if (json_string(text, n, "level", level, sizeof(level)) &&
                    strcmp(level, "error") == 0 && json_string(text, n, "msg", ret, ret_size))
                        found = true;
                text += n + 1;
        }
        if (found)
                for (size_t n = strlen(ret); n > 0 && is_blank(ret[n - 1]); n--)
                        ret[n - 1] = '\0';
        return found;
}

/* From the beginning of the value of `key` to its end; false if there is none. */
static bool find_value(const char *text, size_t len, const char *key, struct cursor *ret)
{
        struct cursor c = {.at = text, .end = text + len};

        if (!skip_char(&c, '{'))
                return false;
        do {
                char name[64] = "";
                struct sink sink = {.text = name, .size = sizeof(name)};

                if (!read_string(&c, &sink) || !skip_char(&c, ':'))
                        return false;
                skip_blanks(&c);
                ret->at = c.at;
                if (!skip_value(&c))
                        return false;
                ret->end = c.at;
                if (strcmp(name, key) == 0)
                        return true;
        } while (skip_char(&c, ','));
        return false;
}

char *json_set_bool(const char *text, size_t *len, const char *key, bool value)
{
        const char *end = text + *len;
        const char *word = value ? "true" : "false";
        struct cursor start = {.at = text, .end = end};
        struct cursor old;
        char *changed;

        if (find_value(text, *len, key, &old)) {
                changed = str_printf("%.*s%s%.*s", (int)(old.at - text), text, word,
                                     (int)(end - old.end), old.end);
        } else if (skip_char(&start, '{')) {
                struct cursor rest = start;
                bool is_empty = skip_char(&rest, '}');

                changed = str_printf("{\"%s\":%s%s%.*s", key, word, is_empty ? "" : ",",
                                     (int)(end - start.at), start.at);
        } else {
                changed = str_printf("%.*s", (int)*len, text);
        }
        if (changed)
                *len = strlen(changed);
        return changed;
}

char *json_quote(const char *s)
{
        char *quoted = malloc(strlen(s) * 6 + 3);
        char *to = quoted;

        if (!quoted)
                return NULL;
        *to++ = '"';
        for (; *s; s++) {
                unsigned char ch = (unsigned char)*s;

                if (ch == '"' || ch == '\\') {
                        *to++ = '\\';
                        *to++ = *s;
                } else if (ch < 0x20) {
                        to += snprintf(to, 7, "\\u%04x", ch);
                } else {
                        *to++ = *s;
                }
        }
        *to++ = '"';
        *to = '\0';
        return quoted;
}
