/* SPDX-License-Identifier: Apache-2.0
 *
 * The spelling of JSON strings, code point by code point, and of paths in errors. Pure.
 *
 * Invariant: whatever the bytes are, nothing at or beyond `end` is read, and nothing at or beyond
 * `size` is written.
 */
#include "pkg/oci/json_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ---- strings ---- */

static int hex_value(char ch)
{
        if (ch >= '0' && ch <= '9')
                return ch - '0';
        if (ch >= 'a' && ch <= 'f')
                return ch - 'a' + 10;
        if (ch >= 'A' && ch <= 'F')
                return ch - 'A' + 10;
        return -1;
}

/* The number behind a \u at *p (which is moved past it); -1 if these are not four hex digits. */
static int hex4(const char **p, const char *end)
{
        int value = 0;

        if (end - *p < 4)
                return -1;
        for (int i = 0; i < 4; i++) {
                int digit = hex_value((*p)[i]);

                if (digit < 0)
                        return -1;
                value = value * 16 + digit;
        }
        *p += 4;
        return value;
}

/* One code point of well-formed UTF-8 that is not ASCII (Unicode, table 3-7); -1 if it is not. */
static int utf8_next(const char **p, const char *end)
{
        const unsigned char *s = (const unsigned char *)*p;
        size_t left = (size_t)(end - *p);
        size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
        unsigned low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
        unsigned high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
        int value = s[0] & (0xff >> (n + 1));

        if (s[0] < 0xc2 || s[0] > 0xf4 || left < n || s[1] < low || s[1] > high)
                return -1;
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return -1;
                value = value << 6 | (s[i] & 0x3f);
        }
        *p += n;
        return value;
}

int json_char_next(const char **p, const char *end, const char **ret_why)
{
        static const char from[] = "\"\\/bfnrt";
        static const char to[] = "\"\\/\b\f\n\r\t";
        const char *which;
        int value;
        int low;

        if ((unsigned char)**p >= 0x80) {
                value = utf8_next(p, end);
                if (value < 0)
                        *ret_why = "not UTF-8";
                return value;
        }
        if ((unsigned char)**p < 0x20) {
                *ret_why = "control character in a string";
                return -1;
        }
        if (**p != '\\')
                return *(*p)++;
        *ret_why = "unknown escape in a string";
        if (end - *p < 2)
                return -1;
        (*p)++;
        which = **p == '\0' ? NULL : strchr(from, **p);
        if (which) {
                (*p)++;
                return to[which - from];
        }
        if (*(*p)++ != 'u')
                return -1;
        value = hex4(p, end);
        if (value < 0xd800 || value > 0xdfff)
                return value;
        *ret_why = "half of a surrogate pair";
        if (value > 0xdbff || end - *p < 2 || (*p)[0] != '\\' || (*p)[1] != 'u')
                return -1;
        *p += 2;
        low = hex4(p, end);
        if (low < 0xdc00 || low > 0xdfff)
                return -1;
        return 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
}

/* ---- paths ---- */

enum { KEY_SHOWN = 64 }; /* bytes of a key in a path */

static bool is_plain_name(const char *s, size_t len)
{
        for (size_t i = 0; i < len; i++)
                if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
                      (s[i] >= '0' && s[i] <= '9') || s[i] == '_'))
                        return false;
        return len > 0;
}

size_t json_path_add_key(char *out, size_t size, size_t used, const char *key, size_t len)
{
        int shown = (int)(len < KEY_SHOWN ? len : KEY_SHOWN);
        int n;

        if (used >= size)
                return used;
        if (is_plain_name(key, len))
                n = snprintf(out + used, size - used, "%s%.*s", used > 0 ? "." : "", shown, key);
        else
                n = snprintf(out + used, size - used, "['%.*s']", shown, key);
        return n > 0 ? used + (size_t)n : used;
}

size_t json_path_add_index(char *out, size_t size, size_t used, size_t index)
{
        int n;

        if (used >= size)
                return used;
        n = snprintf(out + used, size - used, "[%zu]", index);
        return n > 0 ? used + (size_t)n : used;
}
