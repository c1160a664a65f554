/* SPDX-License-Identifier: Apache-2.0
 *
 * See detach_keys.h. A sequence may begin anew inside itself (a,a,b in "aaab"): after a mismatch
 * the longest end of what was held back that is a beginning of the keys goes on being held.
 */
#include "cmd/belay/detach_keys.h"

#include <string.h>

#include "pkg/base/str.h"

/* One key, of len bytes of text; -1 when it is none. */
static int parse_key(const char *text, size_t len)
{
        static const char ctrl[] = "ctrl-";
        const size_t n_ctrl = sizeof(ctrl) - 1;
        char c;

        if (len == 1 && (unsigned char)text[0] < 0x80)
                return text[0];
        if (len != n_ctrl + 1 || memcmp(text, ctrl, n_ctrl) != 0)
                return -1;
        c = text[n_ctrl];
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 1;
        return c == '@' || (c >= '[' && c <= '_') ? c - '@' : -1;
}

int detach_keys_parse(const char *text, struct detach_keys *ret, struct error *err)
{
        struct detach_keys keys = {.n_keys = 0};
        const char *at = text;

        *ret = keys;
        if (str_equal(text, "none"))
                return 0;
        for (;;) {
                size_t len = strcspn(at, ",");
                int key = parse_key(at, len);

                if (key < 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "detach keys '%s': '%.*s' is neither a character nor "
                                         "ctrl- and one of a to z, @, [, \\, ], ^, _",
                                         text, (int)len, at);
                if (keys.n_keys == DETACH_KEYS_MAX)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "detach keys '%s': more than %d", text, DETACH_KEYS_MAX);
                keys.keys[keys.n_keys++] = (uint8_t)key;
                if (!at[len])
                        break;
                at += len + 1;
        }
        *ret = keys;
        return 0;
}

/* The first byte that is held back is passed on after all; what of the rest still is a beginning of
 * the keys stays. */
static size_t release(struct detach_keys *keys, uint8_t *out)
{
        size_t n = 0;

        do {
                out[n] = keys->keys[n];
                n++;
        } while (memcmp(keys->keys, keys->keys + n, keys->n_matched - n) != 0);
        keys->n_matched -= n;
        return n;
}

bool detach_keys_filter(struct detach_keys *keys, const uint8_t *in, size_t len, uint8_t *out,
                        size_t *ret_len)
{
        size_t n = 0;

        for (size_t i = 0; i < len; i++) {
                while (keys->n_matched > 0 && keys->keys[keys->n_matched] != in[i])
                        n += release(keys, out + n);
                if (keys->n_keys == 0 || keys->keys[keys->n_matched] != in[i]) {
                        out[n++] = in[i];
                        continue;
                }
                if (++keys->n_matched == keys->n_keys) {
                        keys->n_matched = 0;
                        *ret_len = n;
                        return true;
                }
        }
        *ret_len = n;
        return false;
}
