/* SPDX-License-Identifier: Apache-2.0
 *
 * Device rules on the hierarchy of this host, where it is v1: what they let a process use.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

#include "test/unit/cgroup/harness.h"
#include "test/unit/unit.h"

enum { EXIT_SKIP = 77 };

static int open_status(const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);
        int r = fd < 0 ? errno : 0;

        if (fd >= 0)
                close(fd);
        return r;
}

static int use_devices(void *userdata)
{
        if (open_status("/dev/null") != 0)
                return 1;
        if (open_status("/dev/kmsg") != EPERM)
                return 2;
        if (mknod(userdata, S_IFCHR | 0600, 0x0a05) < 0)
                return 3;
        return open_status(userdata) == EPERM ? 0 : 4;
}

static void by_default_only_the_usual_devices_can_be_used(void **state)
{
        struct harness *h = *state;
        struct error err;
        char path[64];
        int status;

        (void)snprintf(path, sizeof(path), "/tmp/belay-unit-node-%d", (int)getpid());
        assert_ok(harness_apply(&h->cg, NULL, &err), err);
        status = harness_wait(h, harness_child(h, &h->cg, use_devices, path));
        (void)unlink(path);
        assert_int_equal(status, 0);
}

static void device_rules_are_written_in_order(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule rules[] = {
                {.type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true},
                {.allow = true,
                 .type = 'c',
                 .major = 10,
                 .minor = 229,
                 .read = true,
                 .write = true},
                {.allow = true, .type = 'b', .major = 8, .minor = 20, .read = true, .write = true},
                {.type = 'b', .major = 8, .minor = 20, .write = true},
        };
        struct oci_resources r = {.devices = rules, .n_devices = UNIT_COUNT(rules)};
        struct error err;
        _cleanup_free_ char *list = NULL;

        assert_ok(harness_apply(&h->cg, &r, &err), err);
        list = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(list, "c 10:229 rw\n"));
        assert_non_null(strstr(list, "b 8:20 r\n"));
        assert_non_null(strstr(list, "c 136:* rwm"));
        assert_null(strstr(list, "a *:*"));
}

static void a_privileged_container_may_use_everything(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule all = {.allow = true,
                                      .type = 'a',
                                      .major = -1,
                                      .minor = -1,
                                      .read = true,
                                      .write = true,
                                      .mknod = true};
        struct oci_resources r = {.devices = &all, .n_devices = 1};
        struct error err;

        assert_ok(harness_apply(&h->cg, &r, &err), err);
        assert_file(&h->cg, "devices", "devices.list", "a *:* rwm");
        r.n_devices = 0;
        assert_ok(cgroup_update(&h->cg, &r, &err), err); /* an update leaves devices alone */
        assert_file(&h->cg, "devices", "devices.list", "a *:* rwm");
}

static void rules_for_both_types_with_less_than_everything_are_two(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule some = {
                .allow = true, .type = 'a', .major = 7, .minor = -1, .read = true};
        struct oci_resources r = {.devices = &some, .n_devices = 1};
        struct error err;
        _cleanup_free_ char *list = NULL;

        assert_ok(harness_apply(&h->cg, &r, &err), err);
        list = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(list, "b 7:* r\n"));
        assert_non_null(strstr(list, "c 7:* r\n"));
        assert_null(strstr(list, "a *:*"));
}

static void what_is_denied_later_cannot_be_used(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule rules[] = {
                {.allow = true, .type = 'c', .major = 10, .minor = 229, .read = true},
                {.type = 'c', .major = 10, .minor = -1, .read = true},
                {.allow = true, .type = 'c', .major = 11, .minor = -1, .read = true},
                {.type = 'c', .major = 11, .minor = 1, .read = true}};
        struct oci_resources r = {.has_devices = true, .devices = rules, .n_devices = 3};
        _cleanup_free_ char *list = NULL;
        _cleanup_free_ char *after = NULL;
        struct error err;

        assert_ok(harness_apply(&h->cg, &r, &err), err);
        list = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(list, "c 11:* r"));
        assert_null(strstr(list, "229"));
        r.n_devices = 4;
        assert_error(cgroup_update(&h->cg, &r, &err), err, "cannot deny 'c 11:1 r' within");
        assert_error(harness_apply(&h->cg, &r, &err), err, "cannot deny 'c 11:1 r' within");
        after = harness_read(&h->cg, "devices", "devices.list");
        assert_string_equal(after, list);
}

