/* SPDX-License-Identifier: Apache-2.0
 *
 * Logs of belay.v1: what a process has written, from the log that the shim keeps of it. The
 * request; what comes back is in shim/log_stream.c.
 */
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/log/log.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/container.h"
#include "shim/log_stream.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

CLEANUP_DEFINE(struct log_stream, log_stream_free)

static void on_room(struct ttrpc_call *call, void *userdata)
{
        (void)call;
        log_stream_pump(userdata);
}

static size_t on_note(struct ttrpc_call *call, void *note, size_t room, void *userdata)
{
        (void)call;
        return log_stream_note(userdata, note, room);
}

static void on_cancel(struct ttrpc_call *call, void *userdata)
{
        (void)call;
        log_stream_free(userdata);
}

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

static int logs_start(struct log_stream *s, struct process *p,
                      const Belay__V1__LogsRequest *request, struct error *err)
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
        s->pid = log_reader_start(log, &query, &s->fd, &s->hold, err);
        if (s->pid < 0)
                return -1;
        return log_stream_begin(s, query.has_ended ? NULL : p, err);
}

/* In another process image. The process may be gone, and its log is still read. */
static int logs_resume(struct log_stream *s, const Belay__V1__LogsRequest *request,
                       struct error *err)
{
        const struct container *c = s->server->container;
        struct process *p = NULL;
        size_t len = 0;
        const void *note = ttrpc_call_note(s->call, &len);

        if (c)
                p = container_find_process(c, request->exec_id);
        if (p && (!p->stdio || io_stdio_is_drained(p->stdio)))
                p = NULL;
        if (log_stream_resume(s, p, note, len, err) == 0)
                return 0;
        err->code = STATUS_UNAVAILABLE;
        return -1;
}

void rpc_logs(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        static const struct ttrpc_stream_ops ops = {.on_room = on_room, .on_note = on_note};
        const Belay__V1__LogsRequest *request = (const void *)message;
        bool resumed = ttrpc_call_is_resumed(call);
        struct shim_server *server = userdata;
        struct process *p = NULL;
        _cleanup_(log_stream_free_p) struct log_stream *s = NULL;
        struct error err = ERROR_INIT;

        if (!resumed) {
                p = service_find_process(server, call, request->id, request->exec_id);
                if (!p)
                        return;
        }
        if (server->n_logs >= LIMIT_LOG_READERS) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED,
                                "logs: %d logs are being read already", LIMIT_LOG_READERS);
                return;
        }
        s = log_stream_new(call, server);
        if (!s) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "logs: no memory");
                return;
        }
        if ((resumed ? logs_resume(s, request, &err) : logs_start(s, p, request, &err)) < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        ttrpc_call_on_stream(call, &ops, s);
        ttrpc_call_on_cancel(call, on_cancel, s);
        (void)TAKE_PTR(s);
}
