/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: see log.h. A line is built in one buffer on the stack and goes out in one write(2) of at
 * most PIPE_BUF bytes, so that lines of several writers never mix. Bytes of a message that could
 * break the line or the terminal it is read on are escaped as Go's %q does.
 */
#include "shim/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

enum { LINE_MAX_BYTES = 3072, TEXT_MAX_BYTES = 1536, FIELDS_MAX_BYTES = 320 };

static struct {
        int fd;
        enum log_level min;
        unsigned long n_dropped;
        char fields[FIELDS_MAX_BYTES]; /* " id=... namespace=... runtime=..." */
} sink = {.fd = -1};

struct line {
        char text[LINE_MAX_BYTES];
        size_t len; /* at most sizeof(text) - 1: the last byte is kept for the line feed */
};

static void line_add(struct line *line, const char *s, size_t n)
{
        size_t room = sizeof(line->text) - 1 - line->len;

        if (n > room)
                n = room;
        memcpy(line->text + line->len, s, n);
        line->len += n;
}

static void line_add_text(struct line *line, const char *s)
{
        line_add(line, s, strlen(s));
}

/* logrus quotes what is not made of these only. */
static bool is_plain(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               (c && strchr("-._/@^+", c));
}

static void line_add_quoted(struct line *line, const char *s)
{
        line_add_text(line, "\"");
        for (; *s; s++) {
                char escaped[8];

                if (*s == '"' || *s == '\\')
                        (void)snprintf(escaped, sizeof(escaped), "\\%c", *s);
                else if (*s == '\n')
                        (void)snprintf(escaped, sizeof(escaped), "\\n");
                else if (*s == '\t')
                        (void)snprintf(escaped, sizeof(escaped), "\\t");
                else if ((unsigned char)*s < 0x20 || *s == 0x7f)
                        (void)snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned)*s);
                else
                        (void)snprintf(escaped, sizeof(escaped), "%c", *s);
                line_add_text(line, escaped);
        }
        line_add_text(line, "\"");
}

static void line_add_field(struct line *line, const char *key, const char *value)
{
        const char *p = value;

        while (is_plain(*p))
                p++;
        line_add_text(line, " ");
        line_add_text(line, key);
        line_add_text(line, "=");
        if (*p || p == value)
                line_add_quoted(line, value);
        else
                line_add_text(line, value);
}

/* RFC 3339 with nine digits of the second, in UTC: the offset is a Z. */
static void line_add_time(struct line *line)
{
        struct timespec now = clock_realtime();
        char text[CLOCK_TEXT_MAX];

        clock_format(now.tv_sec, now.tv_nsec, text);
        line_add_text(line, "time=\"");
        line_add_text(line, text);
        line_add_text(line, "\"");
}

void log_open(int fd, enum log_level min, const char *id, const char *runtime_namespace,
              const char *runtime)
{
        struct line line = {.len = 0};

        if (id)
                line_add_field(&line, "id", id);
        if (runtime_namespace)
                line_add_field(&line, "namespace", runtime_namespace);
        if (runtime)
                line_add_field(&line, "runtime", runtime);
        if (line.len >= sizeof(sink.fields))
                line.len = sizeof(sink.fields) - 1;
        memcpy(sink.fields, line.text, line.len);
        sink.fields[line.len] = '\0';
        sink.fd = fd;
        sink.min = min;
        sink.n_dropped = 0;
}

void log_write(enum log_level level, const char *exec_id, const char *fmt, ...)
{
        static const char *const names[] = {
                [LOG_DEBUG] = "debug",
                [LOG_INFO] = "info",
                [LOG_WARNING] = "warning",
                [LOG_ERROR] = "error",
        };
        struct line line = {.len = 0};
        char text[TEXT_MAX_BYTES];
        va_list ap;

        if (sink.fd < 0 || level < sink.min)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        str_make_utf8(text);
        line_add_time(&line);
        line_add_field(&line, "level", names[level]);
        line_add_text(&line, " msg=");
        line_add_quoted(&line, text);
        if (sink.n_dropped > 0) {
                (void)snprintf(text, sizeof(text), "%lu", sink.n_dropped);
                line_add_field(&line, "dropped_lines", text);
        }
        if (!str_is_empty(exec_id))
                line_add_field(&line, "exec_id", exec_id);
        line_add_text(&line, sink.fields);
        line.text[line.len++] = '\n';
        /* EAGAIN, EPIPE, a full disk: the line is lost, the shim is not. */
        if (write(sink.fd, line.text, line.len) == (ssize_t)line.len)
                sink.n_dropped = 0;
        else
                sink.n_dropped++;
}
