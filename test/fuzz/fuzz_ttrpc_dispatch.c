/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the payload of a request, through unpacking into the handler. The first byte chooses
 * the budget, so that running out of it at every point is part of the game. What is accepted is
 * walked by packing it again.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/ttrpc/unpack.h"

#include "test/unit/ttrpc/echo.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct arena *arena;
        struct error err = ERROR_INIT;
        ProtobufCMessage *message;

        if (size == 0)
                return 0;
        arena = arena_new(data[0] == 0 ? 1u << 20 : (size_t)data[0] * 16);
        if (!arena)
                abort();
        message = ttrpc_unpack(&test__ttrpc__echo_request__descriptor, data + 1, size - 1, arena,
                               &err);
        if (message) {
                size_t n = protobuf_c_message_get_packed_size(message);
                uint8_t *packed = malloc(n + 1);

                if (!packed || protobuf_c_message_pack(message, packed) != n)
                        abort();
                free(packed);
        } else if (err.code != STATUS_INTERNAL && err.code != STATUS_RESOURCE_EXHAUSTED) {
                abort();
        }
        arena_free(arena);
        return 0;
}
