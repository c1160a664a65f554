/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/unpack.h"

#include "test/unit/ttrpc/echo.pb-c.h"
#include "test/unit/unit.h"

static const ProtobufCMessageDescriptor *const echo = &test__ttrpc__echo_request__descriptor;

static const uint8_t sample[] =
        "\x0a\x05hello\x12\x02\x00\x01\x18\x07\x22\x03\x0a\x01x\x2a\x03\x0a\x01"
        "a\x2a\x00\x7a\x03new\x80\x01\x05";
static const size_t n_sample = sizeof(sample) - 1;

static void a_message_is_unpacked_into_the_arena(void **state)
{
        struct arena *arena = arena_new(TTRPC_UNPACK_BUDGET);
        const Test__Ttrpc__EchoRequest *request =
                (const void *)ttrpc_unpack(echo, sample, n_sample, arena, NULL);

        assert_non_null(request);
        assert_string_equal(request->text, "hello");
        assert_int_equal(request->data.len, 2);
        assert_int_equal(request->number, 7);
        assert_string_equal(request->item->text, "x");
        assert_int_equal(request->n_items, 2);
        assert_string_equal(request->items[1]->text, "");
        assert_int_equal(request->base.n_unknown_fields, 2);
        arena_free(arena);
}

static void nothing_unpacks_to_an_empty_message(void **state)
{
        struct arena *arena = arena_new(TTRPC_UNPACK_BUDGET);
        const Test__Ttrpc__EchoRequest *request =
                (const void *)ttrpc_unpack(echo, NULL, 0, arena, NULL);

        assert_non_null(request);
        assert_string_equal(request->text, "");
        assert_null(request->item);
        assert_int_equal(request->n_items, 0);
        arena_free(arena);
}

static void a_malformed_message_is_an_internal_error(void **state)
{
        struct arena *arena = arena_new(TTRPC_UNPACK_BUDGET);
        struct error err = ERROR_INIT;

        assert_null(ttrpc_unpack(echo, (const uint8_t *)"\x0a\x7f", 2, arena, &err));
        assert_int_equal(err.code, STATUS_INTERNAL);
        assert_string_equal(err.msg, "ttrpc: error unmarshalling payload: 2 bytes are no valid "
                                     "test.ttrpc.EchoRequest");
        arena_free(arena);
}

/* Out of memory at each single allocation; the sanitizers look on. */
static void every_budget_gives_a_message_or_a_clean_failure(void **state)
{
        size_t n_failed = 0;

        for (size_t budget = 0; budget < 4096; budget++) {
                struct arena *arena = arena_new(budget);
                struct error err = ERROR_INIT;

                if (!ttrpc_unpack(echo, sample, n_sample, arena, &err)) {
                        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
                        n_failed++;
                }
                arena_free(arena);
        }
        assert_in_range(n_failed, 100, 4000);
}

static void an_explosion_is_stopped_by_the_budget(void **state)
{
        uint8_t *bytes = malloc(TTRPC_MESSAGE_MAX);
        struct arena *arena = arena_new(TTRPC_UNPACK_BUDGET);
        struct error err = ERROR_INIT;

        assert_non_null(bytes);
        for (size_t i = 0; i < TTRPC_MESSAGE_MAX; i += 2) {
                bytes[i] = 0x2a;
                bytes[i + 1] = 0;
        }
        assert_null(ttrpc_unpack(echo, bytes, TTRPC_MESSAGE_MAX, arena, &err));
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        arena_free(arena);
        free(bytes);
}

static void a_schema_that_contains_itself_is_refused(void **state)
{
        struct error err = ERROR_INIT;

        assert_int_equal(ttrpc_schema_check(echo, &err), 0);
        assert_int_equal(ttrpc_schema_check(&test__ttrpc__tree__descriptor, &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        assert_string_equal(err.msg,
                            "message type test.ttrpc.Tree is recursive at test.ttrpc.Tree");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_message_is_unpacked_into_the_arena),
                cmocka_unit_test(nothing_unpacks_to_an_empty_message),
                cmocka_unit_test(a_malformed_message_is_an_internal_error),
                cmocka_unit_test(every_budget_gives_a_message_or_a_clean_failure),
                cmocka_unit_test(an_explosion_is_stopped_by_the_budget),
                cmocka_unit_test(a_schema_that_contains_itself_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
