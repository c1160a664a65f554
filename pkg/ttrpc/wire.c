/* SPDX-License-Identifier: Apache-2.0
 *
 * Envelopes by hand: see wire.h. A reader is a span that shrinks from the front and never grows;
 * every length is compared with what is left before it is used.
 */
#include "pkg/ttrpc/wire.h"

#include <stdbool.h>
#include <string.h>

enum wire_type {
        WIRE_VARINT = 0,
        WIRE_FIXED64 = 1,
        WIRE_BYTES = 2,
        WIRE_FIXED32 = 5,
};

struct field {
        uint32_t number;
        uint32_t type;           /* enum wire_type */
        uint64_t value;          /* of a varint */
        struct ttrpc_span bytes; /* of WIRE_BYTES */
};

static const char truncated[] = "unexpected end of message";
static const char bad_varint[] = "varint is too long";
static const char bad_tag[] = "invalid field tag";
static const char bad_type[] = "unexpected wire type";

static const char *varint_get(struct ttrpc_span *in, uint64_t *ret)
{
        uint64_t value = 0;

        for (unsigned i = 0; i < 10; i++) {
                if (i == in->len)
                        return truncated;
                value |= (uint64_t)(in->data[i] & 0x7f) << (7 * i);
                if (in->data[i] & 0x80)
                        continue;
                if (i == 9 && in->data[i] > 1)
                        return bad_varint;
                in->data += i + 1;
                in->len -= i + 1;
                *ret = value;
                return NULL;
        }
        return bad_varint;
}

static const char *bytes_get(struct ttrpc_span *in, uint64_t len, struct ttrpc_span *ret)
{
        if (len > in->len)
                return truncated;
        *ret = (struct ttrpc_span){.data = in->data, .len = (size_t)len};
        in->data += len;
        in->len -= (size_t)len;
        return NULL;
}

