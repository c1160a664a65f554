/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "containerd/linux/runc/options.pb-c.h"
#include "containerd/runc/v1/options.pb-c.h"
#include "shim/options.h"
#include "test/unit/unit.h"

enum { ARENA_BYTES = 1 << 16 };

static uint8_t packed[512];

/* Packs the options behind a type URL and parses them. */
static int parse(const char *type_url, const Containerd__Runc__V1__Options *options,
                 struct create_options *ret, struct error *err)
{
        struct arena *arena = arena_new(ARENA_BYTES);
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        int r;

        assert_non_null(arena);
        any.type_url = (char *)type_url;
        any.value.data = packed;
        any.value.len = protobuf_c_message_pack(&options->base, packed);
        *err = ERROR_INIT;
        r = create_options_parse(&any, arena, ret, err);
        arena_free(arena);
        return r;
}

static void options_are_read_with_and_without_a_host_in_the_type(void **state)
{
        static const char *const urls[] = {"containerd.runc.v1.Options",
                                           "type.googleapis.com/containerd.runc.v1.Options"};
        Containerd__Runc__V1__Options o = CONTAINERD__RUNC__V1__OPTIONS__INIT;
        struct create_options got;
        struct error err;

        (void)state;
        o.no_pivot_root = true;
        o.no_new_keyring = true;
        o.systemd_cgroup = true;
        o.io_uid = 1000;
        o.io_gid = 1001;
        o.root = (char *)"/run/x";
        for (size_t i = 0; i < UNIT_COUNT(urls); i++) {
                assert_int_equal(parse(urls[i], &o, &got, &err), 0);
                assert_true(got.no_pivot_root && got.no_new_keyring && got.systemd_cgroup);
                assert_int_equal(got.io_uid, 1000);
                assert_int_equal(got.io_gid, 1001);
        }
}

static void nothing_means_defaults(void **state)
{
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        struct create_options got = {.no_pivot_root = true};
        struct error err = ERROR_INIT;

        (void)state;
        assert_int_equal(create_options_parse(NULL, NULL, &got, &err), 0);
        assert_false(got.no_pivot_root);
        any.type_url = (char *)"what.ever";
        assert_int_equal(create_options_parse(&any, NULL, &got, &err), 0);
}

static void a_type_that_is_not_known_is_refused_by_name(void **state)
{
        Containerd__Runc__V1__Options o = CONTAINERD__RUNC__V1__OPTIONS__INIT;
        struct create_options got;
        struct error err;

        (void)state;
        o.no_pivot_root = true;
        assert_int_equal(parse("containerd.linux.runc.RuncOptions", &o, &got, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.msg, "containerd.linux.runc.RuncOptions"));
        assert_int_equal(parse("runtimeoptions.v1.Options", &o, &got, &err), 0);
        assert_false(got.no_pivot_root);
}

/* What `ctr run --uidmap` of 1.6 sends. */
static void options_of_older_clients_are_read(void **state)
{
        Containerd__Linux__Runc__CreateOptions o = CONTAINERD__LINUX__RUNC__CREATE_OPTIONS__INIT;
        struct arena *arena = arena_new(ARENA_BYTES);
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t room[64];
        struct create_options got;
        struct error err = ERROR_INIT;

        (void)state;
        assert_non_null(arena);
        o.no_pivot_root = true;
        o.no_new_keyring = true;
        o.io_uid = 100000;
        o.io_gid = 200000;
        any.type_url = (char *)"containerd.linux.runc.CreateOptions";
        any.value.len = containerd__linux__runc__create_options__pack(&o, room);
        any.value.data = room;
        assert_int_equal(create_options_parse(&any, arena, &got, &err), 0);
        assert_true(got.no_pivot_root);
        assert_true(got.no_new_keyring);
        assert_false(got.systemd_cgroup);
        assert_int_equal(got.io_uid, 100000);
        assert_int_equal(got.io_gid, 200000);
        any.value.len--; /* cut in the middle of a number */
        assert_int_equal(create_options_parse(&any, arena, &got, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        arena_free(arena);
}

static void a_binary_is_found_by_path_or_refused_in_the_words_that_docker_looks_for(void **state)
{
        Containerd__Runc__V1__Options o = CONTAINERD__RUNC__V1__OPTIONS__INIT;
        struct create_options got;
        struct error err;

        (void)state;
        o.binary_name = (char *)"/bin/sh";
        o.root = (char *)"/run/x";
        assert_int_equal(parse("containerd.runc.v1.Options", &o, &got, &err), 0);
        assert_non_null(got.binary);
        o.binary_name = (char *)"no-such-runtime";
        assert_int_equal(parse("containerd.runc.v1.Options", &o, &got, &err), -1);
        assert_int_equal(err.code, STATUS_UNKNOWN);
        assert_string_equal(err.msg,
                            "exec: \"no-such-runtime\": executable file not found in $PATH");
        o.binary_name = (char *)"/no/such/runc";
        assert_int_equal(parse("containerd.runc.v1.Options", &o, &got, &err), -1);
        assert_string_equal(err.msg, "exec: \"/no/such/runc\": no such file or directory");
        o.binary_name = (char *)"../runc";
        assert_int_equal(parse("containerd.runc.v1.Options", &o, &got, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        o.binary_name = (char *)"belay";
        assert_int_equal(parse("containerd.runc.v1.Options", &o, &got, &err), 0);
        assert_null(got.binary);
}

static void dockers_runc_is_the_engine_where_runc_is_not_installed(void **state)
{
        Containerd__Runc__V1__Options o = CONTAINERD__RUNC__V1__OPTIONS__INIT;
        struct create_options got;
        struct error err;

        (void)state;
        o.binary_name = (char *)"runc";
        assert_int_equal(setenv("PATH", "/no/such/folder::relative", 1), 0);
        assert_int_equal(parse("containerd.runc.v1.Options", &o, &got, &err), 0);
        assert_null(got.binary);
}

static void garbage_is_refused_within_the_memory_of_the_call(void **state)
{
        static uint8_t many[60000];
        struct arena *arena = arena_new(ARENA_BYTES);
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        struct create_options got;
        struct error err = ERROR_INIT;

        (void)state;
        assert_non_null(arena);
        any.type_url = (char *)"containerd.runc.v1.Options";
        any.value.data = (uint8_t *)"\x1a\xff\xff";
        any.value.len = 3;
        assert_int_equal(create_options_parse(&any, arena, &got, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        /* Fields that nobody knows, each of which unpacks to a good deal more than its bytes. */
        for (size_t i = 0; i + 3 <= sizeof(many); i += 3)
                memcpy(many + i, "\xf8\x07\x01", 3);
        any.value.data = many;
        any.value.len = sizeof(many);
        assert_int_equal(create_options_parse(&any, arena, &got, &err), -1);
        assert_true(arena_used(arena) <= ARENA_BYTES);
        arena_free(arena);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(options_are_read_with_and_without_a_host_in_the_type),
                cmocka_unit_test(nothing_means_defaults),
                cmocka_unit_test(a_type_that_is_not_known_is_refused_by_name),
                cmocka_unit_test(options_of_older_clients_are_read),
                cmocka_unit_test(
                        a_binary_is_found_by_path_or_refused_in_the_words_that_docker_looks_for),
                cmocka_unit_test(dockers_runc_is_the_engine_where_runc_is_not_installed),
                cmocka_unit_test(garbage_is_refused_within_the_memory_of_the_call),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
