/* SPDX-License-Identifier: Apache-2.0
 *
 * The server of test_reexec.c. It executes itself again on SIGHUP, when a handler is told to crash,
 * and at steps of the library's own that the test numbers.
 *
 *   image LISTENER MEMORY CONTROL    (descriptors)
 */
#include "test/unit/ttrpc/image.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/str.h"
#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/ttrpc.h"

#include "test/unit/ttrpc/echo.pb-c.h"

enum { CALLS_MAX = 4096 };

struct image {
        struct control *control;
        void *memory;
        char **argv;
        struct ttrpc_server *server;
        struct ttrpc_call *kept[CALLS_MAX];
        size_t n_kept;
        uint64_t n_talked; /* of the one stream that a test has */
};

/* A point has no argument for it. */
static struct image *the_image;

_Noreturn static void die(const char *what)
{
        perror(what);
        _exit(100);
}

/* As a signal handler would: nothing is tidied up. */
_Noreturn static void execute_again(struct image *image)
{
        int fds[64];
        size_t n = ttrpc_kept_fds(image->memory, TTRPC_KEEP_BYTES(IMAGE_CONNS), fds, 64);

        for (size_t i = 0; i < n; i++)
                (void)fcntl(fds[i], F_SETFD, 0);
        (void)execv("/proc/self/exe", image->argv);
        die("execv");
}

void chaos_point(const char *name)
{
        struct control *control = the_image->control;
        uint64_t n = ++control->n_steps;

        (void)name;
        if (n == control->crash_at || (control->crash_every > 0 && n % control->crash_every == 0))
                execute_again(the_image);
}

static void see(struct image *image, const ProtobufCMessage *message)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;

        if (request->number < IMAGE_NUMBERS)
                image->control->seen[request->number]++;
}

static void reply(struct image *image, struct ttrpc_call *call, const char *text, uint64_t number,
                  ProtobufCBinaryData data)
{
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        response.text = (char *)text;
        response.number = number;
        response.data = data;
        if (number < IMAGE_NUMBERS)
                image->control->ended[number]++;
        ttrpc_call_reply(call, &response.base);
}

static void handle_echo(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;

        see(userdata, message);
        reply(userdata, call, request->text, request->number, request->data);
}

static void handle_keep(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        struct image *image = userdata;

        see(image, message);
        if (image->n_kept == CALLS_MAX)
                _exit(101);
        image->kept[image->n_kept++] = call;
        image->control->deadline_ns = ttrpc_call_deadline_ns(call);
        image->control->n_resumed += ttrpc_call_is_resumed(call);
}

/* Crashes, or lets those go that were kept, and then answers itself. */
static void handle_hook(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct image *image = userdata;

        see(image, message);
        if (strcmp(request->text, "crash") == 0)
                execute_again(image);
        for (size_t i = 0; i < image->n_kept; i++)
                reply(image, image->kept[i], "let go", i, (ProtobufCBinaryData){0});
        image->n_kept = 0;
        reply(image, call, request->text, request->number, (ProtobufCBinaryData){0});
}

/* `number` bytes of a pattern. */
static void handle_grow(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        uint8_t *data = malloc(request->number);

        for (size_t i = 0; i < request->number; i++)
                data[i] = (uint8_t)(i * 7 + i / 251);
        reply(userdata, call, "", IMAGE_NUMBERS,
              (ProtobufCBinaryData){.data = data, .len = request->number});
        free(data);
}

static const ttrpc_handler echo_handlers[] = {handle_echo, handle_keep, NULL,
                                              handle_grow, handle_hook, NULL};

/* ---- Talk: sends back each message ---- */

static void talk_on_message(struct ttrpc_call *call, const ProtobufCMessage *message,
                            void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct image *image = userdata;

        see(userdata, message);
        image->n_talked++;
        image->control->n_talked++;
        response.text = request->text;
        response.number = request->number;
        (void)ttrpc_call_send(call, &response.base, NULL);
        if (strcmp(request->text, "end") == 0)
                ttrpc_call_end(call);
}

static void talk_on_half_close(struct ttrpc_call *call, void *userdata)
{
        struct image *image = userdata;

        image->control->n_half_closed++;
}

static size_t talk_on_note(struct ttrpc_call *call, void *note, size_t room, void *userdata)
{
        const struct image *image = userdata;

        (void)call;
        (void)room;
        memcpy(note, &image->n_talked, sizeof(image->n_talked));
        return sizeof(image->n_talked);
}

/* The note says neither less nor more than what was done. */
static void talk_resume(struct image *image, const struct ttrpc_call *call)
{
        size_t len = 0;
        const void *note = ttrpc_call_note(call, &len);

        if (!note || len != sizeof(image->n_talked))
                _exit(102);
        memcpy(&image->n_talked, note, len);
        if (image->n_talked != image->control->n_talked)
                _exit(103);
        image->control->n_resumed++;
        image->control->n_noted = image->n_talked;
}

