/* SPDX-License-Identifier: Apache-2.0
 *
 * See dialog_wire.h.
 */
#include "cmd/belay/dialog_wire.h"

#include <assert.h>
#include <belay/v1/belay.pb-c.h>

static struct dialog_event event_of_output(const Belay__V1__Output *output)
{
        return (struct dialog_event){
                .what = DIALOG_OUTPUT,
                .is_stderr = output->stream == BELAY__V1__STREAM__STREAM_STDERR,
                .data = output->data.data,
                .len = output->data.len,
        };
}

static struct dialog_event event_of_exit(const Belay__V1__Exit *end)
{
        return (struct dialog_event){
                .what = DIALOG_EXIT,
                .exit_status = end->exit_status,
                .error = end->error,
        };
}

static Belay__V1__Resize resize_of(const struct dialog_word *word)
{
        Belay__V1__Resize resize = BELAY__V1__RESIZE__INIT;

        resize.width = word->width;
        resize.height = word->height;
        return resize;
}

static ProtobufCBinaryData bytes_of(const struct dialog_word *word)
{
        return (ProtobufCBinaryData){.len = word->len, .data = (uint8_t *)word->data};
}

static struct dialog_event attach_read(const ProtobufCMessage *message)
{
        const Belay__V1__AttachResponse *r = (const void *)message;

        switch ((int)r->response_case) {
        case BELAY__V1__ATTACH_RESPONSE__RESPONSE_STARTED:
                return (struct dialog_event){.what = DIALOG_STARTED,
                                             .terminal = r->started->terminal};
        case BELAY__V1__ATTACH_RESPONSE__RESPONSE_OUTPUT:
                return event_of_output(r->output);
        case BELAY__V1__ATTACH_RESPONSE__RESPONSE_STDIN_GRANTED:
                return (struct dialog_event){.what = DIALOG_GRANT, .granted = r->stdin_granted};
        case BELAY__V1__ATTACH_RESPONSE__RESPONSE_EXIT:
                return event_of_exit(r->exit);
        default:
                return (struct dialog_event){.what = DIALOG_NOTHING};
        }
}

static int attach_send(struct ttrpc_client_stream *stream, const struct dialog_word *word,
                       struct error *err)
{
        Belay__V1__AttachRequest request = BELAY__V1__ATTACH_REQUEST__INIT;
        Belay__V1__Resize resize = resize_of(word);

        switch (word->what) {
        case DIALOG_INPUT:
                request.request_case = BELAY__V1__ATTACH_REQUEST__REQUEST_STDIN;
                request.stdin = bytes_of(word);
                break;
        case DIALOG_RESIZE:
                request.request_case = BELAY__V1__ATTACH_REQUEST__REQUEST_RESIZE;
                request.resize = &resize;
                break;
        case DIALOG_END_INPUT:
                request.request_case = BELAY__V1__ATTACH_REQUEST__REQUEST_CLOSE_STDIN;
                request.close_stdin = true;
                break;
        case DIALOG_SIGNAL:
                assert(!"Attach carries no signals");
        }
        return ttrpc_client_stream_send(stream, &request.base, err);
}

static struct dialog_event exec_read(const ProtobufCMessage *message)
{
        const Belay__V1__ExecStreamResponse *r = (const void *)message;

        switch ((int)r->response_case) {
        case BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_STARTED:
                return (struct dialog_event){.what = DIALOG_STARTED};
        case BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_OUTPUT:
                return event_of_output(r->output);
        case BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_STDIN_GRANTED:
                return (struct dialog_event){.what = DIALOG_GRANT, .granted = r->stdin_granted};
        case BELAY__V1__EXEC_STREAM_RESPONSE__RESPONSE_EXIT:
                return event_of_exit(r->exit);
        default:
                return (struct dialog_event){.what = DIALOG_NOTHING};
        }
}

static int exec_send(struct ttrpc_client_stream *stream, const struct dialog_word *word,
                     struct error *err)
{
        Belay__V1__ExecStreamRequest request = BELAY__V1__EXEC_STREAM_REQUEST__INIT;
        Belay__V1__Resize resize = resize_of(word);

        switch (word->what) {
        case DIALOG_INPUT:
                request.request_case = BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_STDIN;
                request.stdin = bytes_of(word);
                break;
        case DIALOG_RESIZE:
                request.request_case = BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_RESIZE;
                request.resize = &resize;
                break;
        case DIALOG_END_INPUT:
                request.request_case = BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_CLOSE_STDIN;
                request.close_stdin = true;
                break;
        case DIALOG_SIGNAL:
                request.request_case = BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_SIGNAL;
                request.signal = (uint32_t)word->signo;
                break;
        }
        return ttrpc_client_stream_send(stream, &request.base, err);
}

const struct dialog_wire dialog_wire_attach = {
        .method = "Attach",
        .read = attach_read,
        .send = attach_send,
};

const struct dialog_wire dialog_wire_exec = {
        .method = "ExecStream",
        .read = exec_read,
        .send = exec_send,
};
