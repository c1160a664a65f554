/* SPDX-License-Identifier: Apache-2.0
 *
 * Standard input and answer of `start`: both kinds of callers.
 */
#include <containerd/linux/runc/options.pb-c.h>
#include <containerd/runc/v1/options.pb-c.h>
#include <containerd/runtime/bootstrap/v1/bootstrap.pb-c.h>
#include <google/protobuf/any.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/containerd-shim-belay-v2/input.h"
#include "test/unit/unit.h"

typedef Containerd__Runtime__Bootstrap__V1__BootstrapParams Params;
typedef Containerd__Runtime__Bootstrap__V1__BootstrapResult Result;

static const struct options flags = {.runtime_namespace = "k8s.io", .id = "redis"};

/* Runtime options with a shim_cgroup, as an Any of the given type. */
static Google__Protobuf__Any make_options(const char *type_url, uint8_t room[static 64])
{
        Containerd__Runc__V1__Options options = CONTAINERD__RUNC__V1__OPTIONS__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

        options.shim_cgroup = (char *)"/shims";
        any.type_url = (char *)type_url;
        any.value.data = room;
        any.value.len = containerd__runc__v1__options__pack(&options, room);
        return any;
}

static struct input decode(const void *data, size_t len)
{
        struct input input;
        struct error err = ERROR_INIT;

        assert_int_equal(input_decode(data, len, &flags, &input, &err), 0);
        return input;
}

static struct input decode_params(const Params *params)
{
        uint8_t data[512];

        return decode(data,
                      containerd__runtime__bootstrap__v1__bootstrap_params__pack(params, data));
}

static struct input decode_any(const char *type_url)
{
        uint8_t room[64];
        uint8_t data[256];
        Google__Protobuf__Any any = make_options(type_url, room);

        return decode(data, google__protobuf__any__pack(&any, data));
}

static Params make_params(void)
{
        Params params = CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__INIT;

        params.instance_id = (char *)"redis";
        params.namespace_ = (char *)"k8s.io";
        return params;
}

static void no_input_is_a_legacy_caller_without_options(void **state)
{
        struct input input = decode("", 0);

        (void)state;
        assert_false(input.bootstrap);
        assert_false(input.debug);
        assert_null(input.shim_cgroup);
}

static void bare_runc_options_come_from_a_legacy_caller(void **state)
{
        struct input input = decode_any("containerd.runc.v1.Options");

        (void)state;
        assert_false(input.bootstrap);
        assert_string_equal(input.shim_cgroup, "/shims");
        input_deinit(&input);
        input = decode_any("type.googleapis.com/containerd.runc.v1.Options");
        assert_string_equal(input.shim_cgroup, "/shims");
        input_deinit(&input);
}

static void options_of_older_clients_name_the_cgroup_too(void **state)
{
        Containerd__Linux__Runc__CreateOptions options =
                CONTAINERD__LINUX__RUNC__CREATE_OPTIONS__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t room[64];
        uint8_t data[256];
        struct input input;

        (void)state;
        options.shim_cgroup = (char *)"/shims";
        any.type_url = (char *)"containerd.linux.runc.CreateOptions";
        any.value.data = room;
        any.value.len = containerd__linux__runc__create_options__pack(&options, room);
        input = decode(data, google__protobuf__any__pack(&any, data));
        assert_string_equal(input.shim_cgroup, "/shims");
        input_deinit(&input);
}

static void options_of_another_type_are_no_cgroup_path(void **state)
{
        struct input input = decode_any("runtimeoptions.v1.Options");

        (void)state;
        assert_false(input.bootstrap);
        assert_null(input.shim_cgroup);
        input_deinit(&input);
}

static void an_any_with_the_id_but_another_namespace_is_legacy(void **state)
{
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t data[64];
        struct input input;

        (void)state;
        any.type_url = (char *)"redis";
        any.value.data = (uint8_t *)"default";
        any.value.len = 7;
        input = decode(data, google__protobuf__any__pack(&any, data));
        assert_false(input.bootstrap);
        input_deinit(&input);
}

static void params_of_this_container_come_from_a_bootstrap_caller(void **state)
{
        Params params = make_params();
        struct input input;

        (void)state;
        params.log_level = CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_DEBUG;
        params.containerd_ttrpc_address = (char *)"/run/c.ttrpc";
        params.socket_dir = (char *)"/run/s";
        input = decode_params(&params);
        assert_true(input.bootstrap);
        assert_true(input.debug);
        assert_string_equal(input.ttrpc_address, "/run/c.ttrpc");
        assert_string_equal(input.socket_dir, "/run/s");
        assert_null(input.shim_cgroup);
        input_deinit(&input);
}

