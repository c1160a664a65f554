/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of a server that may be anything: what another process image has left is refused, or
 * served. The input is the beginning of each part of the memory that is used at all, with one area
 * for a connection and one that may be its further one; the descriptors in it are replaced by real
 * ones.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/ttrpc.h"

#include "test/unit/ttrpc/harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void handle(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        ttrpc_call_reply(call, &response.base);
}

static const ttrpc_handler handlers[] = {handle, handle, handle, handle, handle, NULL};

static const char *refuse(const struct ttrpc_restored_call *call, void *userdata)
{
        return call->in_handler ? "restarted" : NULL;
}

/* Takes the next n bytes of the input, or what there is. */
static void fill(void *to, size_t n, const uint8_t **data, size_t *size)
{
        if (n > *size)
                n = *size;
        memcpy(to, *data, n);
        *data += n;
        *size -= n;
}

static void serve(void *memory, size_t size)
{
        const struct ttrpc_server_options options = {.keep = memory, .keep_size = size};
        const struct ttrpc_restore how = {.refuse = refuse};
        struct ttrpc_server *server = NULL;
        struct loop *loop = NULL;

        if (loop_new(&loop, NULL) < 0)
                abort();
        if (ttrpc_server_new(&server, loop, &options, NULL) == 0 &&
            ttrpc_server_register(server, &test__ttrpc__echo__descriptor, handlers, NULL, NULL) ==
                    0 &&
            ttrpc_server_restore(server, NULL) == 0) {
                (void)ttrpc_server_resume(server, &how);
                ttrpc_server_hear(server);
                loop_settle(loop);
        }
        ttrpc_server_free(server);
        loop_free(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const size_t n = TTRPC_KEEP_BYTES(2);
        struct keep_head *head =
                mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct keep_area *area;
        struct keep_area *more;
        bool used;
        int fds[2];

        if (head == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                abort();
        area = (struct keep_area *)((uint8_t *)head + 4096);
        more = area + 1;
        fill(head, sizeof(*head) + sizeof(head->conns[0]), &data, &size);
        fill(area, offsetof(struct keep_area, calls) + 8, &data, &size);
        fill(area->units, (size_t)8 * KEEP_UNIT, &data, &size);
        fill(area->in_bytes, 512, &data, &size);
        fill(area->out_bytes, 512, &data, &size);
        fill(&area->more, sizeof(area->more), &data, &size);
        fill(more->calls, 8, &data, &size);
        fill(more->units, (size_t)8 * KEEP_UNIT, &data, &size);
        fill(&more->more, sizeof(more->more), &data, &size);
        head->n_areas++;
        memset(head->listeners, 0, sizeof(head->listeners));
        used = atomic_load(&head->conns[0]) > 0;
        if (used)
                atomic_store(&head->conns[0], fds[1] + 1);
        serve(head, n);
        /* Where it was refused, or not found, it is still open. */
        if (!used || atomic_load(&head->conns[0]) != 0)
                fd_close(fds[1]);
        fd_close(fds[0]);
        (void)munmap(head, n);
        return 0;
}
