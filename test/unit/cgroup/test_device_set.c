/* SPDX-License-Identifier: Apache-2.0
 *
 * What a v1 cgroup allows: by its list of rules, and by what the kernel shows of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "pkg/cgroup/devices.h"

#include "test/unit/unit.h"

#define EVERYTHING .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true

static void the_kernels_list_is_read(void **state)
{
        struct device_set set = {0};

        assert_int_equal(device_set_parse("c 1:3 rwm\nb *:* m\nc 136:* rw\n", &set), 0);
        assert_int_equal(set.n, 3);
        assert_false(set.allows_all);
        assert_int_equal(set.items[1].major, -1);
        assert_true(set.items[1].mknod && !set.items[1].read);
        assert_int_equal(set.items[2].major, 136);
        assert_int_equal(set.items[2].minor, -1);
        device_set_free(&set);
        assert_int_equal(device_set_parse("a *:* rwm", &set), 0);
        assert_true(set.allows_all);
        device_set_free(&set);
}

static void other_texts_are_refused(void **state)
{
        static const char *const bad[] = {
                "x",      "c",       "c 1",        "c 1:3",     "c 1:3 q", "c 99999999999:3 r",
                "c :3 r", "c 1:3\n", "c 1:-1 rwm", "c 1:3 r w", "\n"};

        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                struct device_set set = {0};

                assert_int_equal(device_set_parse(bad[i], &set), -EINVAL);
                device_set_free(&set);
        }
}

static void the_last_word_about_everything_counts(void **state)
{
        const struct oci_device_rule rules[] = {
                {EVERYTHING, .allow = true},
                {.type = 'c', .major = 1, .minor = 1, .read = true},
                {EVERYTHING},
                {.type = 'c', .major = 1, .minor = 3, .allow = true, .read = true, .write = true},
                {.type = 'c', .major = 1, .minor = 3, .write = true},
                {.type = 'a', .major = 7, .minor = 0, .allow = true, .mknod = true}};
        struct device_set set = {0};

        assert_int_equal(device_set_from_rules(rules, 2, &set), 0);
        assert_true(set.allows_all && set.has_exceptions);
        device_set_free(&set);
        assert_int_equal(device_set_from_rules(rules, UNIT_COUNT(rules), &set), 0);
        assert_false(set.allows_all || set.has_exceptions);
        assert_int_equal(set.n, 3);
        assert_true(set.items[0].read && !set.items[0].write);
        assert_int_equal(set.items[1].type, 'b');
        assert_int_equal(set.items[2].type, 'c');
        device_set_free(&set);
}

#define C(x, y, ...)                                                 \
        {                                                            \
                .type = 'c', .major = (x), .minor = (y), __VA_ARGS__ \
        }
#define ALL .read = true, .write = true, .mknod = true

/* With the default rules at the end, as they are checked. */
static void check(const struct oci_device_rule *user, size_t n_user, const char *want)
{
        struct oci_device_rule *rules = NULL;
        struct error err = ERROR_INIT;
        size_t n;

        assert_int_equal(devices_rules(user, n_user, &rules, &n, &err), 0);
        assert_int_equal(devices_v1_check(rules, n, &err), want ? -1 : 0);
        assert_string_equal(err.msg, want ? want : "");
        free(rules);
}

static void what_v1_cannot_take_back_is_refused(void **state)
{
        const struct oci_device_rule hole[] = {C(10, -1, ALL, .allow = true), C(10, 229, ALL)};
        const struct oci_device_rule cross[] = {C(10, -1, ALL, .allow = true),
                                                C(-1, 5, .write = true)};
        const struct oci_device_rule in_all[] = {{EVERYTHING, .allow = true},
                                                 C(10, -1, ALL),
                                                 C(10, 229, .allow = true, .read = true)};
        const struct oci_device_rule in_default[] = {{EVERYTHING, .allow = true}, C(1, -1, ALL)};

        check(hole, UNIT_COUNT(hole),
              "linux.resources.devices[1]: cgroup v1 cannot deny 'c 10:229 rwm' within 'c 10:* "
              "rwm', which is allowed");
        check(cross, UNIT_COUNT(cross),
              "linux.resources.devices[1]: cgroup v1 cannot deny 'c *:5 w' within 'c 10:* rwm', "
              "which is allowed");
        check(in_all, UNIT_COUNT(in_all),
              "linux.resources.devices[2]: cgroup v1 cannot allow 'c 10:229 r' within 'c 10:* "
              "rwm', which is denied");
        check(in_default, UNIT_COUNT(in_default),
              "linux.resources.devices: cgroup v1 cannot allow 'c 1:3 rwm' within 'c 1:* rw', "
              "which is denied");
}

static void what_v1_can_take_back_is_not(void **state)
{
        const struct oci_device_rule fine[] = {
                C(10, 229, ALL, .allow = true),
                C(10, 229, .mknod = true), /* a part of its access */
                C(11, -1, .allow = true, .read = true),
                C(11, 1, .write = true), /* another access */
                C(12, 1, ALL, .allow = true),
                C(12, -1, ALL), /* more than there is */
                C(12, 1, ALL),  /* nothing is left of it */
                {.type = 'a', .major = 7, .minor = -1, .allow = true, .read = true},
                C(7, -1, .read = true), /* of one type */
        };

        check(fine, UNIT_COUNT(fine), NULL);
        check(NULL, 0, NULL);
}

static void a_wider_rule_takes_back_all_within_it(void **state)
{
        const struct oci_device_rule rules[] = {
                {EVERYTHING}, C(10, 229, ALL, .allow = true), C(10, -1, .write = true)};
        struct device_set set = {0};

        assert_int_equal(device_set_from_rules(rules, UNIT_COUNT(rules), &set), 0);
        assert_int_equal(set.n, 1);
        assert_true(set.items[0].read && !set.items[0].write && set.items[0].mknod);
        device_set_free(&set);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_kernels_list_is_read),
                cmocka_unit_test(other_texts_are_refused),
                cmocka_unit_test(the_last_word_about_everything_counts),
                cmocka_unit_test(what_v1_cannot_take_back_is_refused),
                cmocka_unit_test(what_v1_can_take_back_is_not),
                cmocka_unit_test(a_wider_rule_takes_back_all_within_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