static void handle_talk(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        static const struct ttrpc_stream_ops ops = {
                .on_message = talk_on_message,
                .on_half_close = talk_on_half_close,
                .on_note = talk_on_note,
        };
        struct image *image = userdata;

        if (ttrpc_call_is_resumed(call))
                talk_resume(image, call);
        ttrpc_call_on_stream(call, &ops, image);
}

/* ---- Count: as far as there is room; the note is how far ---- */

struct counter {
        uint64_t next, end;
};

static void count_on(struct ttrpc_call *call, void *userdata)
{
        static uint8_t padding[IMAGE_COUNT_BYTES];
        struct counter *counter = userdata;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        response.data = (ProtobufCBinaryData){.data = padding, .len = sizeof(padding)};
        while (counter->next < counter->end) {
                response.number = counter->next;
                if (ttrpc_call_room(call) < 2 * sizeof(padding))
                        return;
                if (ttrpc_call_send(call, &response.base, NULL) < 0)
                        _exit(104);
                counter->next++;
        }
        ttrpc_call_end(call);
        free(counter);
}

static size_t count_on_note(struct ttrpc_call *call, void *note, size_t room, void *userdata)
{
        const struct counter *counter = userdata;

        (void)call;
        (void)room;
        memcpy(note, &counter->next, sizeof(counter->next));
        return sizeof(counter->next);
}

static void handle_count(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        static const struct ttrpc_stream_ops ops = {.on_room = count_on, .on_note = count_on_note};
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        struct counter *counter = calloc(1, sizeof(*counter));
        size_t len = 0;
        const void *note = ttrpc_call_note(call, &len);

        (void)userdata;
        if (!counter || (note && len != sizeof(counter->next)))
                _exit(105);
        if (note)
                memcpy(&counter->next, note, len);
        counter->end = request->number;
        ttrpc_call_on_stream(call, &ops, counter);
        count_on(call, counter);
}

static const ttrpc_handler chat_handlers[] = {handle_count, NULL, handle_talk};
static const enum ttrpc_kind chat_kinds[] = {TTRPC_SERVER_STREAM, TTRPC_CLIENT_STREAM,
                                             TTRPC_BIDI_STREAM};

/* ---- The program ---- */

static const char *refuse(const struct ttrpc_restored_call *call, void *userdata)
{
        const struct image *image = userdata;

        if (call->in_handler)
                return "restarted in its handler";
        if (call->kind != TTRPC_UNARY && image->control->refuse_streams)
                return "restarted";
        return NULL;
}

static void on_sighup(int signo, void *userdata)
{
        struct image *image = userdata;

        if (!ttrpc_server_obstacle(image->server))
                execute_again(image);
        image->control->n_not_quiet++;
}

static void *map(const char *fd, size_t size)
{
        uint64_t number;
        void *bytes;

        if (str_to_u64(fd, &number) < 0)
                die(fd);
        bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)number, 0);
        if (bytes == MAP_FAILED)
                die("mmap");
        return bytes;
}

static int serve(struct image *image, struct loop *loop, int listener, struct error *err)
{
        const struct ttrpc_server_options options = {
                .keep = image->memory,
                .keep_size = TTRPC_KEEP_BYTES(IMAGE_CONNS),
        };
        const struct ttrpc_restore how = {.refuse = refuse, .userdata = image};

        if (ttrpc_server_new(&image->server, loop, &options, err) < 0 ||
            ttrpc_server_register(image->server, &test__ttrpc__echo__descriptor, echo_handlers,
                                  image, err) < 0 ||
            ttrpc_server_register_streaming(image->server, &test__ttrpc__chat__descriptor,
                                            chat_kinds, chat_handlers, image, err) < 0)
                return -1;
        if (image->control->n_images++ == 0)
                return ttrpc_server_listen_take(image->server, listener, err);
        if (ttrpc_server_restore(image->server, err) < 0)
                return -1;
        image->control->n_dropped += ttrpc_server_resume(image->server, &how);
        ttrpc_server_hear(image->server);
        return 0;
}

int main(int argc, char **argv)
{
        static struct image image;
        struct error err = ERROR_INIT;
        struct loop_signal *sighup = NULL;
        struct loop *loop = NULL;
        uint64_t listener = 0;

        if (argc != 4 || str_to_u64(argv[1], &listener) < 0)
                return 2;
        the_image = &image;
        image.argv = argv;
        image.memory = map(argv[2], TTRPC_KEEP_BYTES(IMAGE_CONNS));
        image.control = map(argv[3], sizeof(*image.control));
        if (loop_new(&loop, &err) < 0 ||
            loop_signal_new(loop, SIGHUP, LOOP_PRIORITY_EXIT, on_sighup, &image, &sighup, &err) <
                    0 ||
            serve(&image, loop, (int)listener, &err) < 0 || loop_run(loop, &err) < 0) {
                (void)fprintf(stderr, "%s\n", err.msg);
                _exit(102);
        }
        return 0;
}
