/* SPDX-License-Identifier: Apache-2.0
 *
 * See harness.h.
 */
#include "test/unit/ttrpc/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "test/unit/unit.h"

enum { GUARD_SECONDS = 20, SETTLE_ROUNDS = 8 };

/* ---- The service ---- */

static void reply_text(struct ttrpc_call *call, const char *text, uint64_t number)
{
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        response.text = (char *)text;
        response.number = number;
        ttrpc_call_reply(call, &response.base);
}

static void handle_echo(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct harness *h = userdata;

        h->n_echoed++;
        response.text = request->text;
        response.data = request->data;
        response.number = request->number;
        ttrpc_call_reply(call, &response.base);
}

static void forget_call(struct ttrpc_call *call, void *userdata)
{
        struct harness *h = userdata;

        for (size_t i = 0; i < h->n_kept; i++) {
                if (h->kept[i] == call)
                        h->kept[i] = NULL;
        }
        h->n_cancelled++;
}

static void handle_keep(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        struct harness *h = userdata;

        assert_in_range(h->n_kept, 0, KEPT_MAX - 1);
        h->kept[h->n_kept++] = call;
        if (h->cancellable)
                ttrpc_call_on_cancel(call, forget_call, h);
}

static void handle_fail(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;

        ttrpc_call_fail(call, (int)request->number, "%s", request->text);
}

static void handle_grow(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        uint8_t *data = calloc(1, request->number + 1);

        assert_non_null(data);
        response.data.data = data;
        response.data.len = request->number;
        ttrpc_call_reply(call, &response.base);
        free(data);
}

static void handle_hook(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        struct harness *h = userdata;

        h->hook(h, call);
}

static const ttrpc_handler handlers[] = {
        handle_echo, handle_keep, handle_fail, handle_grow, handle_hook, NULL,
};

void kept_reply(struct harness *h, size_t i, const char *text)
{
        struct ttrpc_call *call = h->kept[i];

        assert_non_null(call);
        h->kept[i] = NULL;
        reply_text(call, text, i);
}

/* ---- The loop ---- */

static void guard_fired(struct loop_timer *timer, void *userdata)
{
        fail_msg("waited %d s for nothing", GUARD_SECONDS);
}

struct settle {
        struct loop_deferred deferred;
        struct loop *loop;
        int rounds;
};

static void settle_round(struct loop_deferred *deferred)
{
        struct settle *s = container_of(deferred, struct settle, deferred);

        if (--s->rounds == 0)
                loop_quit(s->loop);
        else
                loop_defer(s->loop, deferred);
}

void loop_settle(struct loop *loop)
{
        struct settle s = {.loop = loop, .rounds = SETTLE_ROUNDS};

        loop_deferred_init(&s.deferred, settle_round);
        loop_defer(loop, &s.deferred);
        while (s.rounds > 0)
                assert_int_equal(loop_run(loop, NULL), 0);
}

void harness_settle(struct harness *h)
{
        loop_settle(h->loop);
}

void harness_init(struct harness *h, const struct ttrpc_server_options *options)
{
        struct error err = ERROR_INIT;

        memset(h, 0, sizeof(*h));
        assert_int_equal(loop_new(&h->loop, &err), 0);
        h->guard = loop_timer_new(h->loop, guard_fired, h);
        assert_non_null(h->guard);
        assert_int_equal(loop_timer_set(h->guard, GUARD_SECONDS * NSEC_PER_SEC), 0);
        assert_int_equal(ttrpc_server_new(&h->server, h->loop, options, &err), 0);
        assert_int_equal(
                ttrpc_server_register(h->server, &test__ttrpc__echo__descriptor, handlers, h, &err),
                0);
        peer_init(&h->peer, h);
}

/* What the service still holds goes last: an answer that comes late must be harmless. */
void harness_deinit(struct harness *h)
{
        peer_deinit(&h->peer);
        ttrpc_server_free(h->server);
        loop_timer_free(h->guard);
        loop_free(h->loop);
        for (size_t i = 0; i < h->n_kept; i++) {
                if (h->kept[i])
                        kept_reply(h, i, "late");
        }
}

/* ---- The peer ---- */

/* Bytes of the first frame, once it is there whole; else what to wait for. */
static size_t peer_frame_bytes(const struct peer *p)
{
        if (p->n_in < TTRPC_HEADER_SIZE)
                return TTRPC_HEADER_SIZE;
        return TTRPC_HEADER_SIZE + ttrpc_frame_decode(p->in).length;
}

