/* SPDX-License-Identifier: Apache-2.0
 *
 * Attach of belay.v1: the requests. What goes the other way is in attachments.c.
 *
 * A request that comes too late, because the process has just ended or its stdin was closed by
 * somebody else, is no mistake of the client's: it has no effect, and the stream goes on to the
 * exit.
 */
#include "pkg/base/fd.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/attachments.h"
#include "shim/container.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

static bool send_grant(size_t n, void *userdata)
{
        const struct attachment *a = userdata;
        Belay__V1__AttachResponse response = BELAY__V1__ATTACH_RESPONSE__INIT;
        struct error ignored = ERROR_INIT;

        response.response_case = BELAY__V1__ATTACH_RESPONSE__RESPONSE_STDIN_GRANTED;
        response.stdin_granted = n;
        return ttrpc_call_send(a->call, &response.base, &ignored) == 0;
}

/* A client that detaches waits for that; its end may not come from inside of the sink. */
static void on_stdin_empty(void *userdata)
{
        struct attachment *a = userdata;

        if (a->leaving)
                (void)loop_timer_set(a->stall, 0);
}

static struct ttrpc_call *stdin_call(void *userdata)
{
        const struct attachment *a = userdata;

        return a->call;
}

static const struct stdin_grants_ops stdin_ops = {
        .send = send_grant,
        .on_empty = on_stdin_empty,
        .call = stdin_call,
};

int attachment_restore_stdin(struct attachment *a, const Belay__State__V1__StdinGrants *m,
                             struct error *err)
{
        return stdin_grants_restore(&a->stdin, a->server->loop, m, &stdin_ops, a, err);
}

static int open_stdin(struct attachment *a, struct error *err)
{
        const struct process *p = a->process;
        int fd;

        if (p->exit.known)
                return 0;
        fd = io_stdio_stdin_fd(p->stdio, err);
        if (fd < 0)
                return error_prefix(err, "attach");
        if (stdin_grants_open_take(&a->stdin, a->server->loop, fd, &stdin_ops, a, err) < 0) {
                fd_close(fd);
                return -1;
        }
        return 0;
}

static int send_started(struct attachment *a, struct error *err)
{
        Belay__V1__AttachStarted started = BELAY__V1__ATTACH_STARTED__INIT;
        Belay__V1__AttachResponse response = BELAY__V1__ATTACH_RESPONSE__INIT;

        started.terminal = a->process->terminal;
        response.response_case = BELAY__V1__ATTACH_RESPONSE__RESPONSE_STARTED;
        response.started = &started;
        return ttrpc_call_send(a->call, &response.base, err);
}

static void start(struct attachment *a, const Belay__V1__AttachStart *request,
                  struct shim_server *server)
{
        struct process *p = service_find_process(server, a->call, request->id, request->exec_id);
        bool both = !request->stdout && !request->stderr;
        struct error err = ERROR_INIT;

        if (!p) {
                attachment_free(a);
                return;
        }
        a->wants_stdout = both || request->stdout;
        a->wants_stderr = both || request->stderr;
        if (attachment_add(a, p, request->replay_bytes, &err) < 0 ||
            (request->stdin && open_stdin(a, &err) < 0) || send_started(a, &err) < 0) {
                attachment_fail(a, &err);
                return;
        }
        stdin_grants_offer(&a->stdin);
        attachment_advance(a);
}

/* What is refused only since the process has ended is no failure. */
static void refuse(struct attachment *a, const struct error *err)
{
        if (!a->process->exit.known)
                attachment_fail(a, err);
}

static void go_on(struct attachment *a, const Belay__V1__AttachRequest *request)
{
        struct error err = ERROR_INIT;
        int r = 0;

        switch (request->request_case) {
        case BELAY__V1__ATTACH_REQUEST__REQUEST_STDIN:
                r = stdin_grants_take(&a->stdin, request->stdin.data, request->stdin.len, &err);
                break;
        case BELAY__V1__ATTACH_REQUEST__REQUEST_RESIZE:
                r = process_resize(a->process, request->resize->width, request->resize->height,
                                   &err);
                break;
        case BELAY__V1__ATTACH_REQUEST__REQUEST_CLOSE_STDIN:
                if (request->close_stdin)
                        r = process_close_stdin(a->process, &err);
                break;
        case BELAY__V1__ATTACH_REQUEST__REQUEST_START:
        case BELAY__V1__ATTACH_REQUEST__REQUEST__NOT_SET:
        case _BELAY__V1__ATTACH_REQUEST__REQUEST__CASE_IS_INT_SIZE:
        default:
                r = error_set(&err, STATUS_INVALID_ARGUMENT,
                              "attach: stdin, resize or close_stdin is expected after start");
        }
        if (r < 0)
                refuse(a, &err);
}

static void on_message(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Belay__V1__AttachRequest *request = (const void *)message;
        struct attachment *a = userdata;

        if (a->process) {
                go_on(a, request);
                return;
        }
        if (request->request_case != BELAY__V1__ATTACH_REQUEST__REQUEST_START) {
                ttrpc_call_fail(call, STATUS_INVALID_ARGUMENT,
                                "attach: the first request is `start`");
                attachment_free(a);
                return;
        }
        start(a, request->start, a->server);
}

static void on_half_close(struct ttrpc_call *call, void *userdata)
{
        struct attachment *a = userdata;

        if (!a->process) {
                ttrpc_call_fail(call, STATUS_INVALID_ARGUMENT,
                                "attach: the client ended the stream before it sent `start`");
                attachment_free(a);
                return;
        }
        loop_timer_clear(a->stall);
        a->leaving = true;
        attachment_advance(a);
}

static void on_room(struct ttrpc_call *call, void *userdata)
{
        struct attachment *a = userdata;

        if (a->process)
                attachment_on_room(a);
}

static void on_cancel(struct ttrpc_call *call, void *userdata)
{
        attachment_free(userdata);
}

static size_t on_note(struct ttrpc_call *call, void *note, size_t room, void *userdata)
{
        (void)call;
        return attachment_note(userdata, note, room);
}

static const struct ttrpc_stream_ops ops = {
        .on_message = on_message,
        .on_half_close = on_half_close,
        .on_room = on_room,
        .on_note = on_note,
};

/* In another process image. */
static void resume(struct attachment *a)
{
        struct error err = ERROR_INIT;
        size_t len = 0;
        const void *note = ttrpc_call_note(a->call, &len);
        int r = attachment_resume(a, note, len, &err);

        if (r < 0) {
                err.code = STATUS_UNAVAILABLE;
                attachment_fail(a, &err);
                return;
        }
        if (r == 0)
                return;
        stdin_grants_offer(&a->stdin);
        attachment_advance(a);
}

void rpc_attach(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        struct attachment *a = attachment_new(call, userdata);

        if (!a) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "attach: no memory");
                return;
        }
        ttrpc_call_on_stream(call, &ops, a);
        ttrpc_call_on_cancel(call, on_cancel, a);
        if (ttrpc_call_is_resumed(call))
                resume(a);
}
