/* SPDX-License-Identifier: Apache-2.0
 *
 * Logs of belay.v1: what a process has written, from the log that the shim keeps of it. The files
 * are read by a process of its own (pkg/log), whose frames are packed into the stream of responses.
 * Its pipe is read only as far as the stream has room, so a client that is slow makes the reader
 * wait, and costs no memory.
 *
 * A stream belongs to its call. It does not need the process to go on: a log is read to its end
 * also when the container is deleted meanwhile.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/log/log.h"
#include "pkg/ttrpc/limits.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/container.h"
#include "shim/log.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

enum {
        INPUT_ROOM = 2 * LOG_FRAME_MAX + 4096,
        ENTRIES_MAX = 128,
        RESPONSE_BYTES = 48 << 10,

        /* What an entry takes beside its text: tags and lengths of three messages, and a time. */
        ENTRY_COST = 64,
};

struct logs {
        struct list node; /* in its process, while the log may grow */
        struct shim_server *server;
        struct ttrpc_call *call;
        struct reaper_watch *watch;
        pid_t pid; /* 0: it was reaped */
        int fd;
        int hold;
        struct loop_io *io;
        bool is_over; /* the pipe has ended */

        size_t n;
        uint8_t input[INPUT_ROOM];
        Belay__V1__LogEntry entries[ENTRIES_MAX];
        Belay__V1__Output outputs[ENTRIES_MAX];
        Google__Protobuf__Timestamp times[ENTRIES_MAX];
        Belay__V1__LogEntry *list[ENTRIES_MAX];
};

static struct logs *logs_free(struct logs *logs)
{
        if (!logs)
                return NULL;
        list_remove(&logs->node);
        loop_io_free(logs->io);
        reaper_watch_free(logs->watch);
        if (logs->pid > 0)
                (void)kill(logs->pid, SIGKILL);
        fd_close(logs->fd);
        fd_close(logs->hold);
        logs->server->n_logs--;
        server_advance_stop(logs->server);
        free(logs);
        return NULL;
}

CLEANUP_DEFINE(struct logs, logs_free)

void rpc_logs_end(struct process *p)
{
        while (!list_is_empty(&p->logs)) {
                struct logs *logs = list_first(&p->logs, struct logs, node);

                list_remove(&logs->node);
                logs->hold = fd_close(logs->hold);
        }
}

/* ---- From frames to responses ---- */

static void set_entry(struct logs *logs, size_t i, const struct log_frame *frame, const char *text)
{
        Belay__V1__LogEntry *entry = &logs->entries[i];
        Belay__V1__Output *output = &logs->outputs[i];
        Google__Protobuf__Timestamp *time = &logs->times[i];

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
        logs->list[i] = entry;
}

/* One response, of as many entries as there is room for. Bytes of input that are in it; 0: none, or
 * no room; or a negative errno. *ret_last: what comes next if it is not an entry. */
static ssize_t send_entries(struct logs *logs, size_t from, struct log_frame *ret_last,
                            const char **ret_text)
{
        Belay__V1__LogsResponse response = BELAY__V1__LOGS_RESPONSE__INIT;
        size_t room = ttrpc_call_room(logs->call);
        size_t cost = TTRPC_FRAME_COST;
        size_t n = 0;

        room = room < RESPONSE_BYTES ? room : RESPONSE_BYTES;
        while (response.n_entries < ENTRIES_MAX) {
                struct log_frame frame;
                const char *text;
                ssize_t size =
                        log_frame_parse(logs->input + from + n, logs->n - from - n, &frame, &text);

                if (size < 0)
                        return size;
                if (size == 0)
                        break;
                if (frame.kind != LOG_FRAME_ENTRY) {
                        *ret_last = frame;
                        *ret_text = text;
                        break;
                }
                if (cost + ENTRY_COST + frame.n > room)
                        break;
                cost += ENTRY_COST + frame.n;
                set_entry(logs, response.n_entries++, &frame, text);
                n += (size_t)size;
        }
        if (n == 0)
                return 0;
        response.entries = logs->list;
        return ttrpc_call_send(logs->call, &response.base, NULL) < 0 ? 0 : (ssize_t)n;
}

static void logs_end(struct logs *logs, const struct log_frame *last, const char *text)
{
        struct ttrpc_call *call = logs->call;

        if (last->kind == LOG_FRAME_END)
                ttrpc_call_end(call);
        else if (last->kind == LOG_FRAME_FAILURE)
                ttrpc_call_fail(call, last->code, "%.*s", (int)last->n, text);
        else
                ttrpc_call_fail(call, STATUS_UNKNOWN, "the reader of the log has died");
        logs_free(logs);
}

