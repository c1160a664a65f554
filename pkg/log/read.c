/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of a log: see read.h. One rule makes it lose and double nothing of the files that it
 * sees while the log is rotated: a file is left for the next one only after it was read to its end
 * *after* the next one was seen, for the writer begins a file when it has written all of the one
 * before.
 */
#include "pkg/log/read.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

enum {
        LOOK_MS = 5000,      /* in case that a change of the log was not told */
        LOOK_BLIND_MS = 200, /* without inotify */
};

/* How long after `until` an entry of a time before it may be written. */
#define UNTIL_PATIENCE_NS (2 * NSEC_PER_SEC)

struct reader {
        const struct log_config *config;
        const struct log_query *query;
        int out;
        int hold;
        bool is_past; /* nothing that is asked for can come any more */
        struct log_read_files files;

        /* With follow. */
        int notify;
        ino_t watched;   /* the file that is watched for being written */
        bool has_looked; /* since read_all() did: what it was told of then has to be read yet */

        /* The first of the files. */
        uint64_t offset;
        size_t n;     /* read and not yet a line: the beginning of room */
        bool in_long; /* in a line that was given in part */
        bool long_wanted;
        struct log_entry long_entry;

        uint64_t last_ns; /* time of the last entry that has one */
        size_t n_out;
        char room[LOG_READ_ROOM];
        char text[LOG_READ_ROOM];
        char out_room[LOG_READ_OUT_ROOM];
};

/* ---- New files ---- */

static void watch(struct reader *r)
{
        struct log_read_file *last = &r->files.list[r->files.n - 1];

        if (r->notify < 0 || r->watched == last->ino)
                return;
        /* By its name: if that is another file's by now, the next look shows it. */
        if (inotify_add_watch(r->notify, r->config->path, IN_MODIFY) >= 0)
                r->watched = last->ino;
}

static void start_notify(struct reader *r)
{
        _cleanup_free_ char *folder = strdup(r->config->path);
        char *slash = folder ? strrchr(folder, '/') : NULL;

        r->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (r->notify < 0)
                return;
        if (slash)
                slash[slash == folder] = '\0';
        if (!slash || inotify_add_watch(r->notify, folder, IN_CREATE | IN_MOVED_TO) < 0)
                r->notify = fd_close(r->notify);
}

/* What has come is of no matter: it is looked at the files. */
static void drain_notify(const struct reader *r)
{
        char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

        while (read(r->notify, events, sizeof(events)) > 0)
                ;
}

static void look(struct reader *r)
{
        if (r->notify >= 0)
                drain_notify(r);
        log_read_files_look(&r->files);
        watch(r);
        r->has_looked = true;
}

/* ---- Frames ---- */

static int look_ms(const struct reader *r)
{
        return r->notify >= 0 ? LOOK_MS : LOOK_BLIND_MS;
}

/* As one message. 0, or a negative errno when nobody takes them any more. New files are opened
 * while it waits, for they may be gone when it goes on. */
