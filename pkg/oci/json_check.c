/* SPDX-License-Identifier: Apache-2.0
 *
 * json-c, even when told to be strict, lets the last of two equal keys win, cuts a key at a NUL,
 * takes the nearest number for one that is too large, and reads 'a', NaN, -01, 1. and bad UTF-8.
 * In a document that decides what a container may do, none of these may pass. So this pass goes
 * over the text first and builds nothing; json-c sees only texts that have one meaning.
 *
 * Invariant: no recursion, time O(n log n), and memory bounded by LIMIT_JSON_VALUES. The keys of
 * the objects that are open lie on one stack; an object's keys are sorted and compared when it
 * closes, and then leave the stack.
 */
#include "pkg/oci/json_check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/limits.h"
#include "pkg/oci/json_text.h"

/* A key as it stands between its quotes, escapes included. The hash is that of its meaning. */
struct key {
        uint64_t hash;
        const char *text;
        size_t len;
};

/* An object or array that is open. */
struct frame {
        bool is_object;
        size_t n;          /* members begun so far */
        size_t first_key;  /* where this object's keys start on the stack of keys */
        struct key member; /* of an object: the key of the member under way */
};

struct checker {
        const char *start;
        const char *p;
        const char *end;
        const char *name;
        const char *prefix;
        struct error *err;
        size_t n_values;
        size_t n_containers;
        size_t depth;
        struct frame frames[LIMIT_JSON_DEPTH];
        struct key *keys;
        size_t n_keys;
        size_t room;
};

/* ---- errors ---- */

/* A syntax error, at the present position. */
static int fail_here(const struct checker *c, const char *what)
{
        size_t line = 1;
        size_t column = 1;

        for (const char *q = c->start; q < c->p; q++) {
                column++;
                if (*q == '\n') {
                        line++;
                        column = 1;
                }
        }
        return error_set(c->err, STATUS_INVALID_ARGUMENT, "%s: line %zu, column %zu: %s", c->name,
                         line, column, what);
}

/* The path of the value under way: all open frames from the outermost inwards. */
static void path_format(const struct checker *c, char *out, size_t size)
{
        size_t used = (size_t)snprintf(out, size, "%s", c->prefix);

        for (size_t i = 0; i < c->depth; i++) {
                const struct frame *f = &c->frames[i];

                if (!f->is_object)
                        used = json_path_add_index(out, size, used, f->n - 1);
                else if (f->member.text)
                        used = json_path_add_key(out, size, used, f->member.text, f->member.len);
        }
        if (used == 0)
                (void)snprintf(out, size, "%s", c->name);
}

/* An error in well-formed text, at the path of the value under way. */
static int fail_at_path(const struct checker *c, const char *what)
{
        char path[JSON_PATH_MAX];

        path_format(c, path, sizeof(path));
        return error_set(c->err, STATUS_INVALID_ARGUMENT, "%s: %s", path, what);
}

/* ---- strings ---- */

/* A string, from its opening quote on. *ret_key: its inside. */
static int scan_string(struct checker *c, struct key *ret_key, bool *ret_has_nul)
{
        const char *why = NULL;
        uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, over code points */
        bool has_nul = false;
        const char *inside;

        inside = ++c->p;
        for (;;) {
                const char *q = c->p;
                int value;

                if (q == c->end)
                        return fail_here(c, "end of text in a string");
                if (*q == '"')
                        break;
                value = json_char_next(&q, c->end, &why);
                if (value < 0)
                        return fail_here(c, why);
                has_nul = has_nul || value == 0;
                hash = (hash ^ (uint64_t)value) * UINT64_C(0x100000001b3);
                c->p = q;
        }
        *ret_key = (struct key){.hash = hash, .text = inside, .len = (size_t)(c->p - inside)};
        *ret_has_nul = has_nul;
        c->p++;
        return 0;
}

/* ---- keys given twice ---- */

/* Orders keys by meaning; what order that is does not matter. */
static int key_compare(const void *a, const void *b)
{
        const struct key *x = a;
        const struct key *y = b;
        const char *p = x->text;
        const char *q = y->text;
        const char *why = NULL;

        if (x->hash != y->hash)
                return x->hash < y->hash ? -1 : 1;
        while (p < x->text + x->len && q < y->text + y->len) {
                int m = json_char_next(&p, x->text + x->len, &why);
                int n = json_char_next(&q, y->text + y->len, &why);

                if (m != n)
                        return m < n ? -1 : 1;
        }
        return (p < x->text + x->len) - (q < y->text + y->len);
}

static int key_push(struct checker *c, const struct key *key)
{
        if (c->n_keys == c->room) {
                size_t room = c->room ? c->room * 2 : 64;
                struct key *more = realloc(c->keys, room * sizeof(*more));

                if (!more)
                        return error_set(c->err, STATUS_RESOURCE_EXHAUSTED, "%s: out of memory",
                                         c->name);
                c->keys = more;
                c->room = room;
        }
        c->keys[c->n_keys++] = *key;
        return 0;
}

/* The innermost object closes: no two of its keys may mean the same. */
static int keys_close(struct checker *c, struct frame *f)
{
        size_t n = c->n_keys - f->first_key;
        struct key *keys;

        c->n_keys = f->first_key;
        if (n < 2)
                return 0;
        keys = c->keys + f->first_key;
        qsort(keys, n, sizeof(*keys), key_compare);
        for (size_t i = 1; i < n; i++) {
                if (key_compare(&keys[i - 1], &keys[i]) != 0)
                        continue;
                f->member = keys[i];
                return fail_at_path(c, "given twice");
        }
        return 0;
}