static void only_levels_of_debug_and_below_mean_debug(void **state)
{
        Params params = make_params();
        struct input input;

        (void)state;
        params.log_level = CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_TRACE;
        input = decode_params(&params);
        assert_true(input.debug);
        input_deinit(&input);
        params.log_level = CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_INFO;
        input = decode_params(&params);
        assert_false(input.debug);
        input_deinit(&input);
        params.log_level = CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_WARN;
        input = decode_params(&params);
        assert_false(input.debug);
        input_deinit(&input);
}

static void params_of_another_container_are_not_taken(void **state)
{
        Params params = make_params();
        struct input input;

        (void)state;
        params.instance_id = (char *)"other";
        params.socket_dir = (char *)"/run/s";
        input = decode_params(&params);
        assert_false(input.bootstrap);
        assert_null(input.socket_dir);
        input_deinit(&input);
}

static void options_arrive_as_an_extension_too(void **state)
{
        Containerd__Runtime__Bootstrap__V1__Extension extension =
                CONTAINERD__RUNTIME__BOOTSTRAP__V1__EXTENSION__INIT;
        Containerd__Runtime__Bootstrap__V1__Extension empty =
                CONTAINERD__RUNTIME__BOOTSTRAP__V1__EXTENSION__INIT;
        Containerd__Runtime__Bootstrap__V1__Extension *extensions[] = {&empty, &extension};
        Params params = make_params();
        uint8_t room[64];
        Google__Protobuf__Any any = make_options("x/containerd.runc.v1.Options", room);
        struct input input;

        (void)state;
        extension.value = &any;
        params.extensions = extensions;
        params.n_extensions = 2;
        input = decode_params(&params);
        assert_true(input.bootstrap);
        assert_string_equal(input.shim_cgroup, "/shims");
        input_deinit(&input);
}

static void garbage_is_refused(void **state)
{
        struct input input;
        struct error err = ERROR_INIT;

        (void)state;
        assert_int_equal(input_decode("\xff\xff\xff", 3, &flags, &input, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_string_equal(err.msg, "decode standard input: neither BootstrapParams nor Any");
}

static void malformed_runc_options_are_refused(void **state)
{
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t data[64];
        struct input input;
        struct error err = ERROR_INIT;

        (void)state;
        any.type_url = (char *)"containerd.runc.v1.Options";
        any.value.data = (uint8_t *)"\xff";
        any.value.len = 1;
        assert_int_equal(
                input_decode(data, google__protobuf__any__pack(&any, data), &flags, &input, &err),
                -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
}

static void a_legacy_caller_gets_the_bare_address(void **state)
{
        struct error err = ERROR_INIT;
        char *data = NULL;
        size_t len = 0;

        (void)state;
        assert_int_equal(reply_encode(false, "/run/s/x", &data, &len, &err), 0);
        assert_int_equal(len, strlen("unix:///run/s/x"));
        assert_memory_equal(data, "unix:///run/s/x", len);
        free(data);
}

static void a_bootstrap_caller_gets_version_2_over_ttrpc(void **state)
{
        struct error err = ERROR_INIT;
        char *data = NULL;
        size_t len = 0;
        Result *result;

        (void)state;
        assert_int_equal(reply_encode(true, "/run/s/x", &data, &len, &err), 0);
        result = containerd__runtime__bootstrap__v1__bootstrap_result__unpack(NULL, len,
                                                                              (uint8_t *)data);
        assert_non_null(result);
        assert_int_equal(result->version, 2);
        assert_string_equal(result->address, "unix:///run/s/x");
        assert_string_equal(result->protocol, "ttrpc");
        containerd__runtime__bootstrap__v1__bootstrap_result__free_unpacked(result, NULL);
        free(data);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_input_is_a_legacy_caller_without_options),
                cmocka_unit_test(bare_runc_options_come_from_a_legacy_caller),
                cmocka_unit_test(options_of_older_clients_name_the_cgroup_too),
                cmocka_unit_test(options_of_another_type_are_no_cgroup_path),
                cmocka_unit_test(an_any_with_the_id_but_another_namespace_is_legacy),
                cmocka_unit_test(params_of_this_container_come_from_a_bootstrap_caller),
                cmocka_unit_test(only_levels_of_debug_and_below_mean_debug),
                cmocka_unit_test(params_of_another_container_are_not_taken),
                cmocka_unit_test(options_arrive_as_an_extension_too),
                cmocka_unit_test(garbage_is_refused),
                cmocka_unit_test(malformed_runc_options_are_refused),
                cmocka_unit_test(a_legacy_caller_gets_the_bare_address),
                cmocka_unit_test(a_bootstrap_caller_gets_version_2_over_ttrpc),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