/* Takes the next field off the front; NULL, or what is wrong with it. */
static const char *field_get(struct ttrpc_span *in, struct field *ret)
{
        uint64_t tag = 0;
        const char *why = varint_get(in, &tag);

        if (why)
                return why;
        if (tag > UINT32_MAX || tag >> 3 == 0)
                return bad_tag;
        *ret = (struct field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
        if (ret->type == WIRE_VARINT)
                return varint_get(in, &ret->value);
        if (ret->type == WIRE_FIXED64)
                return bytes_get(in, 8, &ret->bytes);
        if (ret->type == WIRE_FIXED32)
                return bytes_get(in, 4, &ret->bytes);
        if (ret->type != WIRE_BYTES)
                return bad_type;
        why = varint_get(in, &ret->value);
        return why ? why : bytes_get(in, ret->value, &ret->bytes);
}

static const char *pair_decode(struct ttrpc_wire_pair *ret, struct ttrpc_span in)
{
        *ret = (struct ttrpc_wire_pair){0};
        while (in.len > 0) {
                struct field f;
                const char *why = field_get(&in, &f);

                if (why)
                        return why;
                if (f.number > 2)
                        continue;
                if (f.type != WIRE_BYTES)
                        return bad_type;
                if (f.number == 1)
                        ret->key = f.bytes;
                else
                        ret->value = f.bytes;
        }
        return NULL;
}

static const char *request_field(struct ttrpc_wire_request *ret, const struct field *f)
{
        struct ttrpc_wire_pair pair;
        const char *why;

        if (f->number > 5)
                return NULL;
        if (f->type != (f->number == 4 ? WIRE_VARINT : WIRE_BYTES))
                return bad_type;
        switch (f->number) {
        case 1:
                ret->service = f->bytes;
                return NULL;
        case 2:
                ret->method = f->bytes;
                return NULL;
        case 3:
                ret->payload = f->bytes;
                return NULL;
        case 4:
                ret->timeout_ns = (int64_t)f->value;
                return NULL;
        default:
                why = pair_decode(&pair, f->bytes);
                if (!why && ret->n_metadata < TTRPC_METADATA_MAX)
                        ret->metadata[ret->n_metadata++] = pair;
                return why;
        }
}

int ttrpc_wire_request_decode(struct ttrpc_wire_request *ret, const uint8_t *data, size_t len,
                              const char **ret_why)
{
        struct ttrpc_span in = {.data = data, .len = len};
        const char *why = NULL;

        ret->service = ret->method = ret->payload = (struct ttrpc_span){0};
        ret->timeout_ns = 0;
        ret->n_metadata = 0;
        while (in.len > 0 && !why) {
                struct field f;

                why = field_get(&in, &f);
                if (!why)
                        why = request_field(ret, &f);
        }
        *ret_why = why;
        return why ? -1 : 0;
}

size_t ttrpc_wire_request_strip(const uint8_t *data, size_t len, uint8_t *ret, size_t room)
{
        struct ttrpc_span in = {.data = data, .len = len};
        size_t n = 0;

        while (in.len > 0) {
                const uint8_t *start = in.data;
                struct field f;
                size_t size;

                if (field_get(&in, &f))
                        return 0;
                size = (size_t)(in.data - start);
                if (f.number == 3)
                        continue;
                if (size > room - n)
                        return 0;
                memcpy(ret + n, start, size);
                n += size;
        }
        return n;
}

static const char *status_decode(struct ttrpc_wire_response *ret, struct ttrpc_span in)
{
        while (in.len > 0) {
                struct field f;
                const char *why = field_get(&in, &f);

                if (why)
                        return why;
                if (f.number > 2)
                        continue;
                if (f.type != (f.number == 1 ? WIRE_VARINT : WIRE_BYTES))
                        return bad_type;
                if (f.number == 1)
                        ret->code = (int32_t)f.value;
                else
                        ret->message = f.bytes;
        }
        return NULL;
}

int ttrpc_wire_response_decode(struct ttrpc_wire_response *ret, const uint8_t *data, size_t len,
                               const char **ret_why)
{
        struct ttrpc_span in = {.data = data, .len = len};
        const char *why = NULL;

        *ret = (struct ttrpc_wire_response){0};
        while (in.len > 0 && !why) {
                struct field f;

                why = field_get(&in, &f);
                if (why || f.number > 2)
                        continue;
                if (f.type != WIRE_BYTES)
                        why = bad_type;
                else if (f.number == 1)
                        why = status_decode(ret, f.bytes);
                else
                        ret->payload = f.bytes;
        }
        *ret_why = why;
        return why ? -1 : 0;
}

static size_t varint_size(uint64_t value)
{
        size_t n = 1;

        while (value >= 0x80) {
                value >>= 7;
                n++;
        }
        return n;
}

static uint8_t *varint_put(uint8_t *p, uint64_t value)
{
        while (value >= 0x80) {
                *p++ = (uint8_t)(value | 0x80);
                value >>= 7;
        }
        *p++ = (uint8_t)value;
        return p;
}

/* Empty fields are not written at all, as proto3 wants it. */
static size_t bytes_size(size_t len)
{
        return len ? 1 + varint_size(len) + len : 0;
}

static uint8_t *bytes_head_put(uint8_t *p, uint8_t number, size_t len)
{
        if (len == 0)
                return p;
        *p++ = (uint8_t)(number << 3 | WIRE_BYTES);
        return varint_put(p, len);
}

static uint8_t *bytes_put(uint8_t *p, uint8_t number, const char *data, size_t len)
{
        p = bytes_head_put(p, number, len);
        if (len > 0)
                memcpy(p, data, len);
        return p + len;
}

/* int32 is sign-extended on the wire. */
static uint64_t code_value(int code)
{
        return (uint64_t)(int64_t)code;
}

static size_t status_body_size(int code, size_t n_text)
{
        return 1 + varint_size(code_value(code)) + bytes_size(n_text);
}

size_t ttrpc_wire_status_size(int code, size_t n_text)
{
        return bytes_size(status_body_size(code, n_text));
}

void ttrpc_wire_status_put(uint8_t *p, int code, const char *text, size_t n_text)
{
        p = bytes_head_put(p, 1, status_body_size(code, n_text));
        *p++ = 1 << 3 | WIRE_VARINT;
        p = varint_put(p, code_value(code));
        (void)bytes_put(p, 2, text, n_text);
}

size_t ttrpc_wire_response_size(size_t n_payload)
{
        return bytes_size(n_payload);
}

uint8_t *ttrpc_wire_response_head_put(uint8_t *p, size_t n_payload)
{
        return bytes_head_put(p, 2, n_payload);
}

static size_t pair_size(const struct ttrpc_metadata *pair)
{
        return bytes_size(strlen(pair->key)) + bytes_size(strlen(pair->value));
}

/* The largest that the wire can carry stands for "longer than anyone waits". */
static uint64_t timeout_value(const struct ttrpc_call_options *options)
{
        if (!options)
                return 0;
        return options->timeout_ns > INT64_MAX ? INT64_MAX : options->timeout_ns;
}

size_t ttrpc_wire_request_size(const char *service, const char *method, size_t n_payload,
                               const struct ttrpc_call_options *options)
{
        size_t n = bytes_size(strlen(service)) + bytes_size(strlen(method)) + bytes_size(n_payload);
        uint64_t timeout = timeout_value(options);

        if (timeout > 0)
                n += 1 + varint_size(timeout);
        for (size_t i = 0; options && i < options->n_metadata; i++) {
                size_t len = pair_size(&options->metadata[i]);

                n += 1 + varint_size(len) + len;
        }
        return n;
}

uint8_t *ttrpc_wire_request_head_put(uint8_t *p, const char *service, const char *method,
                                     size_t n_payload, const struct ttrpc_call_options *options)
{
        uint64_t timeout = timeout_value(options);

        p = bytes_put(p, 1, service, strlen(service));
        p = bytes_put(p, 2, method, strlen(method));
        if (timeout > 0) {
                *p++ = 4 << 3 | WIRE_VARINT;
                p = varint_put(p, timeout);
        }
        for (size_t i = 0; options && i < options->n_metadata; i++) {
                const struct ttrpc_metadata *pair = &options->metadata[i];

                *p++ = 5 << 3 | WIRE_BYTES;
                p = varint_put(p, pair_size(pair));
                p = bytes_put(p, 1, pair->key, strlen(pair->key));
                p = bytes_put(p, 2, pair->value, strlen(pair->value));
        }
        return bytes_head_put(p, 3, n_payload);
}