static int flush(struct reader *r)
{
        while (r->n_out > 0) {
                struct pollfd p[] = {{.fd = r->out, .events = POLLOUT},
                                     {.fd = r->notify, .events = POLLIN}};
                int ready = poll(p, 2, r->query->follow ? look_ms(r) : -1);
                ssize_t n;

                if (ready < 0 && errno != EINTR)
                        return -errno;
                if (ready == 0 || (ready > 0 && p[1].revents))
                        look(r);
                if (ready <= 0 || !p[0].revents)
                        continue;
                n = send(r->out, r->out_room, r->n_out, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (n > 0)
                        r->n_out = 0;
        }
        return 0;
}

static int put_frame(struct reader *r, const struct log_frame *frame, const char *text,
                     const char *end)
{
        size_t n_text = frame->n - strlen(end);

        if (sizeof(r->out_room) - r->n_out < sizeof(*frame) + frame->n) {
                int error = flush(r);

                if (error < 0)
                        return error;
        }
        memcpy(r->out_room + r->n_out, frame, sizeof(*frame));
        memcpy(r->out_room + r->n_out + sizeof(*frame), text, n_text);
        memcpy(r->out_room + r->n_out + sizeof(*frame) + n_text, end, strlen(end));
        r->n_out += sizeof(*frame) + frame->n;
        return 0;
}

/* In as many parts as it takes. */
static int put_entry(struct reader *r, const struct log_entry *entry)
{
        const size_t max = LOG_READ_TEXT_MAX - 1;
        const char *text = entry->text;
        size_t left = entry->n;
        int error;

        do {
                size_t n = left < max ? left : max;
                bool is_partial = entry->is_partial || n < left;
                struct log_frame frame = {
                        .n = (uint32_t)(n + !is_partial),
                        .kind = LOG_FRAME_ENTRY,
                        .stream = (uint8_t)entry->stream,
                        .is_partial = is_partial,
                        .time_ns = entry->time_ns,
                };

                error = put_frame(r, &frame, text, is_partial ? "" : "\n");
                text += n;
                left -= n;
        } while (left > 0 && error == 0);
        return error;
}

static int put_end(struct reader *r)
{
        const struct log_frame frame = {.kind = LOG_FRAME_END};
        int error = put_frame(r, &frame, "", "");

        return error < 0 ? error : flush(r);
}

static int fail(struct reader *r, int code, int errnum)
{
        struct log_frame frame = {.kind = LOG_FRAME_FAILURE, .code = (uint8_t)code};
        struct error err = ERROR_INIT;

        (void)error_errno(&err, errnum, "read log '%s'", r->config->path);
        frame.n = (uint32_t)strlen(err.msg);
        if (put_frame(r, &frame, err.msg, "") == 0)
                (void)flush(r);
        return EXIT_FAILURE;
}

static int put_missing(struct reader *r, uint64_t n_missing)
{
        char text[128];
        struct log_entry entry = {.stream = LOG_STDERR, .text = text};
        int n = snprintf(text, sizeof(text),
                         "belay: %llu files of the log were removed before they were read",
                         (unsigned long long)n_missing);

        if (n_missing == 0 || n < 0)
                return 0;
        entry.n = (size_t)n;
        return put_entry(r, &entry);
}

/* ---- Lines ---- */

/* is_begun: it goes on with what is read next. */
static int take_line(struct reader *r, const char *line, size_t len, bool is_begun)
{
        struct log_entry entry;
        uint64_t time_ns;

        if (r->in_long) {
                entry = r->long_entry;
                entry.text = line;
                entry.n = len;
                entry.is_partial = entry.is_partial || is_begun;
                r->in_long = is_begun;
                return r->long_wanted ? put_entry(r, &entry) : 0;
        }
        (void)log_entry_parse(r->config->format, line, len, r->text, &entry);
        if (entry.time_ns > 0)
                r->last_ns = entry.time_ns;
        time_ns = entry.time_ns > 0 ? entry.time_ns : r->last_ns;
        if (r->query->until_ns > 0 && time_ns >= r->query->until_ns + LOG_READ_DISORDER_NS)
                r->is_past = true;
        r->in_long = is_begun;
        r->long_entry = entry;
        r->long_wanted = log_query_wants(r->query, &entry, time_ns);
        entry.is_partial = entry.is_partial || is_begun;
        return r->long_wanted ? put_entry(r, &entry) : 0;
}

/* All lines that have ended; or what there is, when it fills the room. */
static int take_lines(struct reader *r)
{
        char *line = r->room;
        size_t left = r->n;
        char *end;
        int error = 0;

        while (error == 0 && (end = memchr(line, '\n', left))) {
                error = take_line(r, line, (size_t)(end - line), false);
                left -= (size_t)(end - line) + 1;
                line = end + 1;
        }
        if (error == 0 && left == sizeof(r->room)) {
                error = take_line(r, line, left, true);
                left = 0;
        }
        memmove(r->room, line, left);
        r->n = left;
        return error;
}

/* What has no newline and will have none. */
static int take_rest(struct reader *r)
{
        int error = r->n > 0 ? take_line(r, r->room, r->n, true) : 0;

        r->n = 0;
        r->in_long = false;
        return error;
}

/* ---- Files ---- */

static bool was_truncated(const struct reader *r)
{
        struct stat st;

        return fstat(r->files.list[0].fd, &st) == 0 && (uint64_t)st.st_size < r->offset;
}

/* The first file, as far as it goes at present. */
static int read_file(struct reader *r)
{
        bool all = false;

        while (!all && !r->is_past) {
                const struct log_read_file *file = &r->files.list[0];
                size_t want = sizeof(r->room) - r->n;
                ssize_t n;
                int error;

                if (want > file->limit - r->offset)
                        want = (size_t)(file->limit - r->offset);
                n = want > 0 ? pread(file->fd, r->room + r->n, want, (off_t)r->offset) : 0;
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0 && r->query->follow && was_truncated(r)) {
                        r->offset = 0;
                        r->n = 0;
                        r->in_long = false;
                        continue;
                }
                all = n == 0;
                r->offset += (uint64_t)n;
                r->n += (size_t)n;
                error = take_lines(r);
                if (error < 0)
                        return error;
        }
        return 0;
}

