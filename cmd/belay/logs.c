/* SPDX-License-Identifier: Apache-2.0
 *
 * belay logs: the entries of a container's log, each to the output that it was written to. A long
 * line that the log has in pieces comes as one line.
 */
#include <belay/v1/belay.pb-c.h>
#include <errno.h>
#include <google/protobuf/timestamp.pb-c.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/moment.h"
#include "cmd/belay/sink.h"
#include "cmd/belay/verbs.h"

/* One of the two streams of the log. */
struct lane {
        struct sink *sink;
        bool in_line; /* what has come last was a piece of a line */
};

struct logs {
        struct container c;
        const struct args *args;
        struct ttrpc_client_stream *stream;
        struct lane out;
        struct lane err_out;
        bool ended;
        bool failed;
        struct error err;
};

/* ---- What is asked for ---- */

struct wish {
        int64_t tail;
        struct timespec since;
        struct timespec until;
};

static int parse_tail(const char *text, int64_t *ret, struct error *err)
{
        uint64_t n = 0;

        *ret = 0;
        if (!text || str_equal(text, "all"))
                return 0;
        if (str_to_u64(text, &n) < 0 || n > INT64_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--tail '%s' is neither a number of lines nor all", text);
        *ret = n > 0 ? (int64_t)n : -1;
        return 0;
}

static int parse(const struct args *args, struct wish *ret, struct error *err)
{
        struct timespec now = clock_realtime();

        *ret = (struct wish){.tail = 0};
        if (parse_tail(args->tail, &ret->tail, err) < 0)
                return -1;
        if (args->since && moment_parse(args->since, &now, &ret->since, err) < 0)
                return error_prefix(err, "--since");
        if (args->until && moment_parse(args->until, &now, &ret->until, err) < 0)
                return error_prefix(err, "--until");
        return 0;
}

int verb_logs_check(const struct args *args, struct error *err)
{
        struct wish wish;

        return parse(args, &wish, err);
}

/* ---- What comes ---- */

static void fail(struct logs *logs, const struct error *err)
{
        logs->failed = true;
        logs->err = *err;
        loop_quit(logs->c.loop);
}

static int print_entry(struct logs *logs, const Belay__V1__LogEntry *entry, struct error *err)
{
        const Belay__V1__Output *output = entry->output;
        bool is_stderr = output && output->stream == BELAY__V1__STREAM__STREAM_STDERR;
        struct lane *lane = is_stderr ? &logs->err_out : &logs->out;
        char text[CLOCK_TEXT_MAX];

        if (!output)
                return 0;
        /* A log of raw bytes has no times. */
        if (logs->args->timestamps && output->time && !lane->in_line) {
                clock_format(output->time->seconds, output->time->nanos, text);
                text[CLOCK_TEXT_MAX - 1] = ' '; /* for its end */
                if (sink_write(lane->sink, text, sizeof(text), err) < 0)
                        return -1;
        }
        lane->in_line = entry->partial;
        return sink_write(lane->sink, output->data.data, output->data.len, err);
}

/* A broken output ends us, in silence if it is that of a pipe. */
static void look(struct logs *logs)
{
        int errnum = sink_errno(logs->out.sink) ? sink_errno(logs->out.sink)
                                                : sink_errno(logs->err_out.sink);
        struct error err = ERROR_INIT;

        if (errnum != 0) {
                (void)error_errno(&err, errnum, "write the output");
                fail(logs, &err);
                return;
        }
        task_pause(logs->c.task, sink_is_full(logs->out.sink) || sink_is_full(logs->err_out.sink));
        if (logs->ended)
                loop_quit(logs->c.loop);
}

static void on_written(void *userdata)
{
        look(userdata);
}

static void on_message(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                       void *userdata)
{
        const Belay__V1__LogsResponse *response = (const void *)message;
        struct logs *logs = userdata;
        struct error err = ERROR_INIT;

        (void)stream;
        for (size_t i = 0; i < response->n_entries && !logs->failed; i++) {
                if (print_entry(logs, response->entries[i], &err) < 0)
                        fail(logs, &err);
        }
        if (!logs->failed)
                look(logs);
}

static void on_end(struct ttrpc_client_stream *stream, const struct error *err, void *userdata)
{
        struct logs *logs = userdata;

        (void)stream;
        logs->ended = true;
        if (err && !logs->failed)
                fail(logs, err);
        loop_quit(logs->c.loop);
}

static const struct ttrpc_client_stream_ops stream_ops = {
        .on_message = on_message,
        .on_end = on_end,
};

/* ---- The verb ---- */

static void logs_deinit(struct logs *logs)
{
        ttrpc_client_stream_free(logs->stream);
        sink_free(logs->out.sink);
        sink_free(logs->err_out.sink);
        container_close(&logs->c);
}

static Google__Protobuf__Timestamp timestamp(const struct timespec *ts)
{
        Google__Protobuf__Timestamp t = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

        t.seconds = (int64_t)ts->tv_sec;
        t.nanos = (int32_t)ts->tv_nsec;
        return t;
}

static int ask(struct logs *logs, const struct args *args, const struct wish *wish,
               struct error *err)
{
        Belay__V1__LogsRequest request = BELAY__V1__LOGS_REQUEST__INIT;
        Google__Protobuf__Timestamp since = timestamp(&wish->since);
        Google__Protobuf__Timestamp until = timestamp(&wish->until);

        request.id = (char *)args->id;
        request.exec_id = (char *)(args->n_words > 0 ? args->words[0] : args->exec_id);
        request.follow = args->follow;
        request.tail = wish->tail;
        request.since = args->since ? &since : NULL;
        request.until = args->until ? &until : NULL;
        request.stdout = args->only_stdout;
        request.stderr = args->only_stderr;
        return task_stream(logs->c.task, "Logs", TTRPC_SERVER_STREAM, &request.base, NULL,
                           &stream_ops, logs, &logs->stream, err);
}

static bool is_over(const struct logs *logs)
{
        return logs->failed ||
               (logs->ended && sink_is_empty(logs->out.sink) && sink_is_empty(logs->err_out.sink));
}

int verb_logs(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(logs_deinit) struct logs logs = {.args = args, .err = ERROR_INIT};
        struct wish wish;
        int r = 0;

        *ret_status = 0;
        if (parse(args, &wish, err) < 0 || container_open(&logs.c, args, NULL, err) < 0 ||
            sink_new(&logs.out.sink, logs.c.loop, STDOUT_FILENO, on_written, &logs, err) < 0 ||
            sink_new(&logs.err_out.sink, logs.c.loop, STDERR_FILENO, on_written, &logs, err) < 0 ||
            ask(&logs, args, &wish, err) < 0)
                return -1;
        while (r == 0 && !is_over(&logs))
                r = loop_run(logs.c.loop, err);
        if (!logs.failed)
                return r;
        if (sink_errno(logs.out.sink) == EPIPE || sink_errno(logs.err_out.sink) == EPIPE) {
                *ret_status = 128 + SIGPIPE;
                return 0;
        }
        *err = logs.err;
        return -1;
}