static void peer_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        struct peer *p = userdata;
        ssize_t n;

        if (p->n_room - p->n_in < 65536) {
                p->n_room = p->n_room * 2 + 65536;
                p->in = realloc(p->in, p->n_room);
                assert_non_null(p->in);
        }
        n = recv(fd, p->in + p->n_in, p->n_room - p->n_in, MSG_DONTWAIT);
        if (n > 0)
                p->n_in += (size_t)n;
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
                p->eof = true;
                (void)loop_io_want(p->io, 0);
        }
        if (p->eof || (p->wait_bytes > 0 && p->n_in >= p->wait_bytes))
                loop_quit(p->loop);
}

void peer_init_fd(struct peer *p, struct loop *loop, int fd)
{
        memset(p, 0, sizeof(*p));
        p->loop = loop;
        p->fd = fd;
        p->io = loop_io_new(loop, fd, LOOP_PRIORITY_RELAY, peer_on_io, p);
        assert_non_null(p->io);
        assert_int_equal(loop_io_want(p->io, LOOP_READ), 0);
}

void peer_init(struct peer *p, struct harness *h)
{
        struct error err = ERROR_INIT;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        peer_init_fd(p, h->loop, fds[0]);
        assert_int_equal(ttrpc_server_adopt_consume(h->server, fds[1], &err), 0);
}

void peer_deinit(struct peer *p)
{
        p->io = loop_io_free(p->io);
        p->fd = fd_close(p->fd);
        free(p->in);
        p->in = NULL;
}

void peer_pause(struct peer *p, bool paused)
{
        p->paused = paused;
        assert_int_equal(loop_io_want(p->io, paused ? 0 : LOOP_READ), 0);
}

static void quit_timer(struct loop_timer *timer, void *userdata)
{
        loop_quit(userdata);
}

void peer_write(struct peer *p, const void *data, size_t len)
{
        const uint8_t *bytes = data;
        struct loop_timer *turn = loop_timer_new(p->loop, quit_timer, p->loop);

        while (len > 0) {
                ssize_t n = send(p->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n > 0) {
                        bytes += n;
                        len -= (size_t)n;
                        continue;
                }
                if (errno != EAGAIN)
                        break;
                assert_int_equal(loop_timer_set(turn, 0), 0);
                assert_int_equal(loop_run(p->loop, NULL), 0);
        }
        loop_timer_free(turn);
}

uint8_t *peer_read_bytes(struct peer *p, size_t *ret_len)
{
        uint8_t *bytes;

        while (p->n_in < (p->wait_bytes = peer_frame_bytes(p))) {
                assert_false(p->eof);
                assert_int_equal(loop_run(p->loop, NULL), 0);
        }
        *ret_len = p->wait_bytes;
        p->wait_bytes = 0;
        bytes = malloc(*ret_len);
        assert_non_null(bytes);
        memcpy(bytes, p->in, *ret_len);
        memmove(p->in, p->in + *ret_len, p->n_in - *ret_len);
        p->n_in -= *ret_len;
        return bytes;
}

void peer_read(struct peer *p, struct answer *ret)
{
        static uint8_t body[TTRPC_MESSAGE_MAX];
        struct ttrpc_wire_response response = {0};
        const char *why = NULL;
        size_t len = 0;
        uint8_t *bytes = peer_read_bytes(p, &len);

        *ret = (struct answer){.frame = ttrpc_frame_decode(bytes)};
        assert_in_range(ret->frame.length, 0, sizeof(body));
        memcpy(body, bytes + TTRPC_HEADER_SIZE, ret->frame.length);
        free(bytes);
        assert_int_equal(ret->frame.type, TTRPC_FRAME_RESPONSE);
        assert_int_equal(ret->frame.flags, 0);
        assert_int_equal(ttrpc_wire_response_decode(&response, body, ret->frame.length, &why), 0);
        ret->code = response.code;
        assert_in_range(response.message.len, 0, sizeof(ret->text) - 1);
        if (response.message.len > 0)
                memcpy(ret->text, response.message.data, response.message.len);
        ret->payload = response.payload.data;
        ret->n_payload = response.payload.len;
}

