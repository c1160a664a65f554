/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/cgroup/systemd.h"

#include "test/unit/unit.h"

static const struct cgroup_layout unified = {
        .n_hierarchies = 1,
        .hierarchies =
                {{.mountpoint = "/sys/fs/cgroup", .root = "/", .controllers = "", .is_v2 = true}},
        .is_unified = true,
};

static const struct cgroup_layout hybrid = {
        .n_hierarchies = 2,
        .hierarchies =
                {{.mountpoint = "/cg/cpu", .root = "/", .controllers = "cpu,cpuacct"},
                 {.mountpoint = "/cg/unified", .root = "/", .controllers = "", .is_v2 = true}},
};

static int set_up(void **state)
{
        *state = arena_new(4 << 20);
        assert_non_null(*state);
        return 0;
}

static int tear_down(void **state)
{
        arena_free(*state);
        return 0;
}

/* ---- names ---- */

static void assert_planned(struct arena *arena, const char *path, const char *slice,
                           const char *name, const char *group)
{
        struct systemd_unit unit;
        struct cgroup cg;
        struct error err = ERROR_INIT;

        if (systemd_plan(&hybrid, path, "id1", arena, &unit, &cg, &err) < 0)
                fail_msg("%s", err.msg);
        assert_string_equal(unit.slice, slice);
        assert_string_equal(unit.name, name);
        assert_string_equal(unit.control_group, group);
        assert_string_equal(unit.description, "belay container id1");
        assert_string_equal(cg.unit, name);
        assert_int_equal(cg.n_dirs, 2);
        assert_int_equal(strncmp(cg.dirs[0].path, "/cg/cpu", 7), 0);
        assert_string_equal(cg.dirs[0].path + 7, group);
        assert_string_equal(cg.dirs[1].path + strlen("/cg/unified"), group);
}

