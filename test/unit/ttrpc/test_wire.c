/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes that were worked out by hand from the protocol, so that a mistake that reading and writing
 * have in common is seen.
 */
#include <stdlib.h>
#include <string.h>

#include "pkg/ttrpc/frame.h"
#include "pkg/ttrpc/out.h"
#include "pkg/ttrpc/wire.h"

#include "test/unit/ttrpc/echo.pb-c.h"
#include "test/unit/unit.h"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static void assert_span(struct ttrpc_span span, const char *text)
{
        assert_int_equal(span.len, strlen(text));
        assert_memory_equal(span.data ? span.data : (const uint8_t *)"", text, strlen(text));
}

static void a_header_is_big_endian(void **state)
{
        static const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0xfe, 0x00, 0x00, 0x01, 0x02, 0x05};
        struct ttrpc_frame frame = ttrpc_frame_decode(bytes);
        uint8_t again[TTRPC_HEADER_SIZE];

        assert_int_equal(frame.length, 0x01020304);
        assert_int_equal(frame.stream_id, 0xfe000001);
        assert_int_equal(frame.type, 2);
        assert_int_equal(frame.flags, 5);
        ttrpc_frame_encode(&frame, again);
        assert_memory_equal(again, bytes, sizeof(bytes));
}

static const char full_request[] = "\x0a\x03"
                                   "a.B"
                                   "\x12\x01"
                                   "C"
                                   "\x1a\x02"
                                   "xy"
                                   "\x20\x80\x94\xeb\xdc\x03"
                                   "\x2a\x06"
                                   "\x0a\x01"
                                   "k"
                                   "\x12\x01"
                                   "v";

static void a_request_is_read(void **state)
{
        struct ttrpc_wire_request request;
        const char *why = NULL;

        assert_int_equal(ttrpc_wire_request_decode(&request, BYTES(full_request), &why), 0);
        assert_span(request.service, "a.B");
        assert_span(request.method, "C");
        assert_span(request.payload, "xy");
        assert_int_equal(request.timeout_ns, 1000000000);
        assert_int_equal(request.n_metadata, 1);
        assert_span(request.metadata[0].key, "k");
        assert_span(request.metadata[0].value, "v");
}

static void an_empty_request_is_a_request(void **state)
{
        struct ttrpc_wire_request request;
        const char *why = NULL;

        assert_int_equal(ttrpc_wire_request_decode(&request, NULL, 0, &why), 0);
        assert_int_equal(request.service.len + request.method.len + request.payload.len, 0);
        assert_int_equal(request.timeout_ns, 0);
        assert_int_equal(request.n_metadata, 0);
}

static void unknown_fields_are_skipped_and_the_last_of_a_kind_counts(void **state)
{
        struct ttrpc_wire_request request;
        const char *why = NULL;

        assert_int_equal(ttrpc_wire_request_decode(&request,
                                                   BYTES("\x0a\x01x"
                                                         "\x30\x05"               /* 6, varint */
                                                         "\x39\1\2\3\4\5\6\7\x08" /* 7, fixed64 */
                                                         "\x45\1\2\3\4"           /* 8, fixed32 */
                                                         "\xfa\x7f\x02zz"         /* 2047, bytes */
                                                         "\x0a\x01y"),
                                                   &why),
                         0);
        assert_span(request.service, "y");
}

