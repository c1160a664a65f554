/* SPDX-License-Identifier: Apache-2.0
 *
 * Execs with a call for their streams: see exec_stream.h. The sources are stopped as soon as more
 * than half of the stream's room is taken; so what one callback of a source brings always fits, and
 * the library tells when there is room again.
 *
 * The exit is sent when it is told and both outputs have ended. A process left behind may keep them
 * open: after times.attach_drain_ns an output that is empty counts as ended.
 */
#include "shim/exec_stream.h"

#include <signal.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/log/log.h"
#include "pkg/ttrpc/limits.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/belay_messages.h"
#include "shim/container.h"
#include "shim/log.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

enum { ROOM_WANTED = TTRPC_STREAM_QUEUED_MAX / 2 };

struct exec_stream *exec_stream_new(struct ttrpc_call *call, struct shim_server *server)
{
        struct exec_stream *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->server = server;
        s->call = call;
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++) {
                s->outputs[i].stream = s;
                s->outputs[i].number = i == 0 ? LOG_STDOUT : LOG_STDERR;
        }
        return s;
}

struct exec_stream *exec_stream_free(struct exec_stream *s)
{
        if (!s)
                return NULL;
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++)
                io_source_free(s->outputs[i].source);
        stdin_grants_close(&s->stdin);
        loop_timer_free(s->drain);
        if (s->process) {
                s->process->stream = NULL;
                state_touch_late(s->process);
        }
        free(s);
        return NULL;
}

/* ---- Around what is done from elsewhere than the call's callbacks ---- */

static void *enter(const struct exec_stream *s)
{
        if (s->call)
                ttrpc_call_enter(s->call);
        return s->call;
}

static void leave(void *call)
{
        if (call)
                ttrpc_call_leave(call);
}

/* ---- The end ---- */

static bool outputs_have_ended(const struct exec_stream *s)
{
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++) {
                const struct io_source *source = s->outputs[i].source;

                if (source && !io_source_has_ended(source))
                        return false;
        }
        return true;
}

static void on_drain_over(struct loop_timer *timer, void *userdata)
{
        struct exec_stream *s = userdata;

        (void)timer;
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++) {
                if (s->outputs[i].source)
                        io_source_finish(s->outputs[i].source);
        }
}

static bool send_exit(struct exec_stream *s)
{
        struct belay_exit end;
        Belay__V1__ExecStreamResponse response = BELAY__V1__EXEC_STREAM_RESPONSE__INIT;
        struct error ignored = ERROR_INIT;

        belay_exit_fill(&end, &s->process->exit, s->why.code ? s->why.msg : NULL);
        response.response_case = BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_EXIT;
        response.exit = &end.exit;
        return ttrpc_call_send(s->call, &response.base, &ignored) == 0;
}

/* s and its process may be gone afterwards. */
static void advance(struct exec_stream *s)
{
        struct process *p = s->process;

        if (s->may_resume || !p->exit.told)
                return;
        if (!outputs_have_ended(s)) {
                /* A terminal's relay lets go of its output by itself. */
                if (!io_stdio_is_drained(p->stdio) || loop_timer_is_set(s->drain) ||
                    loop_timer_set(s->drain, s->server->times.attach_drain_ns) == 0)
                        return;
                on_drain_over(NULL, s);
                return;
        }
        if (s->call && !send_exit(s))
                return; /* until there is room */
        if (s->call)
                ttrpc_call_end(TAKE_PTR(s->call));
        exec_stream_free(s);
        rpc_delete_exec(p);
}

void exec_stream_advance(struct process *p)
{
        struct ttrpc_call *call;

        if (!p->stream)
                return;
        call = enter(p->stream);
        advance(p->stream);
        leave(call);
}

/* ---- Output ---- */

static void want_output(struct exec_stream *s, bool want)
{
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++) {
                if (s->outputs[i].source)
                        io_source_want(s->outputs[i].source, want);
        }
}

static int send_output(const struct exec_output *output, const void *data, size_t len,
                       struct error *err)
{
        Belay__V1__ExecStreamResponse response = BELAY__V1__EXEC_STREAM_RESPONSE__INIT;
        struct timespec now = clock_realtime();
        struct belay_output message;

        belay_output_fill(&message, output->number, data, len, &now);
        response.response_case = BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_OUTPUT;
        response.output = &message.output;
        return ttrpc_call_send(output->stream->call, &response.base, err);
}

