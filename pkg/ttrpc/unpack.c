/* SPDX-License-Identifier: Apache-2.0
 *
 * See unpack.h. protobuf-c says only "failed"; the allocator remembers whether it was the reason.
 */
#include "pkg/ttrpc/unpack.h"

#include <stdbool.h>

#include "pkg/ttrpc/limits.h"

struct budget {
        struct arena *arena;
        bool exhausted;
};

static void *budget_alloc(void *userdata, size_t size)
{
        struct budget *budget = userdata;
        void *p = arena_alloc(budget->arena, size);

        if (!p)
                budget->exhausted = true;
        return p;
}

static void budget_free(void *userdata, void *p)
{
        (void)userdata;
        (void)p;
}

ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
                               size_t len, struct arena *arena, struct error *err)
{
        struct budget budget = {.arena = arena};
        ProtobufCAllocator allocator = {
                .alloc = budget_alloc,
                .free = budget_free,
                .allocator_data = &budget,
        };
        ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, len, data);

        if (message)
                return message;
        if (budget.exhausted)
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                "ttrpc: payload of %zu bytes needs too much memory as a %s", len,
                                descriptor->name);
        else
                (void)error_set(err, STATUS_INTERNAL,
                                "ttrpc: error unmarshalling payload: %zu bytes are no valid %s",
                                len, descriptor->name);
        return NULL;
}

/* A frame of the walk below: a message type and the field to look at next. */
struct level {
        const ProtobufCMessageDescriptor *type;
        unsigned field;
};

static bool level_contains(const struct level *path, size_t depth,
                           const ProtobufCMessageDescriptor *type)
{
        for (size_t i = 0; i < depth; i++) {
                if (path[i].type == type)
                        return true;
        }
        return false;
}

int ttrpc_schema_check(const ProtobufCMessageDescriptor *descriptor, struct error *err)
{
        struct level path[TTRPC_SCHEMA_DEPTH_MAX] = {{.type = descriptor}};
        size_t depth = 1;

        while (depth > 0) {
                struct level *top = &path[depth - 1];
                const ProtobufCFieldDescriptor *field;

                if (top->field == top->type->n_fields) {
                        depth--;
                        continue;
                }
                field = &top->type->fields[top->field++];
                if (field->type != PROTOBUF_C_TYPE_MESSAGE)
                        continue;
                if (level_contains(path, depth, field->descriptor))
                        return error_set(err, STATUS_UNIMPLEMENTED,
                                         "message type %s is recursive at %s", descriptor->name,
                                         top->type->name);
                if (depth == TTRPC_SCHEMA_DEPTH_MAX)
                        return error_set(err, STATUS_UNIMPLEMENTED,
                                         "message type %s is nested too deeply", descriptor->name);
                path[depth++] = (struct level){.type = field->descriptor};
        }
        return 0;
}
