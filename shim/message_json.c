/* SPDX-License-Identifier: Apache-2.0
 *
 * See message_json.h. The messages of a descriptor have no cycles here, and the depth is limited
 * all the same. A string that is not UTF-8 stays readable: its odd bytes become U+FFFD.
 */
#include "shim/message_json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"

enum { DEPTH_MAX = 12, ROOM_MIN = 4096 };

struct text {
        char *data;
        size_t len;
        size_t room;
        size_t bytes_max;
        unsigned one_line_from;
        unsigned depth;
        bool failed;
};

static void add_bytes(struct text *t, const char *bytes, size_t n)
{
        if (!t->failed && n >= t->room - t->len) {
                size_t room = 2 * t->room + n;
                char *data = t->len + n < t->bytes_max ? realloc(t->data, room) : NULL;

                t->failed = !data;
                if (data) {
                        t->data = data;
                        t->room = room;
                }
        }
        if (t->failed)
                return;
        memcpy(t->data + t->len, bytes, n);
        t->len += n;
        t->data[t->len] = '\0';
}

static void add(struct text *t, const char *s)
{
        add_bytes(t, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void add_format(struct text *t, const char *fmt, ...)
{
        char buf[96];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(buf, sizeof(buf), fmt, ap);
        va_end(ap);
        add(t, buf);
}

/* The length of the UTF-8 sequence at s, or 0 if it is none. */
static size_t utf8_length(const unsigned char *s)
{
        size_t n = 0;

        if (s[0] < 0x80)
                return 1;
        if (s[0] >= 0xc2 && s[0] < 0xe0)
                n = 2;
        else if (s[0] >= 0xe0 && s[0] < 0xf0)
                n = 3;
        else if (s[0] >= 0xf0 && s[0] < 0xf5)
                n = 4;
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        }
        return n;
}

static void add_string(struct text *t, const char *s)
{
        const unsigned char *p = (const unsigned char *)s;

        add(t, "\"");
        while (*p) {
                size_t n = utf8_length(p);

                if (n == 0)
                        add(t, "\xef\xbf\xbd");
                else if (*p == '"' || *p == '\\')
                        add_format(t, "\\%c", *p);
                else if (*p < 0x20 || *p == 0x7f)
                        add_format(t, "\\u%04x", *p);
                else
                        add_bytes(t, (const char *)p, n);
                p += n > 0 ? n : 1;
        }
        add(t, "\"");
}

/* ---- Layout ---- */

/* Before an element at the present depth. */
static void add_break(struct text *t)
{
        if (t->depth > t->one_line_from)
                add(t, " ");
        else
                add_format(t, "\n%*s", (int)(2 * t->depth), "");
}

/* Behind the last one: one level up, but in the line if they were. */
static void add_last_break(struct text *t)
{
        bool is_one_line = t->depth-- > t->one_line_from;

        if (is_one_line)
                add(t, " ");
        else
                add_format(t, "\n%*s", (int)(2 * t->depth), "");
}

/* ---- Values ---- */

static void add_time(struct text *t, int64_t ns)
{
        char text[CLOCK_TEXT_MAX];

        clock_format(ns / (int64_t)NSEC_PER_SEC, (long)(ns % (int64_t)NSEC_PER_SEC), text);
        add_string(t, text);
}

/* How much of them all values have in common, up to a '_'. */
static size_t common_prefix(const ProtobufCEnumDescriptor *e)
{
        size_t n = strlen(e->values[0].name);

        for (unsigned i = 1; i < e->n_values; i++) {
                while (strncmp(e->values[0].name, e->values[i].name, n) != 0)
                        n--;
        }
        while (n > 0 && e->values[0].name[n - 1] != '_')
                n--;
        return n;
}

static void add_enum(struct text *t, const ProtobufCEnumDescriptor *e, int number)
{
        const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(e, number);

        if (!value) {
                add_format(t, "%d", number);
                return;
        }
        add(t, "\"");
        for (const char *p = value->name + common_prefix(e); *p; p++)
                add_format(t, "%c", *p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
        add(t, "\"");
}

static bool is_time(const ProtobufCFieldDescriptor *field)
{
        static const char ending[] = "at_ns";
        size_t len = strlen(field->name);

        return field->type == PROTOBUF_C_TYPE_INT64 && len >= strlen(ending) &&
               strcmp(field->name + len - strlen(ending), ending) == 0;
}

static void add_message(struct text *t, const ProtobufCMessage *message);

static void add_value(struct text *t, const ProtobufCFieldDescriptor *field, const void *value)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_INT32:
        case PROTOBUF_C_TYPE_SINT32:
        case PROTOBUF_C_TYPE_SFIXED32:
                add_format(t, "%" PRId32, *(const int32_t *)value);
                break;
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_FIXED32:
                add_format(t, "%" PRIu32, *(const uint32_t *)value);
                break;
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
                if (is_time(field))
                        add_time(t, *(const int64_t *)value);
                else
                        add_format(t, "%" PRId64, *(const int64_t *)value);
                break;
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
                add_format(t, "%" PRIu64, *(const uint64_t *)value);
                break;
        case PROTOBUF_C_TYPE_FLOAT:
                add_format(t, "%g", (double)*(const float *)value);
                break;
        case PROTOBUF_C_TYPE_DOUBLE:
                add_format(t, "%g", *(const double *)value);
                break;
        case PROTOBUF_C_TYPE_BOOL:
                add(t, *(const protobuf_c_boolean *)value ? "true" : "false");
                break;
        case PROTOBUF_C_TYPE_ENUM:
                add_enum(t, field->descriptor, *(const int *)value);
                break;
        case PROTOBUF_C_TYPE_STRING:
                add_string(t, *(const char *const *)value);
                break;
        case PROTOBUF_C_TYPE_BYTES:
                add_format(t, "\"<%zu bytes, not shown>\"",
                           ((const ProtobufCBinaryData *)value)->len);
                break;
        case PROTOBUF_C_TYPE_MESSAGE:
                add_message(t, *(const ProtobufCMessage *const *)value);
                break;
        }
}