void peer_wait_eof(struct peer *p)
{
        while (!p->eof)
                assert_int_equal(loop_run(p->loop, NULL), 0);
}

/* ---- What the peer says ---- */

uint8_t *frame_new(uint32_t id, uint8_t type, uint8_t flags, const void *body, size_t len,
                   size_t *ret_len)
{
        struct ttrpc_frame frame = {
                .length = (uint32_t)len, .stream_id = id, .type = type, .flags = flags};
        uint8_t *bytes = malloc(TTRPC_HEADER_SIZE + len);

        assert_non_null(bytes);
        ttrpc_frame_encode(&frame, bytes);
        if (len > 0)
                memcpy(bytes + TTRPC_HEADER_SIZE, body, len);
        *ret_len = TTRPC_HEADER_SIZE + len;
        return bytes;
}

/* Appends a length-delimited field. */
static uint8_t *put_bytes(uint8_t *p, uint8_t number, const void *data, size_t len)
{
        *p++ = (uint8_t)(number << 3 | 2);
        for (size_t rest = len;; rest >>= 7) {
                *p++ = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
                if (rest <= 0x7f)
                        break;
        }
        if (len > 0)
                memcpy(p, data, len);
        return p + len;
}

uint8_t *request_new(uint32_t id, const char *method, const Test__Ttrpc__EchoRequest *request,
                     int64_t timeout_ns, size_t *ret_len)
{
        static const char service[] = "test.ttrpc.Echo";
        size_t n_payload = test__ttrpc__echo_request__get_packed_size(request);
        uint8_t *payload = malloc(n_payload + 1);
        uint8_t *body = malloc(n_payload + 256);
        uint8_t *p = body;
        uint8_t *frame;

        assert_non_null(payload);
        assert_non_null(body);
        test__ttrpc__echo_request__pack(request, payload);
        p = put_bytes(p, 1, service, strlen(service));
        p = put_bytes(p, 2, method, strlen(method));
        p = put_bytes(p, 3, payload, n_payload);
        if (timeout_ns != 0) {
                uint64_t rest = (uint64_t)timeout_ns;

                *p++ = 4 << 3;
                for (; rest > 0x7f; rest >>= 7)
                        *p++ = (uint8_t)((rest & 0x7f) | 0x80);
                *p++ = (uint8_t)rest;
        }
        frame = frame_new(id, TTRPC_FRAME_REQUEST, 0, body, (size_t)(p - body), ret_len);
        free(payload);
        free(body);
        return frame;
}

static void peer_send_request(struct peer *p, uint32_t id, const char *method, const char *text,
                              uint64_t number, int64_t timeout_ns)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        size_t len = 0;
        uint8_t *bytes;

        request.text = (char *)text;
        request.number = number;
        bytes = request_new(id, method, &request, timeout_ns, &len);
        peer_write(p, bytes, len);
        free(bytes);
}

void peer_call(struct peer *p, uint32_t id, const char *method, const char *text, uint64_t number)
{
        peer_send_request(p, id, method, text, number, 0);
}

void peer_call_timeout(struct peer *p, uint32_t id, const char *method, const char *text,
                       int64_t timeout_ns)
{
        peer_send_request(p, id, method, text, 0, timeout_ns);
}

void peer_send_frame(struct peer *p, uint32_t id, uint8_t type, uint8_t flags, const void *body,
                     size_t len)
{
        size_t n = 0;
        uint8_t *bytes = frame_new(id, type, flags, body, len, &n);

        peer_write(p, bytes, n);
        free(bytes);
}

void peer_expect_status(struct peer *p, uint32_t id, int code, const char *text)
{
        static struct answer answer;

        peer_read(p, &answer);
        assert_int_equal(answer.frame.stream_id, id);
        assert_int_equal(answer.code, code);
        assert_string_equal(answer.text, text);
        assert_int_equal(answer.n_payload, 0);
}

void peer_expect_echo(struct peer *p, uint32_t id, const char *text)
{
        static struct answer answer;
        Test__Ttrpc__EchoResponse *response;

        peer_read(p, &answer);
        assert_int_equal(answer.frame.stream_id, id);
        assert_int_equal(answer.code, 0);
        response = test__ttrpc__echo_response__unpack(NULL, answer.n_payload, answer.payload);
        assert_non_null(response);
        assert_string_equal(response->text, text);
        test__ttrpc__echo_response__free_unpacked(response, NULL);
}
