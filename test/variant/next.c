/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim as its next version might be: every message of its state has a field that the present
 * version does not know, and the vault has a higher minor number. What comes back of the field is
 * told on stderr, which is the shim's log.
 */
#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

size_t __real_protobuf_c_message_get_packed_size(const ProtobufCMessage *message);
size_t __real_protobuf_c_message_pack(const ProtobufCMessage *message, uint8_t *out);
ProtobufCMessage *__real_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t len,
                                                   const uint8_t *data);
size_t __wrap_protobuf_c_message_get_packed_size(const ProtobufCMessage *message);
size_t __wrap_protobuf_c_message_pack(const ProtobufCMessage *message, uint8_t *out);
ProtobufCMessage *__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t len,
                                                   const uint8_t *data);

enum { FIELD = 1000 };

/* A string of four bytes, as it is packed behind its tag. */
static ProtobufCMessageUnknownField new_field = {
        .tag = FIELD,
        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        .len = 5,
        .data = (uint8_t *)"\4next",
};

static int is_state(const ProtobufCMessageDescriptor *descriptor)
{
        return strcmp(descriptor->package_name, "belay.state.v1") == 0;
}

static void for_each_message(ProtobufCMessage *message,
                             void (*fn)(ProtobufCMessage *message, void *userdata), void *userdata)
{
        char *base = (char *)message;

        fn(message, userdata);
        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
                size_t n = field->label == PROTOBUF_C_LABEL_REPEATED
                                   ? *(size_t *)(base + field->quantifier_offset)
                                   : 1;
                ProtobufCMessage **items = (ProtobufCMessage **)(base + field->offset);

                if (field->type != PROTOBUF_C_TYPE_MESSAGE)
                        continue;
                if (field->label == PROTOBUF_C_LABEL_REPEATED)
                        items = *(ProtobufCMessage ***)(base + field->offset);
                for (size_t j = 0; j < n; j++) {
                        if (items[j])
                                for_each_message(items[j], fn, userdata);
                }
        }
}

static void add_field(ProtobufCMessage *message, void *userdata)
{
        (void)userdata;
        message->n_unknown_fields = 1;
        message->unknown_fields = &new_field;
}

size_t __wrap_protobuf_c_message_get_packed_size(const ProtobufCMessage *message)
{
        if (is_state(message->descriptor))
                for_each_message((ProtobufCMessage *)message, add_field, NULL);
        return __real_protobuf_c_message_get_packed_size(message);
}

size_t __wrap_protobuf_c_message_pack(const ProtobufCMessage *message, uint8_t *out)
{
        if (is_state(message->descriptor))
                for_each_message((ProtobufCMessage *)message, add_field, NULL);
        return __real_protobuf_c_message_pack(message, out);
}

struct count {
        int messages;
        int fields;
};

static void count_fields(ProtobufCMessage *message, void *userdata)
{
        struct count *count = userdata;

        count->messages++;
        for (unsigned i = 0; i < message->n_unknown_fields; i++)
                count->fields += message->unknown_fields[i].tag == FIELD;
}

ProtobufCMessage *__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t len,
                                                   const uint8_t *data)
{
        ProtobufCMessage *m = __real_protobuf_c_message_unpack(descriptor, allocator, len, data);
        struct count count = {0};

        if (m && is_state(descriptor)) {
                for_each_message(m, count_fields, &count);
                dprintf(STDERR_FILENO,
                        "level=info msg=\"next: %s of the messages have the field\"\n",
                        count.fields == 0                ? "none"
                        : count.fields == count.messages ? "all"
                                                         : "some");
        }
        return m;
}
