/* SPDX-License-Identifier: Apache-2.0
 *
 * Strings and lexical paths: see str.h.
 */
#include "pkg/base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/limits.h"

bool str_is_empty(const char *s)
{
        return !s || !*s;
}

bool str_has_prefix(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_has_suffix(const char *s, const char *suffix)
{
        size_t n = strlen(s);
        size_t m = strlen(suffix);

        return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool str_equal(const char *a, const char *b)
{
        return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool is_alnum(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool id_is_valid(const char *id)
{
        size_t n = 0;

        if (!is_alnum(id[0]) && id[0] != '_')
                return false;
        while (n <= LIMIT_ID_LENGTH && id[n] && (is_alnum(id[n]) || strchr("._+-", id[n])))
                n++;
        return n <= LIMIT_ID_LENGTH && !id[n];
}

int str_to_u64(const char *s, uint64_t *ret)
{
        uint64_t value = 0;

        if (!*s)
                return -EINVAL;
        for (; *s; s++) {
                if (*s < '0' || *s > '9')
                        return -EINVAL;
                if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
                        return -ERANGE;
        }
        *ret = value;
        return 0;
}

/* Appends one component to the path in out, which has room for it, resolving "." and "..". */
static size_t path_push(char *out, size_t len, bool rooted, const char *part, size_t n)
{
        size_t start = rooted ? 1 : 0;

        if (n == 0 || (n == 1 && part[0] == '.'))
                return len;
        if (n == 2 && part[0] == '.' && part[1] == '.') {
                size_t cut = len;

                while (cut > start && out[cut - 1] != '/')
                        cut--;
                if (len > start && !(len - cut == 2 && memcmp(out + cut, "..", 2) == 0))
                        return cut > start ? cut - 1 : start;
                if (rooted)
                        return len;
        }
        if (len > start)
                out[len++] = '/';
        memcpy(out + len, part, n);
        return len + n;
}

char *path_join_clean(const char *const *parts, size_t n_parts)
{
        size_t room = 2;
        size_t len = 0;
        bool rooted = false;
        bool any = false;
        char *out;

        for (size_t i = 0; i < n_parts; i++)
                room += strlen(parts[i]) + 1;
        out = malloc(room);
        if (!out)
                return NULL;
        for (size_t i = 0; i < n_parts; i++) {
                const char *p = parts[i];

                if (!*p)
                        continue;
                if (!any && *p == '/') {
                        rooted = true;
                        out[len++] = '/';
                }
                any = true;
                while (*p) {
                        size_t n = strcspn(p, "/");

                        len = path_push(out, len, rooted, p, n);
                        p += n + (p[n] == '/');
                }
        }
        if (any && len == 0)
                out[len++] = '.';
        out[len] = '\0';
        return out;
}

/* Length of the valid UTF-8 sequence at s (RFC 3629), or 0. */
static size_t utf8_sequence(const unsigned char *s)
{
        unsigned char c = s[0];
        unsigned char low = 0x80;
        unsigned char high = 0xbf;
        size_t n;

        if (c < 0x80)
                return 1;
        if (c >= 0xc2 && c <= 0xdf)
                n = 2;
        else if (c >= 0xe0 && c <= 0xef)
                n = 3;
        else if (c >= 0xf0 && c <= 0xf4)
                n = 4;
        else
                return 0;
        if (c == 0xe0)
                low = 0xa0;
        else if (c == 0xed)
                high = 0x9f;
        else if (c == 0xf0)
                low = 0x90;
        else if (c == 0xf4)
                high = 0x8f;
        if (s[1] < low || s[1] > high)
                return 0;
        for (size_t i = 2; i < n; i++) {
                if (s[i] < 0x80 || s[i] > 0xbf)
                        return 0;
        }
        return n;
}

void str_make_utf8(char *s)
{
        unsigned char *p = (unsigned char *)s;

        while (*p) {
                size_t n = utf8_sequence(p);

                if (n == 0) {
                        *p = '?';
                        n = 1;
                }
                p += n;
        }
}

char *str_printf(const char *fmt, ...)
{
        char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        return n < 0 ? NULL : text;
}