static void on_data(const void *data, size_t len, void *userdata)
{
        const struct exec_output *output = userdata;
        struct exec_stream *s = output->stream;
        struct error err = ERROR_INIT;

        if (!s->call)
                return;
        if (send_output(output, data, len, &err) < 0) {
                ttrpc_call_fail_error(TAKE_PTR(s->call), &err);
                exec_stream_abandon(s);
                return;
        }
        if (ttrpc_call_room(s->call) < ROOM_WANTED)
                want_output(s, false);
}

static void on_end(void *userdata)
{
        const struct exec_output *output = userdata;
        struct process *p = output->stream->process;

        state_touch(p); /* its descriptor is closed */
        state_commit(p->container->server);
        exec_stream_advance(p);
}

/* Bytes that were read and not sent yet are nowhere else; so they are read only when they will be
 * sent. */
static void *on_enter(void *userdata)
{
        const struct exec_output *output = userdata;
        struct exec_stream *s = output->stream;

        if (s->call && ttrpc_call_room(s->call) < ROOM_WANTED)
                want_output(s, false);
        return enter(s);
}

static const struct io_source_ops source_ops = {
        .on_data = on_data,
        .on_end = on_end,
        .enter = on_enter,
        .leave = leave,
};

int exec_stream_open_output_take(struct exec_stream *s, int i, int fd, struct error *err)
{
        if (fd < 0)
                return 0;
        if (io_source_new_take(&s->outputs[i].source, s->server->loop, fd, &source_ops,
                               &s->outputs[i], err) < 0) {
                fd_close(fd);
                return -1;
        }
        return 0;
}

void exec_stream_on_room(struct exec_stream *s)
{
        stdin_grants_offer(&s->stdin);
        want_output(s, true);
        if (s->process)
                exec_stream_advance(s->process);
}

/* ---- stdin ---- */

static bool send_grant(size_t n, void *userdata)
{
        const struct exec_stream *s = userdata;
        Belay__V1__ExecStreamResponse response = BELAY__V1__EXEC_STREAM_RESPONSE__INIT;
        struct error ignored = ERROR_INIT;

        if (!s->call)
                return false;
        response.response_case = BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_STDIN_GRANTED;
        response.stdin_granted = n;
        return ttrpc_call_send(s->call, &response.base, &ignored) == 0;
}

static void on_stdin_empty(void *userdata)
{
        (void)userdata;
}

static struct ttrpc_call *stdin_call(void *userdata)
{
        const struct exec_stream *s = userdata;

        return s->call;
}

const struct stdin_grants_ops exec_stream_stdin_ops = {
        .send = send_grant,
        .on_empty = on_stdin_empty,
        .call = stdin_call,
};

static int open_stdin(struct exec_stream *s, struct error *err)
{
        struct error ignored = ERROR_INIT;
        int fd;

        if (!s->has_stdin || s->stdin_ended)
                return 0;
        fd = io_stdio_stdin_fd(s->process->stdio, err);
        if (fd < 0)
                return -1;
        if (stdin_grants_open_take(&s->stdin, s->server->loop, fd, &exec_stream_stdin_ops, s, err) <
            0) {
                fd_close(fd);
                return -1;
        }
        /* Now stdin ends with the grants. */
        (void)process_close_stdin(s->process, &ignored);
        return 0;
}

void exec_stream_end_stdin(struct exec_stream *s)
{
        struct error ignored = ERROR_INIT;

        s->stdin_ended = true;
        stdin_grants_end(&s->stdin);
        if (s->process)
                (void)process_close_stdin(s->process, &ignored);
}

void exec_stream_abandon(struct exec_stream *s)
{
        s->call = NULL;
        if (!s->process) {
                exec_stream_free(s);
                return;
        }
        exec_stream_end_stdin(s);
        want_output(s, true);
        advance(s);
}

/* ---- The start ---- */

static int send_started(struct exec_stream *s, struct error *err)
{
        const struct process *p = s->process;
        Belay__V1__ExecStarted started = BELAY__V1__EXEC_STARTED__INIT;
        Belay__V1__ExecStreamResponse response = BELAY__V1__EXEC_STREAM_RESPONSE__INIT;

        if (!s->call)
                return 0;
        started.exec_id = p->exec_id;
        started.pid = (uint32_t)p->pid;
        response.response_case = BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_STARTED;
        response.started = &started;
        if (ttrpc_call_send(s->call, &response.base, err) < 0)
                return -1;
        s->started = true;
        return 0;
}