static void assert_refused(struct arena *arena, const char *path, const char *text)
{
        struct systemd_unit unit;
        struct cgroup cg;
        struct error err = ERROR_INIT;

        assert_int_equal(systemd_plan(&hybrid, path, "id1", arena, &unit, &cg, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        if (strncmp(err.msg, "linux.cgroupsPath", 17) != 0 || !strstr(err.msg, text))
                fail_msg("'%s' lacks '%s'", err.msg, text);
}

static void a_scope_is_below_its_slice(void **state)
{
        assert_planned(*state, "system.slice:cri-containerd:abc", "system.slice",
                       "cri-containerd-abc.scope", "/system.slice/cri-containerd-abc.scope");
        assert_planned(*state, "a.slice:p:n", "a.slice", "p-n.scope", "/a.slice/p-n.scope");
        assert_planned(*state, "-.slice:p:n", "-.slice", "p-n.scope", "/p-n.scope");
        assert_planned(*state, "kubepods-besteffort-pod1_2.slice:cri:n",
                       "kubepods-besteffort-pod1_2.slice", "cri-n.scope",
                       "/kubepods.slice/kubepods-besteffort.slice/"
                       "kubepods-besteffort-pod1_2.slice/cri-n.scope");
}

static void what_is_not_given_is_as_runc_has_it(void **state)
{
        assert_planned(*state, NULL, "system.slice", "runc-id1.scope",
                       "/system.slice/runc-id1.scope");
        assert_planned(*state, "", "system.slice", "runc-id1.scope",
                       "/system.slice/runc-id1.scope");
        assert_planned(*state, ":docker:n", "system.slice", "docker-n.scope",
                       "/system.slice/docker-n.scope");
        assert_planned(*state, "::n", "system.slice", "-n.scope", "/system.slice/-n.scope");
}

static void paths_that_name_no_scope_are_refused(void **state)
{
        char longest[400];

        assert_refused(*state, "/default/redis", "slice:prefix:name");
        assert_refused(*state, "a.slice:b", "slice:prefix:name");
        assert_refused(*state, "a.slice:b:c:d", "slice:prefix:name");
        assert_refused(*state, "a:b:c", "slice's name");
        assert_refused(*state, ".slice:b:c", "slice's name");
        assert_refused(*state, "a--b.slice:b:c", "slice's name");
        assert_refused(*state, "-a.slice:b:c", "slice's name");
        assert_refused(*state, "a-.slice:b:c", "slice's name");
        assert_refused(*state, "a/../b.slice:b:c", "slice's name");
        assert_refused(*state, "a.slice:b:", "the name is empty");
        assert_refused(*state, "a.slice:b:c.slice", "cannot be a slice");
        assert_refused(*state, "a.slice:b:c/d", "not a name");
        assert_refused(*state, "a.slice:b:../c", "not a name");
        assert_refused(*state, "a.slice:b c:d", "not a name");
        assert_refused(*state, "a.slice:b:c\nd", "not a name");
        memset(longest, 'x', sizeof(longest));
        memcpy(longest, "a.slice:b:", 10);
        longest[sizeof(longest) - 1] = '\0';
        assert_refused(*state, longest, "not a name");
}

static void the_unit_is_in_the_text_and_is_read_back(void **state)
{
        struct systemd_unit unit;
        struct cgroup cg;
        struct cgroup got;
        struct error err = ERROR_INIT;
        char *text;

        assert_int_equal(systemd_plan(&unified, "a-b.slice:p:n", "id1", *state, &unit, &cg, &err),
                         0);
        cg.dirs[0].created = true;
        assert_int_equal(cgroup_format(&cg, *state, &text, &err), 0);
        assert_string_equal(text, "systemd p-n.scope\n"
                                  "v2+0 /sys/fs/cgroup/a.slice/a-b.slice/p-n.scope\n");
        assert_int_equal(cgroup_parse(text, *state, &got, &err), 0);
        assert_string_equal(got.unit, "p-n.scope");
        assert_int_equal(got.n_dirs, 1);
        assert_string_equal(got.dirs[0].path, cg.dirs[0].path);
}

static void a_forged_unit_is_refused(void **state)
{
        static const char *const texts[] = {"systemd \nv2 /x\n",
                                            "systemd x\nv2 /x\n",
                                            "systemd x y.scope\nv2 /x\n",
                                            "v2 /x\nsystemd x.scope\n",
                                            "systemd a/b.scope\nv2 /x\n",
                                            "systemd .scope\nv2 /x\n",
                                            "systemd x.scope\nsystemd x.scope\n"};
        struct cgroup cg;

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct error err = ERROR_INIT;

                assert_int_equal(cgroup_parse(texts[i], *state, &cg, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        }
}

/* ---- requests ---- */

/* NULL after an error. */
static char *request(struct arena *arena, const struct cgroup_layout *layout,
                     const struct oci_resources *r, const struct oci_key_value *annotation,
                     struct error *err)
{
        struct systemd_unit unit;
        struct cgroup cg;
        struct systemd_start start = {
                .unit = &unit,
                .cgroup = &cg,
                .pid = 42,
                .resources = r,
                .annotations = annotation,
                .n_annotations = annotation ? 1 : 0,
        };
        char *text;

        assert_int_equal(systemd_plan(layout, "a-b.slice:p:n", "id1", arena, &unit, &cg, err), 0);
        return systemd_request_start(&start, arena, &text, err) < 0 ? NULL : text;
}

/* The request has the line, as a whole. */
static void assert_line(const char *text, const char *line)
{
        size_t len = strlen(line);

        for (const char *p = text; *p; p += strcspn(p, "\n") + 1) {
                if (strncmp(p, line, len) == 0 && p[len] == '\n')
                        return;
        }
        fail_msg("no line '%s' in:\n%s", line, text);
}

static const char *start_with(struct arena *arena, const struct cgroup_layout *layout,
                              const struct oci_resources *r)
{
        struct error err = ERROR_INIT;
        char *text = request(arena, layout, r, NULL, &err);

        if (!text)
                fail_msg("%s", err.msg);
        return text;
}

static void a_start_names_the_unit_the_slice_and_the_process(void **state)
{
        const char *text = start_with(*state, &unified, NULL);

        assert_int_equal(strncmp(text, "start p-n.scope\n", 16), 0);
        assert_line(text, "s Description belay container id1");
        assert_line(text, "s Slice a-b.slice");
        assert_line(text, "au PIDs 42");
        assert_line(text, "b Delegate 1");
        assert_line(text, "b DefaultDependencies 0");
        assert_line(text, "b MemoryAccounting 1");
        assert_line(text, "b CPUAccounting 1");
        assert_line(text, "b TasksAccounting 1");
        assert_line(text, "b IOAccounting 1");
        assert_line(start_with(*state, &hybrid, NULL), "b BlockIOAccounting 1");
}

static struct oci_resources some_limits(void)
{
        return (struct oci_resources){
                .has_memory = true,
                .memory = {.has_limit = true,
                           .limit = 64 << 20,
                           .has_reservation = true,
                           .reservation = 32 << 20,
                           .has_swap = true,
                           .swap = 96 << 20},
                .has_cpu = true,
                .cpu = {.has_shares = true,
                        .shares = 512,
                        .has_quota = true,
                        .quota = 12345,
                        .has_period = true,
                        .period = 50000,
                        .cpus = (char *)"0-2,9",
                        .mems = (char *)"0"},
                .has_pids = true,
                .pids_limit = 20,
        };
}

static void limits_become_the_properties_of_v2(void **state)
{
        const struct oci_resources r = some_limits();
        const char *text = start_with(*state, &unified, &r);

        assert_line(text, "t MemoryMax 67108864");
        assert_line(text, "t MemoryLow 33554432");
        assert_line(text, "t MemorySwapMax 33554432");
        assert_line(text, "t CPUWeight 59");
        assert_line(text, "t CPUQuotaPeriodUSec 50000");
        assert_line(text, "t CPUQuotaPerSecUSec 250000"); /* 246900, up to a whole percent */
        assert_line(text, "ay AllowedCPUs 0702");
        assert_line(text, "ay AllowedMemoryNodes 01");
        assert_line(text, "t TasksMax 20");
}

static void limits_become_the_properties_of_v1(void **state)
{
        const struct oci_resources r = some_limits();
        const char *text = start_with(*state, &hybrid, &r);

        assert_line(text, "t MemoryLimit 67108864");
        assert_null(strstr(text, "MemoryLow"));
        assert_null(strstr(text, "MemorySwapMax"));
        assert_line(text, "t CPUShares 512");
        assert_line(text, "t CPUQuotaPerSecUSec 250000");
        assert_line(text, "t TasksMax 20");
}

static void unlimited_is_the_greatest_number(void **state)
{
        const struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_limit = true, .limit = -1},
                .has_cpu = true,
                .cpu = {.has_quota = true, .quota = -1},
                .has_pids = true,
                .pids_limit = -1,
        };
        const char *text = start_with(*state, &unified, &r);

        assert_line(text, "t MemoryMax 18446744073709551615");
        assert_line(text, "t MemorySwapMax 18446744073709551615");
        assert_line(text, "t CPUQuotaPerSecUSec 18446744073709551615");
        assert_null(strstr(text, "CPUQuotaPeriodUSec"));
        assert_line(text, "t TasksMax 18446744073709551615");
}

static void unified_files_become_properties_where_there_are_some(void **state)
{
        struct oci_unified files[] = {
                {(char *)"memory.high", (char *)"1048576"}, {(char *)"memory.min", (char *)"max"},
                {(char *)"cpu.max", (char *)"20000 40000"}, {(char *)"cpuset.cpus", (char *)"1"},
                {(char *)"memory.oom.group", (char *)"1"},
        };
        struct oci_resources r = {.unified = files, .n_unified = 5};
        const char *text = start_with(*state, &unified, &r);

        assert_line(text, "t MemoryHigh 1048576");
        assert_line(text, "t MemoryMin 18446744073709551615");
        assert_line(text, "t CPUQuotaPeriodUSec 40000");
        assert_line(text, "t CPUQuotaPerSecUSec 500000");
        assert_line(text, "ay AllowedCPUs 02");
        assert_null(strstr(text, "oom"));
        files[2].value = (char *)"max 40000";
        assert_line(start_with(*state, &unified, &r), "t CPUQuotaPerSecUSec 18446744073709551615");
}

static void block_io_is_the_weight_on_v1_and_all_of_it_on_v2(void **state)
{
        struct oci_weight_device weight = {.major = 8, .minor = 16, .weight = 1000};
        struct oci_throttle_device rates[] = {{.major = 8, .minor = 0, .rate = 4096},
                                              {.major = 8, .minor = 16, .rate = 0}};
        struct oci_resources r = {
                .block_io = {.weight = 500,
                             .weight_devices = &weight,
                             .n_weight_devices = 1,
                             .throttle = {[OCI_THROTTLE_READ_BPS] = {rates, 2},
                                          [OCI_THROTTLE_WRITE_BPS] = {rates, 1},
                                          [OCI_THROTTLE_READ_IOPS] = {rates, 1},
                                          [OCI_THROTTLE_WRITE_IOPS] = {rates, 1}}}};
        const char *text = start_with(*state, &unified, &r);

        assert_line(text, "t IOWeight 4950");
        assert_line(text, "a(st) IODeviceWeight /dev/block/8:16 10000");
        assert_line(text, "a(st) IOReadBandwidthMax /dev/block/8:0 4096");
        assert_line(text, "a(st) IOReadBandwidthMax /dev/block/8:16 18446744073709551615");
        assert_line(text, "a(st) IOWriteBandwidthMax /dev/block/8:0 4096");
        assert_line(text, "a(st) IOReadIOPSMax /dev/block/8:0 4096");
        assert_line(text, "a(st) IOWriteIOPSMax /dev/block/8:0 4096");
        text = start_with(*state, &hybrid, &r);
        assert_line(text, "t BlockIOWeight 500");
        assert_null(strstr(text, "/dev/block/"));
        r.block_io = (struct oci_block_io){0};
        assert_null(strstr(start_with(*state, &unified, &r), "IOWeight"));
}

static void a_bad_set_of_cpus_is_refused_by_name(void **state)
{
        static const char *const sets[] = {"x", "1-", "3-1", "1,,x", "-1", "9999999", "1 - 2"};

        for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
                const struct oci_resources r = {.has_cpu = true, .cpu = {.cpus = (char *)sets[i]}};
                struct error err = ERROR_INIT;

                assert_null(request(*state, &unified, &r, NULL, &err));
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_non_null(strstr(err.msg, "linux.resources.cpu.cpus"));
        }
}

