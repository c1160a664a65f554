/* SPDX-License-Identifier: Apache-2.0
 *
 * See entry.h. Every function takes what is left of the line and moves its beginning on; none reads
 * behind its end.
 */
#include "pkg/log/entry.h"

#include <string.h>

#include "pkg/base/clock.h"

enum { JSON_DEPTH = 16, YEAR_MAX = 2500 };

struct text {
        const char *at;
        size_t n;
};

static bool take_char(struct text *t, char c)
{
        if (t->n == 0 || *t->at != c)
                return false;
        t->at++;
        t->n--;
        return true;
}

/* ---- Times ---- */

static bool take_digits(struct text *t, int n_digits, int min, int max, int *ret)
{
        int value = 0;

        if (t->n < (size_t)n_digits)
                return false;
        for (int i = 0; i < n_digits; i++) {
                if (t->at[i] < '0' || t->at[i] > '9')
                        return false;
                value = value * 10 + (t->at[i] - '0');
        }
        t->at += n_digits;
        t->n -= (size_t)n_digits;
        *ret = value;
        return value >= min && value <= max;
}

/* Days from 1970-01-01 on; the year begins with March, so that a leap day is its last. */
static int64_t days_until(int year, int month, int day)
{
        int64_t y = month > 2 ? year : year - 1;
        int64_t m = month > 2 ? month - 3 : month + 9;

        return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static bool take_fraction(struct text *t, uint64_t *ret_ns)
{
        uint64_t unit = NSEC_PER_SEC / 10;
        bool has_digit = false;

        *ret_ns = 0;
        if (!take_char(t, '.'))
                return true;
        while (t->n > 0 && *t->at >= '0' && *t->at <= '9') {
                *ret_ns += (uint64_t)(*t->at - '0') * unit;
                unit /= 10;
                has_digit = true;
                t->at++;
                t->n--;
        }
        return has_digit;
}

static bool take_zone(struct text *t, int *ret_seconds)
{
        int hours;
        int minutes;
        int sign;

        *ret_seconds = 0;
        if (take_char(t, 'Z'))
                return true;
        sign = take_char(t, '+') ? 1 : take_char(t, '-') ? -1 : 0;
        if (sign == 0 || !take_digits(t, 2, 0, 23, &hours) || !take_char(t, ':') ||
            !take_digits(t, 2, 0, 59, &minutes))
                return false;
        *ret_seconds = sign * (hours * 3600 + minutes * 60);
        return true;
}

bool log_time_parse(const char *text, size_t len, uint64_t *ret_ns)
{
        struct text t = {text, len};
        int year;
        int month;
        int day;
        int hour;
        int minute;
        int second;
        int zone;
        uint64_t fraction;
        int64_t seconds;

        if (!take_digits(&t, 4, 1970, YEAR_MAX, &year) || !take_char(&t, '-') ||
            !take_digits(&t, 2, 1, 12, &month) || !take_char(&t, '-') ||
            !take_digits(&t, 2, 1, 31, &day) || !take_char(&t, 'T') ||
            !take_digits(&t, 2, 0, 23, &hour) || !take_char(&t, ':') ||
            !take_digits(&t, 2, 0, 59, &minute) || !take_char(&t, ':') ||
            !take_digits(&t, 2, 0, 60, &second) || !take_fraction(&t, &fraction) ||
            !take_zone(&t, &zone) || t.n > 0)
                return false;
        seconds = days_until(year, month, day) * 86400 + (int64_t)hour * 3600 +
                  (int64_t)minute * 60 + second - zone;
        if (seconds < 0)
                return false;
        *ret_ns = (uint64_t)seconds * NSEC_PER_SEC + fraction;
        return true;
}

static bool stream_parse(const char *name, size_t len, int *ret)
{
        if (len != 6 || (memcmp(name, "stdout", 6) != 0 && memcmp(name, "stderr", 6) != 0))
                return false;
        *ret = memcmp(name, "stderr", 6) == 0 ? LOG_STDERR : LOG_STDOUT;
        return true;
}

/* ---- CRI ---- */

/* Up to the next blank, which is taken, too. */
static bool take_word(struct text *t, struct text *ret)
{
        const char *end = memchr(t->at, ' ', t->n);

        if (!end)
                return false;
        *ret = (struct text){t->at, (size_t)(end - t->at)};
        t->n -= ret->n + 1;
        t->at = end + 1;
        return true;
}

static bool parse_cri(const char *line, size_t len, struct log_entry *ret)
{
        struct text t = {line, len};
        struct text word;

        if (!take_word(&t, &word) || !log_time_parse(word.at, word.n, &ret->time_ns) ||
            !take_word(&t, &word) || !stream_parse(word.at, word.n, &ret->stream) ||
            !take_word(&t, &word) || word.n == 0 || (word.n > 1 && word.at[1] != ':') ||
            (word.at[0] != 'F' && word.at[0] != 'P'))
                return false;
        ret->is_partial = word.at[0] == 'P';
        ret->text = t.at;
        ret->n = t.n;
        return true;
}

/* ---- JSON ---- */

static void skip_blanks(struct text *t)
{
        while (t->n > 0 && (*t->at == ' ' || *t->at == '\t' || *t->at == '\r')) {
                t->at++;
                t->n--;
        }
}

static bool take_hex4(struct text *t, unsigned *ret)
{
        static const char digits[] = "0123456789abcdef";

        if (t->n < 4)
                return false;
        *ret = 0;
        for (int i = 0; i < 4; i++) {
                char c = t->at[i];
                const char *digit = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

                if (!digit)
                        return false;
                *ret = *ret * 16 + (unsigned)(digit - digits);
        }
        t->at += 4;
        t->n -= 4;
        return true;
}

static size_t put_utf8(char *to, unsigned c)
{
        if (c < 0x80) {
                to[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                to[0] = (char)(0xc0 | c >> 6);
                to[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                to[0] = (char)(0xe0 | c >> 12);
                to[1] = (char)(0x80 | (c >> 6 & 0x3f));
                to[2] = (char)(0x80 | (c & 0x3f));
                return 3;
        }
        to[0] = (char)(0xf0 | c >> 18);
        to[1] = (char)(0x80 | (c >> 12 & 0x3f));
        to[2] = (char)(0x80 | (c >> 6 & 0x3f));
        to[3] = (char)(0x80 | (c & 0x3f));
        return 4;
}

/* After "\u": four digits, or a pair of surrogates; a half of one is U+FFFD. */
static bool take_unicode(struct text *t, unsigned *ret)
{
        struct text next;
        unsigned low;

        if (!take_hex4(t, ret))
                return false;
        if (*ret < 0xd800 || *ret > 0xdfff)
                return true;
        next = *t;
        if (*ret < 0xdc00 && take_char(&next, '\\') && take_char(&next, 'u') &&
            take_hex4(&next, &low) && low >= 0xdc00 && low <= 0xdfff) {
                *ret = 0x10000 + ((*ret - 0xd800) << 10) + (low - 0xdc00);
                *t = next;
                return true;
        }
        *ret = 0xfffd;
        return true;
}

/* After a backslash. What it stands for is never longer than what it was written with. */
static bool take_escape(struct text *t, char *to, size_t *n)
{
        static const char names[] = "\"\\/bfnrt";
        static const char values[] = "\"\\/\b\f\n\r\t";
        const char *name;
        unsigned c;

        if (take_char(t, 'u')) {
                if (!take_unicode(t, &c))
                        return false;
                *n += put_utf8(to + *n, c);
                return true;
        }
        name = t->n > 0 && *t->at ? strchr(names, *t->at) : NULL;
        if (!name)
                return false;
        to[(*n)++] = values[name - names];
        t->at++;
        t->n--;
        return true;
}

/* A string with its quotes, decoded into `to`, which has room for what is left of the line. */
static bool take_string(struct text *t, char *to, size_t *ret_n)
{
        *ret_n = 0;
        if (!take_char(t, '"'))
                return false;
        while (t->n > 0) {
                size_t n = 0;

                while (n < t->n && t->at[n] != '"' && t->at[n] != '\\')
                        n++;
                memcpy(to + *ret_n, t->at, n);
                *ret_n += n;
                t->at += n;
                t->n -= n;
                if (take_char(t, '"'))
                        return true;
                if (!take_char(t, '\\') || !take_escape(t, to, ret_n))
                        return false;
        }
        return false;
}

/* A value of a key that does not matter: its end is looked for, not its sense. */
static bool skip_value(struct text *t, char *room)
{
        int depth = 0;
        size_t n;

        while (t->n > 0) {
                char c = *t->at;

                if (c == '"') {
                        if (!take_string(t, room, &n))
                                return false;
                        continue;
                }
                if (depth == 0 && (c == ',' || c == '}'))
                        return true;
                if (c == '{' || c == '[')
                        depth++;
                if (c == '}' || c == ']')
                        depth--;
                if (depth < 0 || depth > JSON_DEPTH)
                        return false;
                t->at++;
                t->n--;
        }
        return false;
}

/* The room is used up from its beginning: all strings that are kept are shorter than the line. */
struct json {
        struct text rest;
        char *room;
        bool has_log;
};

static bool take_member(struct json *j, struct log_entry *ret)
{
        char *key = j->room;
        char *value;
        size_t n_key;
        size_t n;

        skip_blanks(&j->rest);
        if (!take_string(&j->rest, key, &n_key))
                return false;
        skip_blanks(&j->rest);
        if (!take_char(&j->rest, ':'))
                return false;
        skip_blanks(&j->rest);
        value = key + n_key;
        if (n_key == 3 && memcmp(key, "log", 3) == 0) {
                if (!take_string(&j->rest, value, &n))
                        return false;
                ret->text = value;
                ret->n = n;
                j->has_log = true;
                j->room = value + n;
                return true;
        }
        if (n_key == 6 && memcmp(key, "stream", 6) == 0)
                return take_string(&j->rest, value, &n) && stream_parse(value, n, &ret->stream);
        if (n_key == 4 && memcmp(key, "time", 4) == 0)
                return take_string(&j->rest, value, &n) && log_time_parse(value, n, &ret->time_ns);
        return skip_value(&j->rest, value);
}

static bool parse_json(const char *line, size_t len, char *room, struct log_entry *ret)
{
        struct json j = {.rest = {line, len}, .room = room};

        skip_blanks(&j.rest);
        if (!take_char(&j.rest, '{'))
                return false;
        do {
                if (!take_member(&j, ret))
                        return false;
                skip_blanks(&j.rest);
        } while (take_char(&j.rest, ','));
        if (!take_char(&j.rest, '}') || !j.has_log)
                return false;
        skip_blanks(&j.rest);
        ret->is_partial = ret->n == 0 || ret->text[ret->n - 1] != '\n';
        ret->n -= !ret->is_partial;
        return j.rest.n == 0;
}

bool log_entry_parse(enum log_format format, const char *line, size_t len, char *room,
                     struct log_entry *ret)
{
        struct log_entry entry = {.stream = LOG_STDOUT};
        bool is_good = format == LOG_FORMAT_CRI    ? parse_cri(line, len, &entry)
                       : format == LOG_FORMAT_JSON ? parse_json(line, len, room, &entry)
                                                   : false;

        if (is_good) {
                *ret = entry;
                return true;
        }
        *ret = (struct log_entry){.stream = LOG_STDOUT, .text = line, .n = len};
        if (format == LOG_FORMAT_RAW)
                ret->stream = 0;
        return format == LOG_FORMAT_RAW;
}
