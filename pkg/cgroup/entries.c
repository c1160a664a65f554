/* SPDX-License-Identifier: Apache-2.0
 *
 * See entries.h. The text is the kernel's; nothing is taken for granted about it but its NUL.
 */
#include "pkg/cgroup/entries.h"

#include <string.h>

static bool word_is(const char *text, size_t len, const char *word)
{
        return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* Within one line. */
static bool key_find(const char *line, size_t len, const char *key, const char **ret,
                     size_t *ret_len)
{
        const char *end = line + len;

        while (line < end) {
                const char *blank = memchr(line, ' ', (size_t)(end - line));
                const char *stop = blank ? blank : end;
                const char *sign = memchr(line, '=', (size_t)(stop - line));

                if (sign && word_is(line, (size_t)(sign - line), key)) {
                        *ret = sign + 1;
                        *ret_len = (size_t)(stop - sign - 1);
                        return true;
                }
                line = blank ? blank + 1 : end;
        }
        return false;
}

bool entry_find(const char *text, const char *entry, const char *key, const char **ret,
                size_t *ret_len)
{
        while (*text) {
                size_t len = strcspn(text, "\n");
                const char *blank = memchr(text, ' ', len);

                if (blank && word_is(text, (size_t)(blank - text), entry)) {
                        const char *rest = blank + 1;
                        size_t n = len - (size_t)(rest - text);

                        if (key)
                                return key_find(rest, n, key, ret, ret_len);
                        *ret = rest;
                        *ret_len = n;
                        return true;
                }
                text += len + (text[len] == '\n');
        }
        return false;
}