static void devices_are_the_defaults_and_what_is_allowed(void **state)
{
        struct oci_device_rule rules[] = {
                {.type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true},
                {.allow = true, .type = 'c', .major = 10, .minor = 200, .read = true},
                {.allow = true, .type = 'c', .major = 10, .minor = 200, .write = true},
                {.allow = true, .type = 'b', .major = 8, .minor = -1, .read = true},
                {.allow = true, .type = 'c', .major = 7, .minor = 1, .read = true},
                {.type = 'c', .major = 7, .minor = -1, .read = true},
        };
        struct oci_resources r = {.devices = rules, .n_devices = 6};
        const char *text = start_with(*state, &unified, &r);
        const char *none = strstr(text, "a(ss) DeviceAllow\n");

        assert_line(text, "s DevicePolicy strict");
        assert_non_null(none);
        assert_true(none < strstr(text, "a(ss) DeviceAllow ")); /* the list is emptied first */
        assert_line(text, "a(ss) DeviceAllow /dev/char/10:200 rw");
        assert_line(text, "a(ss) DeviceAllow block-8 r");
        assert_null(strstr(text, "/dev/char/7:1"));
        assert_line(text, "a(ss) DeviceAllow /dev/char/1:3 rwm");
        assert_line(text, "a(ss) DeviceAllow char-136 rwm");
        assert_line(text, "a(ss) DeviceAllow char-* m");
        assert_line(text, "a(ss) DeviceAllow block-* m");
}