/* What was read goes on its way; then more is read, if there is room for that. May free it. */
static void logs_pump(struct logs *logs)
{
        struct log_frame last = {0};
        struct log_frame rest;
        const char *text = NULL;
        const char *rest_text;
        size_t done = 0;
        ssize_t n;

        while ((n = send_entries(logs, done, &last, &text)) > 0)
                done += (size_t)n;
        if (n < 0)
                logs->is_over = true; /* what it says is nonsense */
        /* The reader's last frame waits for its end: who has the end of a stream finds no process
         * of it. */
        if (logs->is_over &&
            (last.kind != 0 || n < 0 ||
             log_frame_parse(logs->input + done, logs->n - done, &rest, &rest_text) == 0)) {
                logs_end(logs, &last, text);
                return;
        }
        memmove(logs->input, logs->input + done, logs->n - done);
        logs->n -= done;
        if (!logs->is_over)
                (void)loop_io_want(logs->io,
                                   sizeof(logs->input) - logs->n >= LOG_FRAME_MAX ? LOOP_READ : 0);
}

static void on_frames(struct loop_io *io, int fd, int what, void *userdata)
{
        struct logs *logs = userdata;
        ssize_t n = read(fd, logs->input + logs->n, sizeof(logs->input) - logs->n);

        (void)what;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                logs->is_over = true;
                (void)loop_io_want(io, 0);
        } else {
                logs->n += (size_t)n;
        }
        logs_pump(logs);
}

static void on_room(struct ttrpc_call *call, void *userdata)
{
        (void)call;
        logs_pump(userdata);
}

static void on_cancel(struct ttrpc_call *call, void *userdata)
{
        (void)call;
        logs_free(userdata);
}

static void on_reader_exit(const struct reaper_exit *exit, void *userdata)
{
        struct logs *logs = userdata;

        (void)exit;
        logs->watch = NULL;
        logs->pid = 0;
}

/* ---- The request ---- */

static int set_time(const char *name, const Google__Protobuf__Timestamp *time, uint64_t *ret,
                    struct error *err)
{
        const int64_t max = (int64_t)(UINT64_MAX / NSEC_PER_SEC) - 1;

        if (!time)
                return 0;
        if (time->seconds < 0 || time->seconds > max || time->nanos < 0 ||
            (uint64_t)time->nanos >= NSEC_PER_SEC)
                return error_set(err, STATUS_INVALID_ARGUMENT, "logs: %s is not a time since 1970",
                                 name);
        *ret = (uint64_t)time->seconds * NSEC_PER_SEC + (uint64_t)time->nanos;
        return 0;
}

/* The log of the process, or NULL. */
static const struct log_config *find_log(const struct process *p, struct error *err)
{
        const struct log_config *log = p->stdio ? io_stdio_log(p->stdio) : NULL;

        if (!log)
                (void)error_set(err, STATUS_FAILED_PRECONDITION, "logs: %s",
                                p->stdio ? "stdout is not a log:// that the shim keeps"
                                         : "the process was not started");
        return log;
}

static int logs_start(struct logs *logs, struct process *p, const Belay__V1__LogsRequest *request,
                      struct error *err)
{
        const struct log_config *log = find_log(p, err);
        struct log_query query = {
                .follow = request->follow,
                .tail = request->tail,
                .out = request->stdout,
                .err = request->stderr,
        };

        query.has_ended = log && io_stdio_is_drained(p->stdio);
        query.counters = log ? io_stdio_status(p->stdio).log : NULL;
        if (!log || set_time("since", request->since, &query.since_ns, err) < 0 ||
            set_time("until", request->until, &query.until_ns, err) < 0 ||
            log_query_check(&query, log->format, err) < 0)
                return -1;
        logs->pid = log_reader_start(log, &query, &logs->fd, &logs->hold, err);
        if (logs->pid < 0)
                return -1;
        if (query.has_ended)
                logs->hold = fd_close(logs->hold);
        else
                list_append(&p->logs, &logs->node);
        logs->watch = reaper_watch_new(logs->server->reaper, logs->pid, on_reader_exit, logs);
        logs->io = loop_io_new(logs->server->loop, logs->fd, LOOP_PRIORITY_RELAY, on_frames, logs);
        if (!logs->watch || !logs->io || loop_io_want(logs->io, LOOP_READ) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logs: no memory");
        return 0;
}

void rpc_logs(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        static const struct ttrpc_stream_ops ops = {.on_room = on_room};
        const Belay__V1__LogsRequest *request = (const void *)message;
        struct shim_server *server = userdata;
        struct process *p = service_find_process(server, call, request->id, request->exec_id);
        _cleanup_(logs_free_p) struct logs *logs = NULL;
        struct error err = ERROR_INIT;

        if (!p)
                return;
        if (server->n_logs >= LIMIT_LOG_READERS) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED,
                                "logs: %d logs are being read already", LIMIT_LOG_READERS);
                return;
        }
        logs = calloc(1, sizeof(*logs));
        if (!logs) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "logs: no memory");
                return;
        }
        server->n_logs++;
        list_init(&logs->node);
        logs->server = server;
        logs->call = call;
        logs->fd = -1;
        logs->hold = -1;
        if (logs_start(logs, p, request, &err) < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        ttrpc_call_on_stream(call, &ops, logs);
        ttrpc_call_on_cancel(call, on_cancel, logs);
        (void)TAKE_PTR(logs);
}
