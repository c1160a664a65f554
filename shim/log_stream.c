/* SPDX-License-Identifier: Apache-2.0
 *
 * See log_stream.h. Everything is done inside of the call (ttrpc_call_enter), so that the note of
 * what was sent is right whenever this process image may be left.
 */
#include "shim/log_stream.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"
#include "pkg/ttrpc/limits.h"

#include "belay/state/v1/streams.pb-c.h"
#include "shim/container.h"
#include "shim/server_impl.h"

enum {
        RESPONSE_BYTES = 48 << 10,

        /* What an entry takes beside its text: tags and lengths of three messages, and a time. */
        ENTRY_COST = 64,
};

struct log_stream *log_stream_new(struct ttrpc_call *call, struct shim_server *server)
{
        struct log_stream *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        server->n_logs++;
        list_init(&s->node);
        s->server = server;
        s->call = call;
        s->fd = -1;
        s->hold = -1;
        return s;
}

struct log_stream *log_stream_free(struct log_stream *s)
{
        if (!s)
                return NULL;
        list_remove(&s->node);
        loop_io_free(s->io);
        reaper_watch_free(s->watch);
        if (s->pid > 0)
                (void)kill(s->pid, SIGKILL);
        fd_close(s->fd);
        fd_close(s->hold);
        s->server->n_logs--;
        server_advance_stop(s->server);
        free(s);
        return NULL;
}

/* ---- From frames to responses ---- */

static void set_entry(struct log_stream *s, size_t i, const struct log_frame *frame,
                      const char *text)
{
        Belay__V1__LogEntry *entry = &s->entries[i];
        Belay__V1__Output *output = &s->outputs[i];
        Google__Protobuf__Timestamp *time = &s->times[i];

        belay__v1__log_entry__init(entry);
        belay__v1__output__init(output);
        google__protobuf__timestamp__init(time);
        output->stream = (Belay__V1__Stream)frame->stream;
        output->data.data = (uint8_t *)text;
        output->data.len = frame->n;
        time->seconds = (int64_t)(frame->time_ns / NSEC_PER_SEC);
        time->nanos = (int32_t)(frame->time_ns % NSEC_PER_SEC);
        output->time = frame->time_ns > 0 ? time : NULL;
        entry->output = output;
        entry->partial = frame->is_partial;
        s->list[i] = entry;
}

/* One response, of as many entries as there is room for. Bytes of input that are in it; 0: none, or
 * no room; or a negative errno. ret_last: what comes next if it is not an entry. */
static ssize_t send_entries(struct log_stream *s, struct log_frame *ret_last, const char **ret_text)
{
        Belay__V1__LogsResponse response = BELAY__V1__LOGS_RESPONSE__INIT;
        size_t room = ttrpc_call_room(s->call);
        size_t cost = TTRPC_FRAME_COST;
        size_t n = 0;

        room = room < RESPONSE_BYTES ? room : RESPONSE_BYTES;
        while (response.n_entries < LOG_STREAM_ENTRIES && s->sent + n < s->n) {
                struct log_frame frame;
                const char *text;
                ssize_t size =
                        log_frame_parse(s->input + s->sent + n, s->n - s->sent - n, &frame, &text);

                if (size <= 0)
                        return -EPROTO; /* a message is of whole frames */
                if (frame.kind != LOG_FRAME_ENTRY) {
                        *ret_last = frame;
                        *ret_text = text;
                        break;
                }
                if (cost + ENTRY_COST + frame.n > room)
                        break;
                cost += ENTRY_COST + frame.n;
                set_entry(s, response.n_entries++, &frame, text);
                n += (size_t)size;
        }
        if (n == 0)
                return 0;
        response.entries = s->list;
        return ttrpc_call_send(s->call, &response.base, NULL) < 0 ? 0 : (ssize_t)n;
}

static void end_badly(struct log_stream *s)
{
        ttrpc_call_fail(s->call, STATUS_UNKNOWN, "the reader of the log has died");
        log_stream_free(s);
}

static void end_as_told(struct log_stream *s, const struct log_frame *last, const char *text)
{
        if (last->kind == LOG_FRAME_END)
                ttrpc_call_end(s->call);
        else
                ttrpc_call_fail(s->call, last->code, "%.*s", (int)last->n, text);
        log_stream_free(s);
}

/* For want of memory what the reader has said stays where it is. */
static void rest(struct log_stream *s)
{
        (void)loop_io_want(s->io, LOOP_READ);
        loop_io_rest(s->io);
}

/* Sends the message that comes first. 1: all of it, and it is gone; 0: there is no room, or it is
 * waited for the reader's end; -1: s rests, or it was the last, and s is gone. */
