/* SPDX-License-Identifier: Apache-2.0
 *
 * See format.h. Everything goes through one buffer, which is emitted when it is full and at the end
 * of each piece of output: so a burst of short lines is one write.
 */
#include "pkg/log/format.h"

#include <stdio.h>
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

static void put_text(struct log_formatter *f, const char *text)
{
        put(f, text, strlen(text));
}

/* As clock_format() has it; within a second only the fraction is written anew. */
static void put_time(struct log_formatter *f, uint64_t time_ns)
{
        int64_t seconds = (int64_t)(time_ns / NSEC_PER_SEC);
        uint64_t nanos = time_ns % NSEC_PER_SEC;

        if (f->date_of != seconds) {
                clock_format(seconds, 0, f->date);
                f->date_of = seconds;
        }
        for (size_t i = FRACTION_END; i > FRACTION_END - 9; i--) {
                f->date[i - 1] = (char)('0' + nanos % 10);
                nanos /= 10;
        }
        put_text(f, f->date);
}

static const char *stream_name(int stream)
{
        return stream == LOG_STDERR ? "stderr" : "stdout";
}

static void put_cri(struct log_formatter *f, int stream, const struct log_line *line, bool is_whole)
{
        put_time(f, line->time_ns);
        put_text(f, " ");
        put_text(f, stream_name(stream));
        put_text(f, is_whole ? " F " : " P ");
        put(f, line->text, line->n);
        put_text(f, "\n");
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

/* Bytes that are no UTF-8 become U+FFFD, as in Docker's files. */
static void put_json_text(struct log_formatter *f, const char *text, size_t len)
{
        static const char replacement[] = "\\ufffd";
        size_t i = 0;

        while (i < len) {
                unsigned char c = (unsigned char)text[i];
                size_t n = utf8_length((const unsigned char *)text + i, len - i);
                char escape[8];

                if (n == 0) {
                        put(f, replacement, sizeof(replacement) - 1);
                        i++;
                } else if (c == '"' || c == '\\') {
                        (void)snprintf(escape, sizeof(escape), "\\%c", c);
                        put(f, escape, 2);
                        i++;
                } else if (c < 0x20) {
                        (void)snprintf(escape, sizeof(escape), "\\u%04x", c);
                        put(f, escape, 6);
                        i++;
                } else {
                        put(f, text + i, n);
                        i += n;
                }
        }
}

static void put_json(struct log_formatter *f, int stream, const struct log_line *line,
                     bool is_whole)
{
        put_text(f, "{\"log\":\"");
        put_json_text(f, line->text, line->n);
        put_text(f, is_whole ? "\\n\",\"stream\":\"" : "\",\"stream\":\"");
        put_text(f, stream_name(stream));
        put_text(f, "\",\"time\":\"");
        put_time(f, line->time_ns);
        put_text(f, "\"}\n");
}

/* One entry, of a line that has ended or not. */
static void put_entry(struct log_formatter *f, int stream, struct log_line *line, bool is_whole)
{
        if (sizeof(f->buffer) - f->n_buffer < LOG_FORMAT_ROOM)
                emit(f);
        if (f->format == LOG_FORMAT_CRI)
                put_cri(f, stream, line, is_whole);
        else
                put_json(f, stream, line, is_whole);
        f->n_output += line->n + is_whole;
        line->n = 0;
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
        f->date_of = -1;
        f->n_buffer = 0;
        f->n_output = 0;
}

void log_formatter_feed(struct log_formatter *f, int stream, uint64_t time_ns, const char *data,
                        size_t len)
{
        struct log_line *line = &f->lines[stream == LOG_STDERR];

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
                if (line->n == 0)
                        line->time_ns = time_ns;
                memcpy(line->text + line->n, data, n);
                line->n += n;
                if (end || line->n == LOG_LINE_MAX)
                        put_entry(f, stream, line, end != NULL);
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
                        put_entry(f, i == 0 ? LOG_STDOUT : LOG_STDERR, &f->lines[i], false);
        }
        emit(f);
}

bool log_formatter_has_part(const struct log_formatter *f)
{
        return f->lines[0].n > 0 || f->lines[1].n > 0;
}
