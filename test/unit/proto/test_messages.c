/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rest of the tree takes for granted about the generated code: names that containerd
 * calls, one set of message types for v2 and v3, strings that are never NULL, and the few values
 * whose bytes are unusual. That the .proto files themselves are right is compare.py's business.
 */
#include "containerd/events/task.pb-c.h"
#include "containerd/runtime/bootstrap/v1/bootstrap.pb-c.h"
#include "containerd/services/events/ttrpc/v1/events.pb-c.h"
#include "containerd/task/v2/task.pb-c.h"
#include "containerd/task/v3/task.pb-c.h"
#include "test/unit/unit.h"

#define V2 (&containerd__task__v2__task__descriptor)
#define V3 (&containerd__task__v3__task__descriptor)

static void services_have_the_names_that_containerd_calls(void **state)
{
        assert_string_equal(V2->name, "containerd.task.v2.Task");
        assert_string_equal(V3->name, "containerd.task.v3.Task");
        assert_string_equal(containerd__services__events__ttrpc__v1__events__descriptor.name,
                            "containerd.services.events.ttrpc.v1.Events");
        assert_non_null(protobuf_c_service_descriptor_get_method_by_name(V2, "CloseIO"));
        assert_non_null(protobuf_c_service_descriptor_get_method_by_name(V3, "ResizePty"));
        assert_null(protobuf_c_service_descriptor_get_method_by_name(V2, "Nothing"));
}

static void one_table_of_handlers_fits_v2_and_v3(void **state)
{
        assert_int_equal(V2->n_methods, 17);
        assert_int_equal(V3->n_methods, V2->n_methods);
        for (unsigned i = 0; i < V2->n_methods; i++) {
                assert_string_equal(V3->methods[i].name, V2->methods[i].name);
                assert_ptr_equal(V3->methods[i].input, V2->methods[i].input);
                assert_ptr_equal(V3->methods[i].output, V2->methods[i].output);
        }
}

static void messages_have_the_names_that_type_urls_use(void **state)
{
        assert_string_equal(containerd__events__task_exit__descriptor.name,
                            "containerd.events.TaskExit");
        assert_string_equal(containerd__events__task_oom__descriptor.name,
                            "containerd.events.TaskOOM");
}

static void strings_are_empty_and_never_null(void **state)
{
        Containerd__Task__V2__StateResponse fresh = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
        assert_string_equal(fresh.stdin, "");

        Containerd__Task__V2__CreateTaskRequest *request =
                containerd__task__v2__create_task_request__unpack(NULL, 0, (const uint8_t *)"");
        assert_non_null(request);
        assert_string_equal(request->id, "");
        assert_null(request->options);
        containerd__task__v2__create_task_request__free_unpacked(request, NULL);
}

static void the_zero_time_has_the_bytes_that_go_sends(void **state)
{
        static const uint8_t want[] = {0x08, 0x80, 0x92, 0xb8, 0xc3, 0x98,
                                       0xfe, 0xff, 0xff, 0xff, 0x01};
        Google__Protobuf__Timestamp year_one = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        year_one.seconds = -62135596800;
        uint8_t got[32];
        assert_int_equal(google__protobuf__timestamp__get_packed_size(&year_one), sizeof(want));
        assert_int_equal(google__protobuf__timestamp__pack(&year_one, got), sizeof(want));
        assert_memory_equal(got, want, sizeof(want));
}

/* A negative enum takes ten bytes on the wire, as an int64 would. */
static void negative_log_levels_survive_the_wire(void **state)
{
        static const uint8_t debug[] = {0x18, 0xfc, 0xff, 0xff, 0xff, 0xff,
                                        0xff, 0xff, 0xff, 0xff, 0x01};
        Containerd__Runtime__Bootstrap__V1__BootstrapParams *params =
                containerd__runtime__bootstrap__v1__bootstrap_params__unpack(NULL, sizeof(debug),
                                                                             debug);
        assert_non_null(params);
        assert_int_equal(params->log_level,
                         CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_DEBUG);
        uint8_t got[32];
        assert_int_equal(containerd__runtime__bootstrap__v1__bootstrap_params__pack(params, got),
                         sizeof(debug));
        assert_memory_equal(got, debug, sizeof(debug));
        containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(params, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(services_have_the_names_that_containerd_calls),
                cmocka_unit_test(one_table_of_handlers_fits_v2_and_v3),
                cmocka_unit_test(messages_have_the_names_that_type_urls_use),
                cmocka_unit_test(strings_are_empty_and_never_null),
                cmocka_unit_test(the_zero_time_has_the_bytes_that_go_sends),
                cmocka_unit_test(negative_log_levels_survive_the_wire),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