static void everything_allowed_is_the_policy_of_auto(void **state)
{
        struct oci_device_rule rule = {.allow = true,
                                       .type = 'a',
                                       .major = -1,
                                       .minor = -1,
                                       .read = true,
                                       .write = true,
                                       .mknod = true};
        struct oci_resources r = {.devices = &rule, .n_devices = 1};
        const char *text = start_with(*state, &unified, &r);

        assert_line(text, "s DevicePolicy auto");
        assert_null(strstr(text, "/dev/char"));
}

static void an_update_has_what_is_given(void **state)
{
        const struct oci_resources r = {.has_pids = true, .pids_limit = 7};
        const struct oci_resources none = {0};
        struct oci_device_rule rule = {
                .allow = true, .type = 'c', .major = 10, .minor = 200, .read = true};
        const struct oci_resources devices = {
                .has_devices = true, .devices = &rule, .n_devices = 1};
        struct systemd_unit unit;
        struct cgroup cg;
        struct error err = ERROR_INIT;
        char *text;

        assert_int_equal(systemd_plan(&unified, "a-b.slice:p:n", "id1", *state, &unit, &cg, &err),
                         0);
        assert_int_equal(systemd_request_update(&cg, &r, *state, &text, &err), 0);
        assert_string_equal(text, "set p-n.scope\nt TasksMax 7\n");
        assert_int_equal(systemd_request_update(&cg, &devices, *state, &text, &err), 0);
        assert_line(text, "a(ss) DeviceAllow /dev/char/10:200 r");
        assert_int_equal(systemd_request_update(&cg, &none, *state, &text, &err), 0);
        assert_null(text);
        assert_int_equal(systemd_request_stop(&cg, *state, &text, &err), 0);
        assert_string_equal(text, "stop p-n.scope\n");
}

