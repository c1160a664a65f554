/* SPDX-License-Identifier: Apache-2.0
 *
 * The features document is JSON, and says what containerd's CRI plugin looks for.
 */
#include <json-c/json.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/engine.h"

#include "test/unit/unit.h"

static struct json_object *get(struct json_object *o, const char *key)
{
        struct json_object *child = NULL;

        assert_true(json_object_object_get_ex(o, key, &child));
        return child;
}

static bool has_string(struct json_object *array, const char *s)
{
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                if (strcmp(json_object_get_string(json_object_array_get_idx(array, i)), s) == 0)
                        return true;
        }
        return false;
}

static struct json_object *features(void)
{
        _cleanup_free_ char *json = NULL;
        struct error err = ERROR_INIT;
        struct json_object *o;

        assert_int_equal(engine_features(&json, &err), 0);
        o = json_tokener_parse(json);
        assert_non_null(o);
        return o;
}

static void versions_and_hooks_are_listed(void **state)
{
        struct json_object *f = features();

        assert_string_equal(json_object_get_string(get(f, "ociVersionMin")), "1.0.0");
        assert_true(has_string(get(f, "hooks"), "createRuntime"));
        assert_int_equal(json_object_array_length(get(f, "hooks")), 6);
        (void)json_object_put(f);
}

static void recursive_read_only_and_idmap_are_offered(void **state)
{
        struct json_object *f = features();
        struct json_object *options = get(f, "mountOptions");
        struct json_object *idmap = get(get(get(f, "linux"), "mountExtensions"), "idmap");

        assert_true(has_string(options, "rro"));
        assert_true(has_string(options, "rslave"));
        assert_true(has_string(options, "idmap"));
        assert_true(has_string(options, "ridmap"));
        assert_true(has_string(options, "tmpcopyup"));
        assert_true(json_object_get_boolean(get(idmap, "enabled")));
        (void)json_object_put(f);
}

static void capabilities_have_their_names_of_the_specification(void **state)
{
        struct json_object *f = features();
        struct json_object *caps = get(get(f, "linux"), "capabilities");

        assert_true(has_string(caps, "CAP_CHOWN"));
        assert_true(has_string(caps, "CAP_SYS_ADMIN"));
        assert_true(json_object_array_length(caps) >= 38);
        (void)json_object_put(f);
}

static void memory_policies_are_listed(void **state)
{
        struct json_object *f = features();
        struct json_object *policy = get(get(f, "linux"), "memoryPolicy");

        assert_true(has_string(get(policy, "modes"), "MPOL_BIND"));
        assert_int_equal(json_object_array_length(get(policy, "modes")), 7);
        assert_true(has_string(get(policy, "flags"), "MPOL_F_STATIC_NODES"));
        (void)json_object_put(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(versions_and_hooks_are_listed),
                cmocka_unit_test(recursive_read_only_and_idmap_are_offered),
                cmocka_unit_test(memory_policies_are_listed),
                cmocka_unit_test(capabilities_have_their_names_of_the_specification),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