/* In memory, of one element of a repeated field. */
static size_t value_size(ProtobufCType type)
{
        switch (type) {
        case PROTOBUF_C_TYPE_INT32:
        case PROTOBUF_C_TYPE_SINT32:
        case PROTOBUF_C_TYPE_SFIXED32:
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_FIXED32:
                return sizeof(uint32_t);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
                return sizeof(uint64_t);
        case PROTOBUF_C_TYPE_FLOAT:
                return sizeof(float);
        case PROTOBUF_C_TYPE_DOUBLE:
                return sizeof(double);
        case PROTOBUF_C_TYPE_BOOL:
                return sizeof(protobuf_c_boolean);
        case PROTOBUF_C_TYPE_ENUM:
                return sizeof(int);
        case PROTOBUF_C_TYPE_BYTES:
                return sizeof(ProtobufCBinaryData);
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                break;
        }
        return sizeof(void *);
}

/* ---- Fields ---- */

static bool is_default(const ProtobufCFieldDescriptor *field, const void *value)
{
        static const char zero[sizeof(uint64_t)];

        if (field->type == PROTOBUF_C_TYPE_BYTES)
                return ((const ProtobufCBinaryData *)value)->len == 0;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return !*(const char *const *)value || !**(const char *const *)value;
        return memcmp(value, zero, value_size(field->type)) == 0;
}

static bool is_left_out(const ProtobufCFieldDescriptor *field, const char *base)
{
        const void *quantifier = base + field->quantifier_offset;

        if (field->label == PROTOBUF_C_LABEL_REPEATED)
                return *(const size_t *)quantifier == 0;
        if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
                return *(const uint32_t *)quantifier != field->id;
        return is_default(field, base + field->offset);
}

/* Numbers are in one line, messages each begin one. */
static void add_array(struct text *t, const ProtobufCFieldDescriptor *field, const char *base)
{
        const char *values = *(const char *const *)(base + field->offset);
        size_t n = *(const size_t *)(base + field->quantifier_offset);
        bool breaks = field->type == PROTOBUF_C_TYPE_MESSAGE;

        add(t, "[");
        t->depth += breaks;
        for (size_t i = 0; i < n; i++) {
                if (i > 0)
                        add(t, breaks ? "," : ", ");
                if (breaks)
                        add_break(t);
                add_value(t, field, values + i * value_size(field->type));
        }
        if (breaks)
                add_last_break(t);
        add(t, "]");
}

static void add_message(struct text *t, const ProtobufCMessage *message)
{
        const char *base = (const char *)message;
        bool any = false;

        if (t->depth >= DEPTH_MAX) {
                add(t, "\"...\"");
                return;
        }
        add(t, "{");
        t->depth++;
        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

                if (is_left_out(field, base))
                        continue;
                if (any)
                        add(t, ",");
                any = true;
                add_break(t);
                add_string(t, field->name);
                add(t, ": ");
                if (field->label == PROTOBUF_C_LABEL_REPEATED)
                        add_array(t, field, base);
                else
                        add_value(t, field, base + field->offset);
        }
        if (any)
                add_last_break(t);
        else
                t->depth--;
        add(t, "}");
}

int message_json(const ProtobufCMessage *message, unsigned one_line_from, size_t bytes_max,
                 char **ret, size_t *ret_len, struct error *err)
{
        _cleanup_free_ char *data = malloc(ROOM_MIN);
        struct text t = {
                .data = data,
                .room = ROOM_MIN,
                .bytes_max = bytes_max,
                .one_line_from = one_line_from,
                .failed = !data,
        };

        add_message(&t, message);
        add(&t, "\n");
        data = t.data;
        if (t.failed || t.len > bytes_max)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "print the state: above %zu bytes, or no memory", bytes_max);
        *ret = TAKE_PTR(data);
        *ret_len = t.len;
        return 0;
}