/* ---- the grammar ---- */

static void skip_blanks(struct checker *c)
{
        while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
                c->p++;
}

/* The next byte that is no blank; -1 at the end. */
static int peek(struct checker *c)
{
        skip_blanks(c);
        return c->p < c->end ? (unsigned char)*c->p : -1;
}

static bool skip_digits(struct checker *c)
{
        const char *from = c->p;

        while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
                c->p++;
        return c->p > from;
}

static bool skip_one_of(struct checker *c, const char *set)
{
        if (c->p == c->end || *c->p == '\0' || !strchr(set, *c->p))
                return false;
        c->p++;
        return true;
}

/* digits: those of an integer, len of them. */
static bool integer_fits(const char *digits, size_t len, bool negative)
{
        uint64_t limit = negative ? UINT64_C(1) << 63 : UINT64_MAX;
        uint64_t value = 0;

        for (size_t i = 0; i < len; i++)
                if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
                    __builtin_add_overflow(value, (uint64_t)(digits[i] - '0'), &value))
                        return false;
        return value <= limit;
}

static int scan_number(struct checker *c)
{
        bool negative = skip_one_of(c, "-");
        const char *digits = c->p;
        size_t n_digits;
        bool is_integer = true;

        if (!skip_digits(c))
                return fail_here(c, "a digit is missing");
        n_digits = (size_t)(c->p - digits);
        if (n_digits > 1 && digits[0] == '0')
                return fail_here(c, "a number begins with 0");
        if (skip_one_of(c, ".")) {
                is_integer = false;
                if (!skip_digits(c))
                        return fail_here(c, "a digit is missing");
        }
        if (skip_one_of(c, "eE")) {
                is_integer = false;
                (void)skip_one_of(c, "+-");
                if (!skip_digits(c))
                        return fail_here(c, "a digit is missing");
        }
        if (is_integer && !integer_fits(digits, n_digits, negative))
                return fail_at_path(c, "number out of range");
        return 0;
}

static int scan_word(struct checker *c)
{
        static const char *const words[] = {"true", "false", "null"};
        size_t left = (size_t)(c->end - c->p);

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                size_t len = strlen(words[i]);

                if (left >= len && memcmp(c->p, words[i], len) == 0) {
                        c->p += len;
                        return 0;
                }
        }
        return fail_here(c, "a value is missing");
}

static int open_container(struct checker *c, bool is_object)
{
        if (c->depth == LIMIT_JSON_DEPTH)
                return fail_here(c, "nested too deeply");
        if (++c->n_containers > LIMIT_JSON_CONTAINERS)
                return fail_here(c, "too many objects and lists");
        c->frames[c->depth++] = (struct frame){.is_object = is_object, .first_key = c->n_keys};
        c->p++;
        return 0;
}

/* A scalar, or only the opening bracket of an object or list. */
static int scan_value(struct checker *c)
{
        struct key ignored;
        bool has_nul = false;
        int ch = peek(c);

        if (++c->n_values > LIMIT_JSON_VALUES)
                return fail_here(c, "too many values");
        if (ch == '{' || ch == '[')
                return open_container(c, ch == '{');
        if (ch == '-' || (ch >= '0' && ch <= '9'))
                return scan_number(c);
        if (ch != '"')
                return scan_word(c);
        if (scan_string(c, &ignored, &has_nul) < 0)
                return -1;
        return has_nul ? fail_at_path(c, "NUL in a string") : 0;
}

static int scan_key(struct checker *c, struct frame *f)
{
        bool has_nul = false;

        if (peek(c) != '"')
                return fail_here(c, "the name of a property is missing");
        if (scan_string(c, &f->member, &has_nul) < 0)
                return -1;
        if (has_nul)
                return fail_at_path(c, "NUL in the name of a property");
        if (key_push(c, &f->member) < 0)
                return -1;
        if (peek(c) != ':')
                return fail_here(c, "':' is missing");
        c->p++;
        return 0;
}

/* One step inside the innermost container: its end, or its next member's begin. */
static int scan_member(struct checker *c)
{
        struct frame *f = &c->frames[c->depth - 1];
        int ch = peek(c);

        if (ch == (f->is_object ? '}' : ']')) {
                c->p++;
                f->member = (struct key){0};
                if (f->is_object && keys_close(c, f) < 0)
                        return -1;
                c->depth--;
                return 0;
        }
        if (ch < 0)
                return fail_here(c, "end of text");
        if (f->n > 0) {
                if (ch != ',')
                        return fail_here(c, f->is_object ? "',' or '}' is missing"
                                                         : "',' or ']' is missing");
                c->p++;
        }
        f->n++;
        if (f->is_object && scan_key(c, f) < 0)
                return -1;
        return scan_value(c);
}

static int scan_document(struct checker *c)
{
        if (scan_value(c) < 0)
                return -1;
        while (c->depth > 0)
                if (scan_member(c) < 0)
                        return -1;
        if (peek(c) >= 0)
                return fail_here(c, "text after the end");
        return 0;
}

int json_check(const char *text, size_t len, const char *name, const char *prefix,
               struct error *err)
{
        struct checker c = {
                .start = text,
                .p = text,
                .end = len > 0 ? text + len : text,
                .name = name,
                .prefix = prefix,
                .err = err,
        };
        int r;

        if (len > LIMIT_CONFIG_BYTES)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: longer than %u bytes", name,
                                 LIMIT_CONFIG_BYTES);
        r = scan_document(&c);
        free(c.keys);
        return r;
}
