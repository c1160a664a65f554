/* SPDX-License-Identifier: Apache-2.0
 *
 * The client of test_client_reexec.c. It calls once for each number, the next one when it has the
 * answer, and executes itself again at steps of the library's own that the test numbers. What it
 * must know of its calls it has noted in the control: which number is next, as a publisher knows it
 * from its file.
 *
 *   client_image SOCKET MEMORY CONTROL    (descriptors)
 */
#include "test/unit/ttrpc/client_image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/str.h"
#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/ttrpc.h"

#include "test/unit/ttrpc/echo.pb-c.h"

struct image {
        struct client_control *control;
        void *memory;
        int socket;
        char **argv;
        struct loop *loop;
        struct ttrpc_client *client;
};

/* chaos_point() has no argument for it. */
static struct image *the_image;

_Noreturn static void die(const char *what)
{
        perror(what);
        _exit(100);
}

void chaos_point(const char *name)
{
        struct client_control *control = the_image->control;

        (void)name;
        if (++control->n_steps != control->crash_at)
                return;
        (void)fcntl(the_image->socket, F_SETFD, 0);
        (void)execv("/proc/self/exe", the_image->argv);
        die("execv");
}

static void call(struct image *image, bool resume);

static void on_response(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        struct image *image = userdata;
        const Test__Ttrpc__EchoResponse *m = (const void *)response;

        if (err || m->number != image->control->next)
                _exit(103);
        image->control->answered[image->control->next]++;
        image->control->next++;
        if (image->control->next > CLIENT_CALLS)
                _exit(0);
        call(image, false);
}

static void call(struct image *image, bool resume)
{
        const struct ttrpc_call_options options = {.tag = image->control->next};
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct error err = ERROR_INIT;

        if (resume && ttrpc_client_resume(image->client, &test__ttrpc__echo__descriptor, 0,
                                          &options, on_response, image, &err) == 0) {
                image->control->n_resumed++;
                return;
        }
        request.number = image->control->next;
        if (ttrpc_client_call(image->client, &test__ttrpc__echo__descriptor, 0, &request.base,
                              &options, on_response, image, &err) < 0)
                _exit(104);
}

static void on_close(struct ttrpc_client *client, const struct error *err, void *userdata)
{
        (void)client;
        (void)userdata;
        (void)fprintf(stderr, "%s\n", err->msg);
        _exit(105);
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

/* In the first image a new client; also when that has crashed before it was kept. */
static int begin(struct image *image, struct error *err)
{
        bool resume = image->control->n_images++ > 0;
        bool restored;

        if (resume && ttrpc_client_restore(&image->client, image->loop, image->memory,
                                           TTRPC_KEEP_BYTES(1), err) < 0)
                return -1;
        restored = image->client;
        if (!restored &&
            (ttrpc_client_new_take(&image->client, image->loop, image->socket, err) < 0 ||
             ttrpc_client_keep(image->client, image->memory, TTRPC_KEEP_BYTES(1), err) < 0))
                return -1;
        ttrpc_client_on_close(image->client, on_close, image);
        call(image, resume);
        if (restored)
                ttrpc_client_go_on(image->client);
        return 0;
}

int main(int argc, char **argv)
{
        static struct image image;
        struct error err = ERROR_INIT;
        uint64_t socket = 0;

        if (argc != 4 || str_to_u64(argv[1], &socket) < 0)
                return 2;
        the_image = &image;
        image.argv = argv;
        image.socket = (int)socket;
        image.memory = map(argv[2], TTRPC_KEEP_BYTES(1));
        image.control = map(argv[3], sizeof(*image.control));
        if (loop_new(&image.loop, &err) < 0 || begin(&image, &err) < 0 ||
            loop_run(image.loop, &err) < 0) {
                (void)fprintf(stderr, "%s\n", err.msg);
                _exit(102);
        }
        return 0;
}
