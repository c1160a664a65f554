/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a reader begins: a few blocks are read for that, however long the log is, unless what is
 * asked for is rare in it.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/log/read.h"

bool log_query_wants(const struct log_query *query, const struct log_entry *entry, uint64_t time_ns)
{
        bool all = query->out == query->err;

        if (!all && entry->stream != 0 && (entry->stream == LOG_STDOUT) != query->out)
                return false;
        if (query->since_ns > 0 && time_ns < query->since_ns)
                return false;
        return query->until_ns == 0 || time_ns < query->until_ns;
}

/* As many bytes as there are at that place. Their number, or a negative errno. */
static ssize_t read_at(int fd, char *to, size_t len, uint64_t offset)
{
        size_t n = 0;

        while (n < len) {
                ssize_t got = pread(fd, to + n, len - n, (off_t)(offset + n));

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                n += (size_t)got;
        }
        return (ssize_t)n;
}

static int end_of(const struct log_read_file *file, uint64_t *ret)
{
        struct stat st;

        if (fstat(file->fd, &st) < 0)
                return -errno;
        *ret = (uint64_t)st.st_size < file->limit ? (uint64_t)st.st_size : file->limit;
        return 0;
}

/* Behind the last newline before `end`; 0 when there is none. */
static int end_of_last_line(const struct log_read_file *file, uint64_t end, char *room,
                            uint64_t *ret)
{
        while (end > 0) {
                size_t n = end < LOG_READ_ROOM ? (size_t)end : LOG_READ_ROOM;
                ssize_t got = read_at(file->fd, room, n, end - n);
                const char *last;

                if (got < 0)
                        return (int)got;
                last = memrchr(room, '\n', (size_t)got);
                if (last) {
                        *ret = end - n + (uint64_t)(last - room) + 1;
                        return 0;
                }
                end -= n;
        }
        *ret = 0;
        return 0;
}

int log_find_end(const struct log_read_files *files, char *line_room, struct log_place *ret)
{
        const struct log_read_file *last = &files->list[files->n - 1];
        uint64_t end = 0;
        int r = end_of(last, &end);

        if (r < 0)
                return r;
        ret->file = files->n - 1;
        return end_of_last_line(last, end, line_room, &ret->offset);
}

/* ---- From the end ---- */

struct tail {
        enum log_format format;
        const struct log_query *query;
        char *text_room;
        int64_t left;  /* lines that are still to be found */
        bool begun[3]; /* of a stream: an entry was seen */
};

/* Lines come from the last to the first. True when the beginning lies behind this one. */
static bool tail_line(struct tail *t, const char *line, size_t len)
{
        struct log_entry entry;
        uint64_t time_ns;

        (void)log_entry_parse(t->format, line, len, t->text_room, &entry);
        /* One without a time may belong to what is asked for. */
        time_ns = entry.time_ns > 0 ? entry.time_ns : t->query->since_ns;
        if (t->query->since_ns > 0 && time_ns + LOG_READ_DISORDER_NS < t->query->since_ns)
                return true; /* all before it is older than what is asked for */
        if (!log_query_wants(t->query, &entry, time_ns))
                return false;
        if (entry.is_partial && t->begun[entry.stream])
                return false; /* the line was counted at its end */
        t->begun[entry.stream] = true;
        return t->left-- == 0;
}

/* One file, up to `end`. 1 when the beginning was found, 0, or a negative errno. */
static int tail_file(struct tail *t, const struct log_read_file *file, uint64_t end, char *room,
                     uint64_t *ret)
{
        uint64_t stop = end; /* of the last line in the block, which may be behind the block */

        while (end > 0) {
                size_t n = end < LOG_READ_ROOM ? (size_t)end : LOG_READ_ROOM;
                uint64_t at = end - n;
                ssize_t got = read_at(file->fd, room, n, at);
                const char *first;
                size_t line_end;

                if (got < 0)
                        return (int)got;
                if ((size_t)got < n)
                        break; /* it was truncated meanwhile */
                /* Lines whose beginning is in the block; room[n - 1] ends the last of them. */
                first = at == 0 ? room : memchr(room, '\n', n - 1);
                if (!first) {
                        end = at; /* the middle of a very long line, which counts by its beginning
                                   */
                        continue;
                }
                first += at > 0;
                line_end = n;
                while (line_end > (size_t)(first - room)) {
                        size_t text_end = line_end - (room[line_end - 1] == '\n');
                        const char *before =
                                memrchr(first, '\n', text_end - (size_t)(first - room));
                        const char *line = before ? before + 1 : first;

                        if (tail_line(t, line, text_end - (size_t)(line - room))) {
                                *ret = stop;
                                return 1;
                        }
                        line_end = (size_t)(line - room);
                        stop = at + line_end;
                }
                end = at + (uint64_t)(first - room);
        }
        return 0;
}

int log_find_tail(const struct log_read_files *files, const struct log_query *query, bool has_ended,
                  char *line_room, char *text_room, struct log_place *ret)
{
        struct tail t = {.format = files->config->format,
                         .query = query,
                         .text_room = text_room,
                         .left = query->tail};

        for (size_t i = files->n; i-- > 0;) {
                uint64_t end = 0;
                int r = end_of(&files->list[i], &end);

                if (r == 0 && i + 1 == files->n && !has_ended)
                        r = end_of_last_line(&files->list[i], end, line_room, &end);
                if (r == 0)
                        r = tail_file(&t, &files->list[i], end, line_room, &ret->offset);
                ret->file = i;
                if (r != 0)
                        return r < 0 ? r : 0;
        }
        *ret = (struct log_place){0};
        return 0;
}

/* ---- By time ---- */

/* The time of the first line that begins behind `at` and has one; 0: none is near. */
static uint64_t time_behind(const struct log_read_files *files, int fd, uint64_t at, char *room,
                            char *text_room)
{
        ssize_t n = read_at(fd, room, LOG_READ_ROOM, at);
        const char *end = n > 0 ? memchr(room, '\n', (size_t)n) : NULL;

        while (end) {
                const char *line = end + 1;
                struct log_entry entry;

                end = memchr(line, '\n', (size_t)(room + n - line));
                if (end &&
                    log_entry_parse(files->config->format, line, (size_t)(end - line), text_room,
                                    &entry) &&
                    entry.time_ns > 0)
                        return entry.time_ns;
        }
        return 0;
}

int log_find_since(const struct log_read_files *files, const struct log_query *query,
                   char *line_room, char *text_room, struct log_place *ret)
{
        uint64_t since =
                query->since_ns > LOG_READ_DISORDER_NS ? query->since_ns - LOG_READ_DISORDER_NS : 0;
        uint64_t low = 0;
        uint64_t high = 0;
        size_t i = 0;
        int r;

        /* A file that was not written to since has nothing. */
        while (i + 1 < files->n && files->list[i].mtime_ns < since)
                i++;
        r = end_of(&files->list[i], &high);
        if (r < 0)
                return r;
        while (high - low > LOG_READ_ROOM) {
                uint64_t middle = low + (high - low) / 2;
                uint64_t time = time_behind(files, files->list[i].fd, middle, line_room, text_room);

                if (time > 0 && time < since)
                        low = middle;
                else
                        high = middle;
        }
        *ret = (struct log_place){.file = i};
        return low > 0 ? end_of_last_line(&files->list[i], low, line_room, &ret->offset) : 0;
}