static int next_file(struct reader *r)
{
        int error = take_rest(r);

        log_read_files_next(&r->files);
        r->offset = 0;
        return error < 0 ? error : put_missing(r, r->files.list[0].n_missing);
}

static int find_begin(struct reader *r, bool has_ended)
{
        struct log_place place = {0};
        int error = 0;

        if (r->query->tail < 0)
                error = log_find_end(&r->files, r->room, &place);
        else if (r->query->tail > 0)
                error = log_find_tail(&r->files, r->query, has_ended, r->room, r->text, &place);
        else if (r->query->since_ns > 0)
                error = log_find_since(&r->files, r->query, r->room, r->text, &place);
        if (error < 0)
                return error;
        while (place.file-- > 0)
                log_read_files_next(&r->files);
        r->offset = place.offset;
        return 0;
}

/* ---- Following ---- */

static bool hold_is_over(const struct reader *r)
{
        struct pollfd p = {.fd = r->hold, .events = POLLIN};

        return r->query->has_ended || r->hold < 0 || (poll(&p, 1, 0) == 1 && p.revents);
}

/* Milliseconds until nothing can come any more that is older than `until`; -1: never. */
static int until_left_ms(const struct reader *r)
{
        uint64_t now_ns = clock_realtime_ns();
        uint64_t end_ns = r->query->until_ns + UNTIL_PATIENCE_NS;

        if (r->query->until_ns == 0)
                return -1;
        if (now_ns >= end_ns)
                return 0;
        return (end_ns - now_ns) / NSEC_PER_MSEC < LOOK_MS
                       ? (int)((end_ns - now_ns) / NSEC_PER_MSEC) + 1
                       : LOOK_MS;
}

/* For something to be written, or the log's end. 0, or a negative errno when nobody listens. */
static int wait_for_more(const struct reader *r)
{
        struct pollfd p[] = {
                {.fd = r->out, .events = 0},
                {.fd = r->hold, .events = POLLIN},
                {.fd = r->notify, .events = POLLIN},
        };
        int timeout = look_ms(r);
        int until = until_left_ms(r);

        if (until >= 0 && until < timeout)
                timeout = until;
        if (poll(p, 3, timeout) < 0 && errno != EINTR)
                return -errno;
        return p[0].revents & (POLLERR | POLLHUP) ? -EPIPE : 0;
}

static int read_all(struct reader *r)
{
        for (;;) {
                bool has_ended = hold_is_over(r);
                bool is_over = !r->query->follow || until_left_ms(r) == 0;
                bool has_next;
                int error;

                if (r->query->follow)
                        look(r);
                r->has_looked = false;
                has_next = r->files.n > 1;
                error = read_file(r);
                if (error == 0 && has_next)
                        error = next_file(r);
                if (error < 0 || r->is_past)
                        return error;
                if (has_next || r->files.n > 1)
                        continue;
                if (has_ended)
                        return take_rest(r);
                if (is_over)
                        return 0;
                error = flush(r);
                if (error == 0 && !r->has_looked)
                        error = wait_for_more(r);
                if (error < 0)
                        return error;
        }
}

static int run(struct reader *r)
{
        bool has_ended = hold_is_over(r);
        int error;

        if (r->query->follow)
                start_notify(r);
        error = log_read_files_open(&r->files, r->config, r->query->counters,
                                    !r->query->follow && !has_ended);
        if (error == 0)
                error = find_begin(r, has_ended);
        if (error < 0)
                return fail(r, error == -ENOENT ? STATUS_NOT_FOUND : STATUS_UNKNOWN, -error);
        if (r->query->tail >= 0 || r->query->follow)
                error = read_all(r);
        if (error == 0)
                error = put_end(r);
        if (error < 0 && error != -EPIPE)
                return fail(r, STATUS_UNKNOWN, -error);
        return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int log_read_run(const struct log_config *config, const struct log_query *query, int out, int hold)
{
        const struct sigaction ignore = {.sa_handler = SIG_IGN};
        struct reader *r = calloc(1, sizeof(*r));
        int status;

        if (!r)
                return EXIT_FAILURE;
        (void)sigaction(SIGPIPE, &ignore, NULL);
        r->config = config;
        r->query = query;
        r->out = out;
        r->hold = hold;
        r->notify = -1;
        status = run(r);
        log_read_files_close(&r->files);
        fd_close(r->notify);
        free(r);
        return status;
}
