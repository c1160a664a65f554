/* SPDX-License-Identifier: Apache-2.0
 *
 * ExecStream of belay.v1: the requests. What goes the other way is in shim/exec_stream.c.
 *
 * What is wrong with the request, or in the way of adding an exec, is the stream's status. From
 * then on there is an exec, which has its events as any other, and the last word is its exit: with
 * the reason "runtime_error" and a text when it could not be started.
 *
 * The client's half-close is the end of stdin. A signal or a size that comes when the exec has just
 * ended has no effect.
 */
#include "shim/exec_stream.h"

#include <signal.h>
#include <stdio.h>
#include <sys/random.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/container.h"
#include "shim/exits.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

enum { SIGNAL_MAX = 64, MADE_UP_ID_MAX = 32 };

static int make_up_id(char id[MADE_UP_ID_MAX], struct error *err)
{
        uint64_t number;

        if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
                return error_set(err, STATUS_UNAVAILABLE, "exec stream: no id can be made up yet");
        (void)snprintf(id, MADE_UP_ID_MAX, "exec-%016llx", (unsigned long long)number);
        return 0;
}

static int add(struct exec_stream *s, struct container *c, const Belay__V1__ExecStart *request,
               struct error *err)
{
        char id[MADE_UP_ID_MAX] = "";
        struct process_request what = {
                .exec_id = request->exec_id,
                .stdin_path = request->stdin ? "attach:///" : "",
                .stdout_path = "",
                .stderr_path = "",
                .terminal = request->terminal,
                .carried = true,
        };

        if (request->width > UINT16_MAX || request->height > UINT16_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "terminal size %ux%u is too large",
                                 request->width, request->height);
        if (str_is_empty(what.exec_id)) {
                if (make_up_id(id, err) < 0)
                        return -1;
                what.exec_id = id;
        }
        if (rpc_exec_add(&s->process, c, &what, request->spec ? &request->spec->value : NULL,
                         s->call, err) < 0)
                return -1;
        s->process->stream = s;
        s->process->width = (uint16_t)request->width;
        s->process->height = (uint16_t)request->height;
        s->has_stdin = request->stdin;
        return 0;
}

static void fail(struct exec_stream *s, const struct error *err)
{
        ttrpc_call_fail_error(TAKE_PTR(s->call), err);
        exec_stream_abandon(s);
}

static void start(struct exec_stream *s, const Belay__V1__ExecStart *request)
{
        struct container *c = service_find_container(s->server, s->call, request->id);
        struct error err = ERROR_INIT;

        if (!c) {
                exec_stream_free(s);
                return;
        }
        if (add(s, c, request, &err) < 0) {
                fail(s, &err);
                return;
        }
        if (rpc_start_exec(s->process, &err) < 0) {
                struct process *p = s->process;

                ttrpc_call_fail_error(TAKE_PTR(s->call), &err);
                exec_stream_free(s);
                rpc_delete_exec(p);
        }
}

static int send_signal(struct exec_stream *s, uint32_t signo, struct error *err)
{
        struct process *p = s->process;
        int r;

        if (signo == 0 || signo > SIGNAL_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "exec stream: no signal has the number %u", signo);
        r = process_may(p, VERB_KILL, err);
        if (r == PROCESS_WAIT) {
                if (signo == SIGKILL)
                        rpc_start_abort(p);
                s->signal = (int)signo;
                return 0;
        }
        if (r < 0)
                return -1;
        if (signo == SIGKILL)
                exits_before_sigkill(p->container);
        return p->container->executor->ops->process_signal(p->impl, (int)signo, err);
}

/* The bytes of one who has no stdin, or has ended it. */
static int take_stdin(struct exec_stream *s, const ProtobufCBinaryData *data, struct error *err)
{
        if (s->stdin_ended)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "exec stream: stdin after close_stdin");
        return stdin_grants_take(&s->stdin, data->data, data->len, err);
}

static void go_on(struct exec_stream *s, const Belay__V1__ExecStreamRequest *request)
{
        const struct process *p = s->process;
        struct error err = ERROR_INIT;
        int r = 0;

        switch (request->request_case) {
        case BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_STDIN:
                r = take_stdin(s, &request->stdin, &err);
                break;
        case BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_RESIZE:
                r = process_resize(s->process, request->resize->width, request->resize->height,
                                   &err);
                break;
        case BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_CLOSE_STDIN:
                if (request->close_stdin)
                        exec_stream_end_stdin(s);
                break;
        case BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_SIGNAL:
                r = send_signal(s, request->signal, &err);
                break;
        case BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_START:
        case BELAY__V1__EXEC_STREAM_REQUEST__REQUEST__NOT_SET:
        case _BELAY__V1__EXEC_STREAM_REQUEST__REQUEST__CASE_IS_INT_SIZE:
        default:
                r = error_set(&err, STATUS_INVALID_ARGUMENT,
                              "exec stream: stdin, resize, close_stdin or signal is expected after "
                              "start");
        }
        if (r < 0 && (!p->exit.known || err.code == STATUS_INVALID_ARGUMENT))
                fail(s, &err);
}

static void on_message(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Belay__V1__ExecStreamRequest *request = (const void *)message;
        struct exec_stream *s = userdata;

        if (s->process) {
                go_on(s, request);
                return;
        }
        if (request->request_case == BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_START) {
                start(s, request->start);
                return;
        }
        ttrpc_call_fail(call, STATUS_INVALID_ARGUMENT, "exec stream: the first request is `start`");
        exec_stream_free(s);
}

static void on_half_close(struct ttrpc_call *call, void *userdata)
{
        struct exec_stream *s = userdata;

        if (s->process) {
                exec_stream_end_stdin(s);
                return;
        }
        ttrpc_call_fail(call, STATUS_INVALID_ARGUMENT,
                        "exec stream: the client ended the stream before it sent `start`");
        exec_stream_free(s);
}

static void on_room(struct ttrpc_call *call, void *userdata)
{
        exec_stream_on_room(userdata);
}

static void on_cancel(struct ttrpc_call *call, void *userdata)
{
        exec_stream_abandon(userdata);
}

static size_t on_note(struct ttrpc_call *call, void *note, size_t room, void *userdata)
{
        (void)call;
        return exec_stream_note(userdata, note, room);
}

static const struct ttrpc_stream_ops ops = {
        .on_message = on_message,
        .on_half_close = on_half_close,
        .on_room = on_room,
        .on_note = on_note,
};

static void take(struct ttrpc_call *call, struct exec_stream *s)
{
        if (!s) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "exec stream: no memory");
                return;
        }
        ttrpc_call_on_stream(call, &ops, s);
        ttrpc_call_on_cancel(call, on_cancel, s);
}

/* In another process image. */
static void resume(struct ttrpc_call *call, struct shim_server *server)
{
        struct exec_stream *s = NULL;
        struct error err = ERROR_INIT;
        size_t len = 0;
        const void *note = ttrpc_call_note(call, &len);

        if (exec_stream_resume(&s, server, call, note, len, &err) < 0) {
                ttrpc_call_fail(call, STATUS_UNAVAILABLE, "%s", err.msg);
        } else if (s) {
                take(call, s);
                exec_stream_go_on(s);
        } else {
                take(call, exec_stream_new(call, server));
        }
}

void rpc_exec_stream(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        if (ttrpc_call_is_resumed(call))
                resume(call, userdata);
        else
                take(call, exec_stream_new(call, userdata));
}
