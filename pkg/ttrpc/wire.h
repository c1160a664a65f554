/* SPDX-License-Identifier: Apache-2.0
 *
 * The envelopes inside the frames:
 *
 *   Request  { string service = 1; string method = 2; bytes payload = 3; int64 timeout_nano = 4;
 *              repeated KeyValue metadata = 5; }
 *   Response { Status status = 1; bytes payload = 2; }
 *   Status   { int32 code = 1; string message = 2; }      (google.rpc.Status; details are skipped)
 *   KeyValue { string key = 1; string value = 2; }
 *
 * They are read in place and written in place by hand, not by protobuf-c: an envelope is nothing
 * but borrowed spans, so a 4 MiB payload is never copied and no envelope can unpack to more than
 * itself. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/ttrpc.h"

/* Borrowed from the buffer that was decoded; not NUL-terminated. */
struct ttrpc_span {
        const uint8_t *data;
        size_t len;
};

struct ttrpc_wire_pair {
        struct ttrpc_span key;
        struct ttrpc_span value;
};

struct ttrpc_wire_request {
        struct ttrpc_span service;
        struct ttrpc_span method;
        struct ttrpc_span payload;
        int64_t timeout_ns; /* 0: none; negative: over already */
        size_t n_metadata;  /* pairs beyond the limit are checked and dropped */
        struct ttrpc_wire_pair metadata[TTRPC_METADATA_MAX];
};

struct ttrpc_wire_response {
        int32_t code; /* enum status; 0 when there is no status */
        struct ttrpc_span message;
        struct ttrpc_span payload;
};

/* 0, or -1 with a constant text that says what is wrong. Unknown fields are skipped. */
int ttrpc_wire_request_decode(struct ttrpc_wire_request *ret, const uint8_t *data, size_t len,
                              const char **ret_why);
/* Copies a request without its payload; returns its length, or 0 if it is none, or is larger. */
size_t ttrpc_wire_request_strip(const uint8_t *data, size_t len, uint8_t *ret, size_t room);

int ttrpc_wire_response_decode(struct ttrpc_wire_response *ret, const uint8_t *data, size_t len,
                               const char **ret_why);

/*
 * Sizes first, then the bytes: `put` writes exactly `size` bytes. The payload is the last field and
 * is written by the caller behind what put_response_head or put_request_head returns.
 */
size_t ttrpc_wire_status_size(int code, size_t n_text);
void ttrpc_wire_status_put(uint8_t *p, int code, const char *text, size_t n_text);

size_t ttrpc_wire_response_size(size_t n_payload);
uint8_t *ttrpc_wire_response_head_put(uint8_t *p, size_t n_payload);

size_t ttrpc_wire_request_size(const char *service, const char *method, size_t n_payload,
                               const struct ttrpc_call_options *options);
uint8_t *ttrpc_wire_request_head_put(uint8_t *p, const char *service, const char *method,
                                     size_t n_payload, const struct ttrpc_call_options *options);
