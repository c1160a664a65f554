/* SPDX-License-Identifier: Apache-2.0
 *
 * See stream.h.
 */
#include "test/bench/stream.h"

#include <string.h>

#include "belay/v1/belay.pb-c.h"

/* Of belay.v1.Belay, in the order of the .proto file. */
enum { ATTACH = 0, EXEC_STREAM = 2 };

static void took_output(struct stream *s, const Belay__V1__Output *output)
{
        uint64_t before = s->received;

        s->received += output->data.len;
        if (s->gate)
                gate_pass(s->gate, (s->received >> 20) - (before >> 20));
        if (s->received >= s->wanted)
                loop_quit(s->c->loop);
}

static void on_attach(struct ttrpc_client_stream *call, const ProtobufCMessage *message,
                      void *userdata)
{
        const Belay__V1__AttachResponse *r = (const void *)message;
        struct stream *s = userdata;

        (void)call;
        if (r->response_case == BELAY__V1__ATTACH_RESPONSE__RESPONSE_OUTPUT)
                took_output(s, r->output);
        if (r->response_case == BELAY__V1__ATTACH_RESPONSE__RESPONSE_STARTED) {
                s->started = true;
                loop_quit(s->c->loop);
        }
}

static void on_exec(struct ttrpc_client_stream *call, const ProtobufCMessage *message,
                    void *userdata)
{
        const Belay__V1__ExecStreamResponse *r = (const void *)message;
        struct stream *s = userdata;

        (void)call;
        if (r->response_case == BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_OUTPUT)
                took_output(s, r->output);
        if (r->response_case == BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_STARTED) {
                s->pid = (pid_t)r->started->pid;
                s->started = true;
                loop_quit(s->c->loop);
        }
        if (r->response_case == BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_EXIT &&
            r->exit->exit_status != 0)
                fail("the exec ended with %u %s", r->exit->exit_status, r->exit->error);
}

static void on_end(struct ttrpc_client_stream *call, const struct error *err, void *userdata)
{
        struct stream *s = userdata;

        (void)call;
        if (err)
                fail("the stream broke: %s", err->msg);
        s->ended = true;
        loop_quit(s->c->loop);
}

static void run_loop(struct stream *s)
{
        struct error err = ERROR_INIT;

        if (loop_run(s->c->loop, &err) < 0)
                fail("%s", err.msg);
}

static void stream_open(struct stream *s, unsigned method, const ProtobufCMessage *start,
                        const struct ttrpc_client_stream_ops *ops)
{
        struct error err = ERROR_INIT;

        if (ttrpc_client_stream_open(&s->call, s->c->task, &belay__v1__belay__descriptor, method,
                                     TTRPC_BIDI_STREAM, NULL, NULL, ops, s, &err) < 0 ||
            ttrpc_client_stream_send(s->call, start, &err) < 0)
                fail("open a stream: %s", err.msg);
        while (!s->started && !s->ended)
                run_loop(s);
        if (!s->started)
                fail("the stream ended before it began");
}

void stream_attach(struct stream *s, struct client *c)
{
        static const struct ttrpc_client_stream_ops ops = {.on_message = on_attach,
                                                           .on_end = on_end};
        Belay__V1__AttachRequest request = BELAY__V1__ATTACH_REQUEST__INIT;
        Belay__V1__AttachStart start = BELAY__V1__ATTACH_START__INIT;

        *s = (struct stream){.c = c, .wanted = UINT64_MAX};
        start.id = (char *)c->id;
        request.request_case = BELAY__V1__ATTACH_REQUEST__REQUEST_START;
        request.start = &start;
        stream_open(s, ATTACH, &request.base, &ops);
}

void stream_exec(struct stream *s, struct client *c, const char *process_json)
{
        static const struct ttrpc_client_stream_ops ops = {.on_message = on_exec, .on_end = on_end};
        Belay__V1__ExecStreamRequest request = BELAY__V1__EXEC_STREAM_REQUEST__INIT;
        Belay__V1__ExecStart start = BELAY__V1__EXEC_START__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

        *s = (struct stream){.c = c, .wanted = UINT64_MAX};
        any.type_url = (char *)"types.containerd.io/opencontainers/runtime-spec/1/Process";
        any.value.data = (uint8_t *)process_json;
        any.value.len = strlen(process_json);
        start.id = (char *)c->id;
        start.spec = &any;
        request.request_case = BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_START;
        request.start = &start;
        stream_open(s, EXEC_STREAM, &request.base, &ops);
}

void stream_await(struct stream *s, uint64_t bytes)
{
        s->wanted = bytes;
        while (s->received < bytes && !s->ended)
                run_loop(s);
        if (s->received != bytes)
                fail("%llu bytes came, not %llu", (unsigned long long)s->received,
                     (unsigned long long)bytes);
}

void stream_await_end(struct stream *s)
{
        while (!s->ended)
                run_loop(s);
}

void stream_deinit(struct stream *s)
{
        s->call = ttrpc_client_stream_free(s->call);
}