int exec_stream_make_drain(struct exec_stream *s)
{
        s->drain = loop_timer_new(s->server->loop, on_drain_over, s);
        return s->drain ? 0 : -1;
}

static int open_streams(struct exec_stream *s, struct error *err)
{
        if (exec_stream_make_drain(s) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec stream: no memory");
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++) {
                if (exec_stream_open_output_take(
                            s, i, io_stdio_take_output(s->process->stdio, i + 1), err) < 0)
                        return -1;
        }
        return open_stdin(s, err);
}

/* It runs, but nobody can be told what it says. */
static void give_up(struct exec_stream *s, const struct error *why)
{
        const struct process *p = s->process;
        struct error ignored = ERROR_INIT;

        log_write(LOG_ERROR, p->exec_id, "exec stream: %s", why->msg);
        (void)p->container->executor->ops->process_signal(p->impl, SIGKILL, &ignored);
        if (s->call)
                ttrpc_call_fail_error(TAKE_PTR(s->call), why);
        exec_stream_abandon(s);
}

static void has_started(struct exec_stream *s)
{
        const struct process *p = s->process;
        struct error err = ERROR_INIT;

        if (open_streams(s, &err) < 0 || send_started(s, &err) < 0) {
                give_up(s, &err);
                return;
        }
        if (s->signal)
                (void)p->container->executor->ops->process_signal(p->impl, s->signal, &err);
        stdin_grants_offer(&s->stdin);
        want_output(s, true);
}

void exec_stream_started(struct process *p)
{
        struct ttrpc_call *call = enter(p->stream);

        has_started(p->stream);
        state_touch(p); /* the stream has the descriptors of the outputs */
        state_commit(p->container->server);
        leave(call);
}

void exec_stream_go_on(struct exec_stream *s)
{
        s->may_resume = false;
        stdin_grants_offer(&s->stdin);
        want_output(s, true);
        advance(s);
}

void exec_streams_settle(struct container *c)
{
        list_for_each_safe(p, &c->execs, struct process, node) {
                if (!p->stream || !p->stream->may_resume)
                        continue;
                p->stream->may_resume = false;
                exec_stream_abandon(p->stream);
        }
}

void exec_stream_not_started(struct process *p, const struct error *why)
{
        struct exec_stream *s = p->stream;

        struct ttrpc_call *call = enter(s);

        s->why = *why;
        (void)error_prefix(&s->why, "OCI runtime exec failed");
        log_write(LOG_ERROR, p->exec_id, "%s", s->why.msg);
        leave(call);
}

/* ---- The process is forgotten ---- */

/* False: there is no room for all of it, or no memory to look. */
static bool send_rest(struct exec_stream *s)
{
        _cleanup_free_ char *buf = malloc(IO_SOURCE_CHUNK);

        for (int i = 0; buf && i < EXEC_STREAM_OUTPUTS; i++) {
                struct io_source *source = s->outputs[i].source;
                struct error ignored = ERROR_INIT;
                size_t n;

                while (source && (n = io_source_read(source, buf)) > 0) {
                        if (send_output(&s->outputs[i], buf, n, &ignored) < 0)
                                return false;
                }
        }
        return buf && io_stdio_is_drained(s->process->stdio);
}

static const char *reason_of_end(const struct exec_stream *s)
{
        if (s->server->stopping)
                return "the shim is ending";
        return s->process->exit.told ? "the container was deleted before the client had taken all "
                                       "of the output"
                                     : "the container was deleted";
}

void exec_stream_end(struct process *p)
{
        struct exec_stream *s = p->stream;

        if (!s)
                return;
        if (s->call && p->exit.told && send_rest(s) && send_exit(s))
                ttrpc_call_end(TAKE_PTR(s->call));
        else if (s->call)
                ttrpc_call_fail(TAKE_PTR(s->call),
                                p->exit.told && !s->server->stopping ? STATUS_RESOURCE_EXHAUSTED
                                                                     : STATUS_UNAVAILABLE,
                                "%s", reason_of_end(s));
        exec_stream_free(s);
}