static void a_negative_timeout_is_negative(void **state)
{
        struct ttrpc_wire_request request;
        const char *why = NULL;

        assert_int_equal(
                ttrpc_wire_request_decode(
                        &request, BYTES("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), &why),
                0);
        assert_int_equal(request.timeout_ns, -1);
}

static void malformed_envelopes_are_refused(void **state)
{
        static const struct {
                const char *bytes;
                size_t len;
        } cases[] = {
                {"\x0a", 1},                                              /* no length */
                {"\x0a\x02x", 3},                                         /* too short */
                {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},     /* length 2^64-1 */
                {"\x0a\xff\xff\xff\xff\x0f", 6},                          /* length 2^32-1 */
                {"\x80", 1},                                              /* tag without end */
                {"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11},     /* more than 64 bits */
                {"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, /* 11 bytes */
                {"\x00\x01", 2},                                          /* field 0 */
                {"\xf8\xff\xff\xff\xff\x01\x01", 7},                      /* tag above 32 bits */
                {"\x08\x01", 2},                                          /* service as varint */
                {"\x22\x01x", 3},                                         /* timeout as bytes */
                {"\x0b\x0c", 2},                                          /* a group */
                {"\x0e", 1},                                              /* wire type 6 */
                {"\x2a\x02\x0a\x05", 4},                                  /* a bad pair inside */
                {"\x2a\x02\x08\x01", 4},                                  /* key as varint */
                {"\x31\1\2\3", 4},                                        /* fixed64, cut */
                {"\x35\1\2\3", 4},                                        /* fixed32, cut */
        };

        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                struct ttrpc_wire_request request;
                const char *why = NULL;

                if (ttrpc_wire_request_decode(&request, (const uint8_t *)cases[i].bytes,
                                              cases[i].len, &why) == 0)
                        fail_msg("case %zu was accepted", i);
                assert_non_null(why);
        }
}

static void no_prefix_of_a_request_reads_beyond_its_end(void **state)
{
        for (size_t len = 0; len < sizeof(full_request) - 1; len++) {
                uint8_t *exact = malloc(len + (len == 0));
                struct ttrpc_wire_request request;
                const char *why = NULL;

                memcpy(exact, full_request, len);
                (void)ttrpc_wire_request_decode(&request, exact, len, &why);
                free(exact);
        }
}

static void surplus_metadata_is_dropped(void **state)
{
        uint8_t bytes[(TTRPC_METADATA_MAX + 10) * 2];
        struct ttrpc_wire_request request;
        const char *why = NULL;

        for (size_t i = 0; i < sizeof(bytes); i += 2) {
                bytes[i] = 0x2a;
                bytes[i + 1] = 0;
        }
        assert_int_equal(ttrpc_wire_request_decode(&request, bytes, sizeof(bytes), &why), 0);
        assert_int_equal(request.n_metadata, TTRPC_METADATA_MAX);
}

static void assert_out(struct ttrpc_out *out, const uint8_t *bytes, size_t len)
{
        assert_non_null(out);
        assert_int_equal(out->len, len);
        assert_memory_equal(out->data, bytes, len);
        (void)ttrpc_out_free(out);
}

static void a_request_is_copied_without_its_payload(void **state)
{
        const uint8_t in[] = "\x0a\x01s\x1a\x03xyz\x12\x01m\x20\x05";
        const uint8_t stripped[] = "\x0a\x01s\x12\x01m\x20\x05";
        uint8_t out[sizeof(in)];
        const size_t n = sizeof(stripped) - 1;

        (void)state;
        assert_int_equal(ttrpc_wire_request_strip(in, sizeof(in) - 1, out, sizeof(out)), n);
        assert_memory_equal(out, stripped, n);
        assert_int_equal(ttrpc_wire_request_strip(in, sizeof(in) - 1, out, n), n);
        assert_int_equal(ttrpc_wire_request_strip(in, sizeof(in) - 1, out, n - 1), 0);
        assert_int_equal(ttrpc_wire_request_strip(in, 5, out, sizeof(out)), 0);
}

static void a_request_is_written(void **state)
{
        static const struct ttrpc_metadata metadata[] = {{.key = "k", .value = "v"},
                                                         {.key = "", .value = ""}};
        static const struct ttrpc_call_options options = {
                .timeout_ns = 1000000000, .metadata = metadata, .n_metadata = 2};
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct ttrpc_out *out = NULL;

        request.text = (char *)"xy";
        assert_int_equal(ttrpc_out_request(&out, 5, 0, "a.B", "C", &request.base, &options, NULL),
                         0);
        assert_out(out, BYTES("\0\0\0\x1e\0\0\0\x05\x01\0"
                              "\x0a\x03"
                              "a.B"
                              "\x12\x01"
                              "C"
                              "\x20\x80\x94\xeb\xdc\x03"
                              "\x2a\x06\x0a\x01"
                              "k"
                              "\x12\x01"
                              "v"
                              "\x2a\x00"
                              "\x1a\x04\x0a\x02xy"));
        assert_int_equal(ttrpc_out_request(&out, 1, 0, "a.B", "C", &request.base, NULL, NULL), 0);
        assert_out(out, BYTES("\0\0\0\x0e\0\0\0\x01\x01\0"
                              "\x0a\x03"
                              "a.B"
                              "\x12\x01"
                              "C"
                              "\x1a\x04\x0a\x02xy"));
}

static void a_response_is_written(void **state)
{
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct ttrpc_out *out = NULL;

        assert_int_equal(ttrpc_out_response(&out, 0x01020304, &response.base, NULL), 0);
        assert_out(out, BYTES("\0\0\0\0\1\2\3\4\x02\0"));
        response.number = 300;
        assert_int_equal(ttrpc_out_response(&out, 1, &response.base, NULL), 0);
        assert_out(out, BYTES("\0\0\0\x05\0\0\0\1\x02\0"
                              "\x12\x03\x18\xac\x02"));
}

static void a_status_is_written(void **state)
{
        assert_out(ttrpc_out_status(7, STATUS_NOT_FOUND, "no"),
                   BYTES("\0\0\0\x08\0\0\0\7\x02\0"
                         "\x0a\x06\x08\x05\x12\x02no"));
        assert_out(ttrpc_out_status(7, STATUS_INTERNAL, ""), BYTES("\0\0\0\x04\0\0\0\7\x02\0"
                                                                   "\x0a\x02\x08\x0d"));
        assert_out(ttrpc_out_status(7, -1, ""),
                   BYTES("\0\0\0\x0d\0\0\0\7\x02\0"
                         "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
}

static void a_response_is_read(void **state)
{
        struct ttrpc_wire_response response;
        const char *why = NULL;

        assert_int_equal(
                ttrpc_wire_response_decode(&response,
                                           BYTES("\x0a\x0a\x08\x05\x12\x02no\x1a\x02\x0a\x00"
                                                 "\x12\x02xy"),
                                           &why),
                0);
        assert_int_equal(response.code, STATUS_NOT_FOUND);
        assert_span(response.message, "no");
        assert_span(response.payload, "xy");
        assert_int_equal(ttrpc_wire_response_decode(&response, NULL, 0, &why), 0);
        assert_int_equal(response.code, 0);
        assert_int_equal(ttrpc_wire_response_decode(&response, BYTES("\x08\x05"), &why), -1);
        assert_int_equal(ttrpc_wire_response_decode(&response, BYTES("\x0a\x02\x0a\x00"), &why),
                         -1);
        assert_int_equal(ttrpc_wire_response_decode(&response, BYTES("\x12\x02x"), &why), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_header_is_big_endian),
                cmocka_unit_test(a_request_is_read),
                cmocka_unit_test(an_empty_request_is_a_request),
                cmocka_unit_test(unknown_fields_are_skipped_and_the_last_of_a_kind_counts),
                cmocka_unit_test(a_negative_timeout_is_negative),
                cmocka_unit_test(malformed_envelopes_are_refused),
                cmocka_unit_test(no_prefix_of_a_request_reads_beyond_its_end),
                cmocka_unit_test(surplus_metadata_is_dropped),
                cmocka_unit_test(a_request_is_copied_without_its_payload),
                cmocka_unit_test(a_request_is_written),
                cmocka_unit_test(a_response_is_written),
                cmocka_unit_test(a_status_is_written),
                cmocka_unit_test(a_response_is_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
