/* SPDX-License-Identifier: Apache-2.0
 *
 * See format.h. Everything goes through one buffer, which is emitted when it is full and at the end
 * of each piece of output: so a burst of short lines is one write. A line that comes whole is
 * formatted from where it is; only one that has not ended is kept.
 */
#include "pkg/log/format.h"

#include <string.h>

#include "pkg/base/clock.h"

enum { FRACTION_END = CLOCK_TEXT_MAX - 2 }; /* before the Z */

static void emit(struct log_formatter *f)
{
        if (f->n_buffer == 0)
                return;
        f->emit(f->buffer, f->n_buffer, f->n_output, f->userdata);
        f->n_buffer = 0;
        f->n_output = 0;
}

static void put(struct log_formatter *f, const char *data, size_t len)
{
        memcpy(f->buffer + f->n_buffer, data, len);
        f->n_buffer += len;
}

#define PUT_CONSTANT(f, text) put(f, text, sizeof(text) - 1)

/* As clock_format() has it; within a second only the fraction is written anew, and all entries of
 * one piece of output have the same time. */
static void put_time(struct log_formatter *f, uint64_t time_ns)
{
        if (f->date_of != time_ns) {
                uint64_t nanos = time_ns % NSEC_PER_SEC;

                if (f->date_of / NSEC_PER_SEC != time_ns / NSEC_PER_SEC)
                        clock_format((int64_t)(time_ns / NSEC_PER_SEC), 0, f->date);
                for (size_t i = FRACTION_END; i > FRACTION_END - 9; i--) {
                        f->date[i - 1] = (char)('0' + nanos % 10);
                        nanos /= 10;
                }
                f->date_of = time_ns;
        }
        put(f, f->date, CLOCK_TEXT_MAX - 1);
}

/* One entry to be: a line, or a part of it. */
struct piece {
        bool is_stderr;
        bool is_whole;
        uint64_t time_ns;
        const char *text;
        size_t n;
};

static void put_cri(struct log_formatter *f, const struct piece *piece)
{
        static const char marks[2][2][sizeof(" stdout F ")] = {{" stdout P ", " stdout F "},
                                                               {" stderr P ", " stderr F "}};

        put_time(f, piece->time_ns);
        PUT_CONSTANT(f, marks[piece->is_stderr][piece->is_whole]);
        put(f, piece->text, piece->n);
        PUT_CONSTANT(f, "\n");
}

/* How many bytes at s are one character of UTF-8; 0 if they are none. */
static size_t utf8_length(const unsigned char *s, size_t len)
{
        size_t n = s[0] < 0x80   ? 1
                   : s[0] < 0xc2 ? 0
                   : s[0] < 0xe0 ? 2
                   : s[0] < 0xf0 ? 3
                   : s[0] < 0xf5 ? 4
                                 : 0;

        if (n == 0 || n > len)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        }
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
                return 0;
        return n;
}

#define EACH_BYTE(c) (UINT64_C(0x0101010101010101) * (c))

/* Whether one of eight bytes is a control character, above ASCII, a quote or a backslash. A borrow
 * comes only out of a byte that is one, so there may be doubt about its neighbours, not about the
 * answer. */
static bool has_special(uint64_t eight)
{
        uint64_t quote = eight ^ EACH_BYTE('"');
        uint64_t backslash = eight ^ EACH_BYTE('\\');

        return ((eight | (eight - EACH_BYTE(0x20)) | (quote - EACH_BYTE(1)) |
                 (backslash - EACH_BYTE(1))) &
                EACH_BYTE(0x80)) != 0;
}

/* How many bytes from s on are the same in JSON. */
static size_t plain_length(const char *s, size_t len)
{
        size_t i = 0;
        uint64_t eight;

        while (len - i >= sizeof(eight)) {
                memcpy(&eight, s + i, sizeof(eight));
                if (has_special(eight))
                        break;
                i += sizeof(eight);
        }
        while (i < len) {
                unsigned char c = (unsigned char)s[i];
                size_t n = utf8_length((const unsigned char *)s + i, len - i);

                if (n == 0 || c < 0x20 || c == '"' || c == '\\')
                        break;
                i += n;
        }
        return i;
}