static int send_message(struct log_stream *s)
{
        struct log_frame last = {0};
        const char *text = NULL;
        ssize_t n;

        while ((n = send_entries(s, &last, &text)) > 0)
                s->sent += (size_t)n;
        if (n < 0) {
                end_badly(s);
                return -1;
        }
        if (last.kind != 0) {
                /* Who has the end of a stream finds no process of it. */
                if (s->pid > 0)
                        return 0;
                end_as_told(s, &last, text);
                return -1;
        }
        if (s->sent < s->n)
                return 0;
        /* Else it would be looked at, and sent, once more. */
        if (log_message_drop(s->fd) < 0) {
                rest(s);
                return -1;
        }
        s->n = 0;
        s->sent = 0;
        return 1;
}

void log_stream_pump(struct log_stream *s)
{
        int r = 1;

        while (r > 0) {
                if (s->n == 0) {
                        ssize_t n = log_message_look(s->fd, s->input);

                        if (n == -EAGAIN) {
                                (void)loop_io_want(s->io, LOOP_READ);
                                return;
                        }
                        if (n == -ENOMEM || n == -ENOBUFS) {
                                rest(s);
                                return;
                        }
                        if (n <= 0 || (size_t)n < s->sent) {
                                end_badly(s);
                                return;
                        }
                        s->n = (size_t)n;
                }
                r = send_message(s);
        }
        if (r == 0)
                (void)loop_io_want(s->io, 0);
}

static void on_message(struct loop_io *io, int fd, int what, void *userdata)
{
        struct log_stream *s = userdata;
        struct ttrpc_call *call = s->call;

        (void)io;
        (void)fd;
        (void)what;
        ttrpc_call_enter(call);
        log_stream_pump(s);
        ttrpc_call_leave(call);
}

static void on_reader_exit(const struct reaper_exit *exit, void *userdata)
{
        struct log_stream *s = userdata;
        struct ttrpc_call *call = s->call;

        (void)exit;
        ttrpc_call_enter(call);
        s->watch = NULL;
        s->pid = 0;
        log_stream_pump(s);
        ttrpc_call_leave(call);
}

int log_stream_begin(struct log_stream *s, struct process *p, struct error *err)
{
        if (p)
                list_append(&p->logs, &s->node);
        else
                s->hold = fd_close(s->hold);
        if (s->pid > 0)
                s->watch = reaper_watch_new(s->server->reaper, s->pid, on_reader_exit, s);
        s->io = loop_io_new(s->server->loop, s->fd, LOOP_PRIORITY_RELAY, on_message, s);
        if ((s->pid > 0 && !s->watch) || !s->io || loop_io_want(s->io, LOOP_READ) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logs: no memory");
        return 0;
}

/* ---- In another process image ---- */

size_t log_stream_note(const struct log_stream *s, void *note, size_t room)
{
        Belay__State__V1__Logs m = BELAY__STATE__V1__LOGS__INIT;

        m.format = LOG_FRAMES_FORMAT;
        m.pid = s->pid;
        m.socket = kept_number(s->fd);
        m.hold = kept_number(s->hold);
        m.sent = s->sent;
        return belay__state__v1__logs__get_packed_size(&m) <= room
                       ? belay__state__v1__logs__pack(&m, note)
                       : 0;
}

typedef Belay__State__V1__Logs logs_message;

static void logs_message_free_p(logs_message **m)
{
        if (*m)
                belay__state__v1__logs__free_unpacked(*m, NULL);
}

int log_stream_resume(struct log_stream *s, struct process *p, const void *note, size_t len,
                      struct error *err)
{
        _cleanup_(logs_message_free_p) logs_message *m =
                belay__state__v1__logs__unpack(NULL, len, note);

        if (!m || m->format != LOG_FRAMES_FORMAT)
                return error_set(err, STATUS_UNAVAILABLE,
                                 "logs: the shim was upgraded, and does not know how its reader "
                                 "speaks");
        if (kept_take(m->socket, KEPT_SOCKET, "the reader of a log", &s->fd, err) < 0 ||
            kept_take(m->hold, KEPT_PIPE, "the hold of a log", &s->hold, err) < 0)
                return -1;
        if (s->fd < 0)
                return error_set(err, STATUS_UNAVAILABLE, "logs: there is no reader");
        if (m->pid > 0 && reaper_find(s->server->reaper, m->pid) != REAPER_STRANGER)
                s->pid = m->pid;
        s->sent = (size_t)m->sent;
        return log_stream_begin(s, s->hold >= 0 ? p : NULL, err);
}

/* ---- All of a process ---- */

void log_streams_end(struct process *p)
{
        while (!list_is_empty(&p->logs)) {
                struct log_stream *s = list_first(&p->logs, struct log_stream, node);

                ttrpc_call_enter(s->call);
                list_remove(&s->node);
                s->hold = fd_close(s->hold);
                ttrpc_call_leave(s->call);
        }
}

void log_streams_stop(struct process *p)
{
        while (!list_is_empty(&p->logs)) {
                struct log_stream *s = list_first(&p->logs, struct log_stream, node);

                ttrpc_call_fail(s->call, STATUS_UNAVAILABLE, "the shim is ending");
                log_stream_free(s);
        }
}