static void update_devices(struct harness *h, struct oci_device_rule *rules, size_t n)
{
        struct oci_resources r = {.has_devices = true, .devices = rules, .n_devices = n};
        struct error err;

        assert_ok(cgroup_update(&h->cg, &r, &err), err);
}

static int use_null_until_told(void *userdata)
{
        int fd = *(int *)userdata;
        char c;

        for (;;) {
                int r = open_status("/dev/null");

                if (r != 0)
                        return r;
                if (read(fd, &c, 1) == 1)
                        return 0;
        }
}

/* One that opens a device all the time never finds it denied. */
static void an_update_of_device_rules_leaves_no_moment_without_devices(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule rules[] = {
                {.allow = true, .type = 'c', .major = 10, .minor = 229, .read = true},
                {.allow = true, .type = 'b', .major = 8, .minor = -1, .read = true, .write = true},
                {.allow = true,
                 .type = 'a',
                 .major = -1,
                 .minor = -1,
                 .read = true,
                 .write = true,
                 .mknod = true},
        };
        struct error err;
        int told[2];
        pid_t pid;

        assert_ok(harness_apply(&h->cg, NULL, &err), err);
        assert_int_equal(pipe2(told, O_CLOEXEC | O_NONBLOCK), 0);
        pid = harness_child(h, &h->cg, use_null_until_told, &told[0]);
        for (int i = 0; i < 200; i++)
                update_devices(h, rules, i % 2 ? 3 : i % 3); /* three rules are everything */
        assert_int_equal(write(told[1], "x", 1), 1);
        assert_int_equal(harness_wait(h, pid), 0);
        close(told[0]);
        close(told[1]);
}

static void an_update_replaces_the_device_rules_as_a_whole(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule first = {
                .allow = true, .type = 'c', .major = 10, .minor = 229, .read = true, .write = true};
        struct oci_device_rule second[] = {
                {.allow = true, .type = 'c', .major = 10, .minor = 229, .read = true},
                {.allow = true, .type = 'b', .major = 8, .minor = 1, .mknod = true}};
        struct oci_device_rule all = {.allow = true,
                                      .type = 'a',
                                      .major = -1,
                                      .minor = -1,
                                      .read = true,
                                      .write = true,
                                      .mknod = true};
        struct error err;
        _cleanup_free_ char *list = NULL;
        _cleanup_free_ char *again = NULL;

        assert_ok(harness_apply(&h->cg, NULL, &err), err);
        update_devices(h, &first, 1);
        list = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(list, "c 10:229 rw"));
        update_devices(h, second, 2);
        again = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(again, "c 10:229 r"));
        assert_null(strstr(again, "c 10:229 rw"));
        assert_non_null(strstr(again, "b 8:1 m"));
        assert_non_null(strstr(again, "c 1:3 rwm"));
        update_devices(h, &all, 1);
        assert_file(&h->cg, "devices", "devices.list", "a *:* rwm");
        update_devices(h, &first, 1);
        free(list);
        list = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(list, "c 10:229 rw"));
        assert_null(strstr(list, "a *:*"));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_set_up, harness_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(by_default_only_the_usual_devices_can_be_used),
                CASE(device_rules_are_written_in_order),
                CASE(a_privileged_container_may_use_everything),
                CASE(rules_for_both_types_with_less_than_everything_are_two),
                CASE(what_is_denied_later_cannot_be_used),
                CASE(an_update_of_device_rules_leaves_no_moment_without_devices),
                CASE(an_update_replaces_the_device_rules_as_a_whole),
        };

        return harness_has_v1() ? cmocka_run_group_tests(tests, NULL, NULL) : EXIT_SKIP;
}