/* Bytes that are no UTF-8 become U+FFFD, as in Docker's files. */
static void put_json_escape(struct log_formatter *f, unsigned char c)
{
        static const char digits[] = "0123456789abcdef";

        if (c >= 0x80) {
                PUT_CONSTANT(f, "\\ufffd");
        } else if (c < 0x20) {
                const char escape[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 0xf]};

                put(f, escape, sizeof(escape));
        } else {
                const char escape[] = {'\\', (char)c};

                put(f, escape, sizeof(escape));
        }
}

static void put_json_text(struct log_formatter *f, const char *text, size_t len)
{
        while (len > 0) {
                size_t n = plain_length(text, len);

                put(f, text, n);
                if (n < len)
                        put_json_escape(f, (unsigned char)text[n++]);
                text += n;
                len -= n;
        }
}

static void put_json(struct log_formatter *f, const struct piece *piece)
{
        static const char streams[2][sizeof("stdout")] = {"stdout", "stderr"};

        PUT_CONSTANT(f, "{\"log\":\"");
        put_json_text(f, piece->text, piece->n);
        if (piece->is_whole)
                PUT_CONSTANT(f, "\\n");
        PUT_CONSTANT(f, "\",\"stream\":\"");
        PUT_CONSTANT(f, streams[piece->is_stderr]);
        PUT_CONSTANT(f, "\",\"time\":\"");
        put_time(f, piece->time_ns);
        PUT_CONSTANT(f, "\"}\n");
}

static void put_piece(struct log_formatter *f, const struct piece *piece)
{
        if (sizeof(f->buffer) - f->n_buffer < LOG_FORMAT_ROOM)
                emit(f);
        if (f->format == LOG_FORMAT_CRI)
                put_cri(f, piece);
        else
                put_json(f, piece);
        f->n_output += piece->n + piece->is_whole;
}

/* What was kept of a line, whose end has come or not. */
static void put_line(struct log_formatter *f, int stream, bool is_whole)
{
        struct log_line *line = &f->lines[stream == LOG_STDERR];
        const struct piece piece = {
                .is_stderr = stream == LOG_STDERR,
                .is_whole = is_whole,
                .time_ns = line->time_ns,
                .text = line->text,
                .n = line->n,
        };

        put_piece(f, &piece);
        line->n = 0;
}

static void keep(struct log_line *line, uint64_t time_ns, const char *data, size_t len)
{
        if (line->n == 0)
                line->time_ns = time_ns;
        memcpy(line->text + line->n, data, len);
        line->n += len;
}

void log_formatter_init(struct log_formatter *f, enum log_format format,
                        void (*fn)(const char *entries, size_t len, size_t n_output,
                                   void *userdata),
                        void *userdata)
{
        f->format = format;
        f->lines[0].n = 0;
        f->lines[1].n = 0;
        f->emit = fn;
        f->userdata = userdata;
        clock_format(0, 0, f->date);
        f->date_of = 0;
        f->n_buffer = 0;
        f->n_output = 0;
}

void log_formatter_feed(struct log_formatter *f, int stream, uint64_t time_ns, const char *data,
                        size_t len)
{
        struct log_line *line = &f->lines[stream == LOG_STDERR];
        struct piece piece = {.is_stderr = stream == LOG_STDERR, .time_ns = time_ns};

        if (f->format == LOG_FORMAT_RAW) {
                f->emit(data, len, len, f->userdata);
                return;
        }
        while (len > 0) {
                size_t room = LOG_LINE_MAX - line->n;
                size_t n = len < room ? len : room;
                const char *end = memchr(data, '\n', n);

                if (end)
                        n = (size_t)(end - data);
                if (line->n == 0 && (end || n == room)) {
                        piece.is_whole = end != NULL;
                        piece.text = data;
                        piece.n = n;
                        put_piece(f, &piece);
                } else {
                        keep(line, time_ns, data, n);
                        if (end || n == room)
                                put_line(f, stream, end != NULL);
                }
                n += end != NULL;
                data += n;
                len -= n;
        }
        emit(f);
}

void log_formatter_flush(struct log_formatter *f)
{
        for (int i = 0; i < 2; i++) {
                if (f->lines[i].n > 0)
                        put_line(f, i == 0 ? LOG_STDOUT : LOG_STDERR, false);
        }
        emit(f);
}

bool log_formatter_has_part(const struct log_formatter *f)
{
        return f->lines[0].n > 0 || f->lines[1].n > 0;
}
