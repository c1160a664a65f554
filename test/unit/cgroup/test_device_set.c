/* SPDX-License-Identifier: Apache-2.0
 *
 * What a v1 cgroup allows: by its list of rules, and by what the kernel shows of it.
 */
#include <errno.h>

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_kernels_list_is_read),
                cmocka_unit_test(other_texts_are_refused),
                cmocka_unit_test(the_last_word_about_everything_counts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
