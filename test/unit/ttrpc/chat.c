/* SPDX-License-Identifier: Apache-2.0
 *
 * See chat.h.
 */
#include "test/unit/ttrpc/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/ttrpc/limits.h"

#include "test/unit/unit.h"

struct chat {
        struct ttrpc_call *call;
        struct harness *harness;
        struct loop_deferred each_round; /* greedy, idle, quits */
        struct chat_log *log;
        uint64_t next, end, sum;
        bool is_large;
};

struct chat_log chat_log;

static void chat_free(struct chat *chat)
{
        chat->log->n_live--;
        loop_deferred_cancel(&chat->each_round);
        free(chat);
}

static void chat_on_cancel(struct ttrpc_call *call, void *userdata)
{
        struct chat *chat = userdata;

        chat->log->n_cancelled++;
        chat_free(chat);
}

static struct chat *chat_new(struct ttrpc_call *call, struct harness *h)
{
        struct chat *chat = calloc(1, sizeof(*chat));

        assert_non_null(chat);
        chat->call = call;
        chat->harness = h;
        loop_deferred_init(&chat->each_round, NULL);
        chat->log = &chat_log;
        chat->log->n_live++;
        ttrpc_call_on_cancel(call, chat_on_cancel, chat);
        return chat;
}

/* Counts as far as there is room. */
static void count_on(struct ttrpc_call *call, void *userdata)
{
        static uint8_t padding[9000];
        struct chat *chat = userdata;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct error err = ERROR_INIT;

        chat->log->n_rooms++;
        response.data.data = padding;
        response.data.len = chat->is_large ? sizeof(padding) : 1000;
        while (chat->next < chat->end) {
                response.number = chat->next;
                if (test__ttrpc__echo_response__get_packed_size(&response) + TTRPC_FRAME_COST >
                    ttrpc_call_room(call))
                        return;
                if (ttrpc_call_send(call, &response.base, &err) < 0) {
                        assert_true(chat->is_large);
                        return;
                }
                chat->next++;
        }
        ttrpc_call_end(call);
        chat_free(chat);
}

static const struct ttrpc_stream_ops count_ops = {.on_room = count_on};

/* Not told, but from elsewhere. */
static void count_greedily(struct loop_deferred *deferred)
{
        struct chat *chat = container_of(deferred, struct chat, each_round);

        loop_defer(chat->harness->loop, deferred);
        count_on(chat->call, chat);
}

static void want_room(struct loop_deferred *deferred)
{
        struct chat *chat = container_of(deferred, struct chat, each_round);

        loop_defer(chat->harness->loop, deferred);
        (void)ttrpc_call_room(chat->call);
}

static void idle_on_room(struct ttrpc_call *call, void *userdata)
{
        struct chat *chat = userdata;

        (void)call;
        chat->log->n_unused_rooms++;
}

static const struct ttrpc_stream_ops idle_ops = {.on_room = idle_on_room};

static void quit_on_room(struct ttrpc_call *call, void *userdata)
{
        ttrpc_call_end(call);
        chat_free(userdata);
}

static const struct ttrpc_stream_ops quit_ops = {.on_room = quit_on_room};

static void handle_count(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct harness *h = userdata;
        struct chat *chat = chat_new(call, h);
        bool is_idle = strcmp(request->text, "idle") == 0;
        bool quits = strcmp(request->text, "quits") == 0;

        chat->end = request->number;
        chat->is_large = strcmp(request->text, "large") == 0;
        if (is_idle || quits) {
                loop_deferred_init(&chat->each_round, want_room);
                ttrpc_call_on_stream(call, is_idle ? &idle_ops : &quit_ops, chat);
                loop_defer(h->loop, &chat->each_round);
                return;
        }
        if (strcmp(request->text, "greedy") == 0) {
                loop_deferred_init(&chat->each_round, count_greedily);
                loop_defer(h->loop, &chat->each_round);
        }
        ttrpc_call_on_stream(call, &count_ops, chat);
        count_on(call, chat);
}

static void sum_on_message(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct chat *chat = userdata;

        chat->log->n_messages++;
        chat->sum += request->number;
}

static void sum_on_half_close(struct ttrpc_call *call, void *userdata)
{
        struct chat *chat = userdata;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        chat->log->n_half_closed++;
        response.number = chat->sum;
        ttrpc_call_reply(call, &response.base);
        chat_free(chat);
}

static const struct ttrpc_stream_ops sum_ops = {
        .on_message = sum_on_message,
        .on_half_close = sum_on_half_close,
};

static void handle_sum(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        assert_null(message);
        ttrpc_call_on_stream(call, &sum_ops, chat_new(call, userdata));
}

static void talk_on_message(struct ttrpc_call *call, const ProtobufCMessage *message,
                            void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct chat *chat = userdata;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct error err = ERROR_INIT;

        chat->log->n_messages++;
        if (request->number != 0) {
                ttrpc_call_fail(call, (int)request->number, "%s", request->text);
                chat_free(chat);
                return;
        }
        response.text = request->text;
        assert_int_equal(ttrpc_call_send(call, &response.base, &err), 0);
}

static void talk_on_half_close(struct ttrpc_call *call, void *userdata)
{
        struct chat *chat = userdata;

        chat->log->n_half_closed++;
        ttrpc_call_end(call);
        chat_free(chat);
}

static const struct ttrpc_stream_ops talk_ops = {
        .on_message = talk_on_message,
        .on_half_close = talk_on_half_close,
};

static void handle_talk(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        ttrpc_call_on_stream(call, &talk_ops, chat_new(call, userdata));
}

const enum ttrpc_kind chat_kinds[_CHAT_METHODS_MAX] = {TTRPC_SERVER_STREAM, TTRPC_CLIENT_STREAM,
                                                       TTRPC_BIDI_STREAM};
static const ttrpc_handler handlers[] = {handle_count, handle_sum, handle_talk};

void chat_init(struct harness *h, const struct ttrpc_server_options *options)
{
        struct error err = ERROR_INIT;

        memset(&chat_log, 0, sizeof(chat_log));
        harness_init(h, options);
        assert_int_equal(ttrpc_server_register_streaming(h->server, &test__ttrpc__chat__descriptor,
                                                         chat_kinds, handlers, h, &err),
                         0);
}

int chat_setup(void **state)
{
        static struct harness h;

        chat_init(&h, NULL);
        *state = &h;
        return 0;
}

int chat_teardown(void **state)
{
        harness_deinit(*state);
        assert_int_equal(chat_log.n_live, 0);
        return 0;
}

/* Short names, so one byte of length each. */
void chat_open(struct peer *p, uint32_t id, uint8_t flags, const char *method, const char *payload)
{
        char body[256];
        int n = snprintf(body, sizeof(body), "\x0a%c%s\x12%c%s\x1a%c%s",
                         (int)strlen("test.ttrpc.Chat"), "test.ttrpc.Chat", (int)strlen(method),
                         method, (int)strlen(payload), payload);

        if (payload[0] == '\0')
                n -= 1; /* the %c of its length has ended the text */
        peer_send_frame(p, id, TTRPC_FRAME_REQUEST, flags, body, (size_t)n - (payload[0] == '\0'));
}