/* ---- annotations ---- */

static void assert_annotation(struct arena *arena, const char *name, const char *value,
                              const char *line)
{
        char key[128];
        struct oci_key_value item = {.key = key, .value = (char *)value};
        struct error err = ERROR_INIT;
        char *text;

        (void)snprintf(key, sizeof(key), "org.systemd.property.%s", name);
        text = request(arena, &unified, NULL, &item, &err);
        if (!text)
                fail_msg("%s", err.msg);
        assert_line(text, line);
}

static void annotations_become_properties(void **state)
{
        assert_annotation(*state, "CollectMode", "'inactive-or-failed'",
                          "s CollectMode inactive-or-failed");
        assert_annotation(*state, "Description", "\"it's mine\"", "s Description it's mine");
        assert_annotation(*state, "SendSIGHUP", "true", "b SendSIGHUP 1");
        assert_annotation(*state, "TimeoutStopUSec", "uint64 5000000", "t TimeoutStopUSec 5000000");
        assert_annotation(*state, "TimeoutStopSec", "5", "t TimeoutStopUSec 5000000");
        assert_annotation(*state, "KillSignal", "-9", "i KillSignal -9");
        assert_annotation(*state, "KillSignal", "int32 9", "i KillSignal 9");
        assert_annotation(*state, "UMask", "uint32 18", "u UMask 18");
        assert_annotation(*state, "After", "['a.service', \"b.service\"]",
                          "as After a.service\tb.service");
        assert_annotation(*state, "After", "[]", "as After ");
}

static void annotations_that_are_no_properties_are_refused_by_name(void **state)
{
        static const char *const bad[][2] = {
                {"", "true"},         {"ab", "true"},       {"A.b", "true"},
                {"Abc\nx", "true"},   {"Abc", ""},          {"Abc", "maybe"},
                {"Abc", "'open"},     {"Abc", "'a' 'b'"},   {"Abc", "'a\\'b'"},
                {"Abc", "['a' 'b']"}, {"Abc", "['a',"},     {"Abc", "[1]"},
                {"Abc", "1.5"},       {"Abc", "uint32 -1"}, {"Abc", "3000000000"},
                {"Abc", "'a\nb'"},    {"AbcSec", "-1"},     {"AbcSec", "'1'"},
                {"Abc", "['a']x"},    {"Abc", "['a\tb']"},
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                char key[128];
                struct oci_key_value item = {.key = key, .value = (char *)bad[i][1]};
                struct error err = ERROR_INIT;

                (void)snprintf(key, sizeof(key), "org.systemd.property.%s", bad[i][0]);
                if (request(*state, &unified, NULL, &item, &err))
                        fail_msg("%s = %s is accepted", key, item.value);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_int_equal(strncmp(err.msg, "annotations.org.systemd.property.", 33), 0);
        }
}

static void other_annotations_are_of_no_matter(void **state)
{
        struct oci_key_value item = {.key = (char *)"org.example", .value = (char *)"x\ny"};
        struct error err = ERROR_INIT;
        char *text = request(*state, &unified, NULL, &item, &err);

        assert_non_null(text);
        assert_null(strstr(text, "x\ny"));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_scope_is_below_its_slice),
                CASE(what_is_not_given_is_as_runc_has_it),
                CASE(paths_that_name_no_scope_are_refused),
                CASE(the_unit_is_in_the_text_and_is_read_back),
                CASE(a_forged_unit_is_refused),
                CASE(a_start_names_the_unit_the_slice_and_the_process),
                CASE(limits_become_the_properties_of_v2),
                CASE(limits_become_the_properties_of_v1),
                CASE(unlimited_is_the_greatest_number),
                CASE(unified_files_become_properties_where_there_are_some),
                CASE(block_io_is_the_weight_on_v1_and_all_of_it_on_v2),
                CASE(a_bad_set_of_cpus_is_refused_by_name),
                CASE(devices_are_the_defaults_and_what_is_allowed),
                CASE(everything_allowed_is_the_policy_of_auto),
                CASE(an_update_has_what_is_given),
                CASE(annotations_become_properties),
                CASE(annotations_that_are_no_properties_are_refused_by_name),
                CASE(other_annotations_are_of_no_matter),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
