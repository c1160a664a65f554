/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits on the hierarchies of this host, where they are v1.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/stats.h"

#include "test/unit/cgroup/harness.h"
#include "test/unit/unit.h"

enum { EXIT_SKIP = 77, MIB = 1 << 20 };

static void limits_arrive_in_their_files(void **state)
{
        struct harness *h = *state;
        struct error err;
        const struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_limit = true,
                           .limit = 64 * MIB,
                           .has_swap = true,
                           .swap = 96 * MIB,
                           .has_reservation = true,
                           .reservation = 32 * MIB,
                           .has_swappiness = true,
                           .swappiness = 10,
                           .has_kernel = true,
                           .has_kernel_tcp = true,
                           .has_use_hierarchy = true},
                .has_cpu = true,
                .cpu = {.has_shares = true,
                        .shares = 512,
                        .has_quota = true,
                        .quota = 20000,
                        .has_period = true,
                        .period = 50000,
                        .has_burst = true,
                        .burst = 10000,
                        .cpus = (char *)"0",
                        .mems = (char *)"0"},
                .has_pids = true,
                .pids_limit = 100,
        };

        assert_ok(harness_apply(&h->cg, &r, &err), err);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "67108864");
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "100663296");
        assert_file(&h->cg, "memory", "memory.soft_limit_in_bytes", "33554432");
        assert_file(&h->cg, "memory", "memory.swappiness", "10");
        assert_file(&h->cg, "cpu", "cpu.shares", "512");
        assert_file(&h->cg, "cpu", "cpu.cfs_quota_us", "20000");
        assert_file(&h->cg, "cpu", "cpu.cfs_period_us", "50000");
        assert_file(&h->cg, "cpu", "cpu.cfs_burst_us", "10000");
        assert_file(&h->cg, "cpuset", "cpuset.cpus", "0");
        assert_file(&h->cg, "pids", "pids.max", "100");
}

static void memory_and_swap_move_together_in_either_direction(void **state)
{
        struct harness *h = *state;

        harness_set_memory(h, 64 * MIB, 64 * MIB);
        harness_set_memory(h, 128 * MIB, 256 * MIB);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "134217728");
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "268435456");
        harness_set_memory(h, 32 * MIB, 48 * MIB);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "33554432");
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "50331648");
        harness_set_memory(h, -1, 0);
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "9223372036854771712");
        harness_set_memory(h, 64 * MIB, -1);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "67108864");
}

static void quota_and_period_move_together_in_either_direction(void **state)
{
        struct harness *h = *state;
        struct error err;
        static const struct {
                int64_t quota;
                uint64_t period;
                uint64_t burst;
        } steps[] = {{100000, 100000, 100000}, {2000, 10000, 1000}, {500000, 1000000, 500000}};
        struct oci_resources r = {
                .has_cpu = true, .cpu = {.has_quota = true, .has_period = true, .has_burst = true}};

        for (size_t i = 0; i < UNIT_COUNT(steps); i++) {
                char text[24];

                r.cpu.quota = steps[i].quota;
                r.cpu.period = steps[i].period;
                r.cpu.burst = steps[i].burst;
                assert_ok(cgroup_update(&h->cg, &r, &err), err);
                (void)snprintf(text, sizeof(text), "%lld", (long long)steps[i].quota);
                assert_file(&h->cg, "cpu", "cpu.cfs_quota_us", text);
        }
}

static void pids_limits_of_zero_and_below_are_one_and_none(void **state)
{
        struct harness *h = *state;
        struct error err;
        struct oci_resources r = {.has_pids = true, .pids_limit = 0};

        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "pids", "pids.max", "1");
        r.pids_limit = -1;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "pids", "pids.max", "max");
}

static void errors_name_the_field_and_what_was_changed_is_set_back(void **state)
{
        struct harness *h = *state;
        struct error err;
        struct oci_unified unified = {.file = (char *)"memory.high", .value = (char *)"1"};
        struct oci_resources cpus = {
                .has_memory = true,
                .memory = {.has_limit = true, .limit = 64 * MIB},
                .has_cpu = true,
                .cpu = {.has_shares = true, .shares = 99, .cpus = (char *)"4000"}};
        struct oci_resources swap = {
                .has_memory = true,
                .memory = {
                        .has_limit = true, .limit = 64 * MIB, .has_swap = true, .swap = 32 * MIB}};
        struct oci_resources v2 = {.unified = &unified, .n_unified = 1};
        _cleanup_free_ char *before = harness_read(&h->cg, "memory", "memory.limit_in_bytes");

        assert_error(cgroup_update(&h->cg, &cpus, &err), err,
                     "linux.resources.cpu.cpus: write '4000'");
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", before);
        assert_file(&h->cg, "cpu", "cpu.shares", "1024");
        assert_error(cgroup_update(&h->cg, &swap, &err), err, "linux.resources.memory.swap");
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", before);
        assert_error(cgroup_update(&h->cg, &v2, &err), err, "linux.resources.unified");
}

/* What the level above does not have cannot be given, and where CONFIG_RT_GROUP_SCHED is off there
 * is nothing to give. */
static void a_budget_for_real_time_is_a_part_of_that_above(void **state)
{
        struct harness *h = *state;
        struct oci_resources r = {
                .has_cpu = true,
                .cpu = {.has_rt_period = true,
                        .rt_period = 500000,
                        .has_rt_runtime = true,
                        .rt_runtime = 2000},
        };
        char *above = arena_printf(h->arena, "%s/../cpu.rt_runtime_us", harness_dir(&h->cg, "cpu"));
        struct error err;

        if (!harness_exists(above))
                skip();
        assert_error(cgroup_update(&h->cg, &r, &err), err, "linux.resources.cpu.realtimeRuntime");
        assert_file(&h->cg, "cpu", "cpu.rt_period_us", "1000000");
        if (file_write(AT_FDCWD, above, "10000") < 0)
                skip(); /* there is none, or none is left */
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "cpu", "cpu.rt_runtime_us", "2000");
        assert_file(&h->cg, "cpu", "cpu.rt_period_us", "500000");
}

static bool has_hugetlb_beside(void)
{
        _cleanup_free_ char *have = NULL;

        return file_read(AT_FDCWD, "/sys/fs/cgroup/unified/cgroup.controllers", 4096, &have,
                         NULL) == 0 &&
               strstr(have, "hugetlb");
}

/* As on a host whose init mounts v1's hierarchies by a list that has no hugetlb. */
static void hugepages_are_limited_and_counted_where_only_v2_has_them(void **state)
{
        struct harness *h = *state;
        struct oci_hugepage_limit huge = {.page_size = (char *)"2MB", .limit = 4 * MIB};
        struct oci_resources r = {.hugepage_limits = &huge, .n_hugepage_limits = 1};
        struct cgroup_stats_reader *reader = cgroup_stats_reader_new(&h->cg);
        struct cgroup_stats stats;
        bool is_known = false;
        struct error err;

        if (cgroup_find_v1(&h->cg, "hugetlb") || !cgroup_find_v2(&h->cg) || !has_hugetlb_beside()) {
                cgroup_stats_reader_free(reader);
                if (!cgroup_find_v1(&h->cg, "hugetlb"))
                        assert_error(cgroup_update(&h->cg, &r, &err), err,
                                     "linux.resources.hugepageLimits: this host has no hugetlb "
                                     "controller");
                skip();
        }
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "", "hugetlb.2MB.max", "4194304");
        assert_ok(cgroup_stats_read(reader, h->arena, &stats, &err), err);
        for (size_t i = 0; i < stats.n_hugetlb; i++) {
                is_known |= strcmp(stats.hugetlb[i].page_size, "2MB") == 0;
                assert_int_equal(stats.hugetlb[i].max, 0);
        }
        assert_true(is_known);
        cgroup_stats_reader_free(reader);
        huge.page_size = (char *)"3MB";
        assert_error(cgroup_update(&h->cg, &r, &err), err,
                     "linux.resources.hugepageLimits: this host has no 'hugetlb.3MB.max'");
}

static void a_missing_controller_is_refused_by_field(void **state)
{
        struct harness *h = *state;
        struct cgroup none = {.n_dirs = 1, .dirs = {*cgroup_find_v1(&h->cg, "cpu")}};
        struct oci_resources memory = {.has_memory = true,
                                       .memory = {.has_limit = true, .limit = MIB}};
        struct oci_resources ignored = {
                .has_memory = true, .memory = {.has_kernel = true, .has_disable_oom_killer = true}};
        struct oci_resources pids = {.has_pids = true, .pids_limit = 1};
        struct error err;

        assert_error(cgroup_update(&none, &memory, &err), err,
                     "linux.resources.memory.limit: this host has no memory controller");
        assert_error(cgroup_update(&none, &pids, &err), err,
                     "linux.resources.pids.limit: this host has no pids controller");
        assert_error(harness_apply(&none, NULL, &err), err, "no devices controller");
        assert_ok(cgroup_update(&none, &ignored, &err), err);
}

static void a_limit_below_the_usage_can_be_refused(void **state)
{
        struct harness *h = *state;
        struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_limit = true, .limit = 1, .check_before_update = true}};
        struct error err;

        (void)harness_child(h, &h->cg, NULL, NULL);
        (void)harness_wait(h, harness_child(h, &h->cg, harness_touch_memory, &(size_t){MIB}));
        assert_error(cgroup_update(&h->cg, &r, &err), err, "below the present usage");
}

/* A block device of the host, as "MAJ:MIN"; NULL if there is none. */
static const char *block_device(struct harness *h, struct oci_throttle_device *ret)
{
        _cleanup_free_ char *text = NULL;
        unsigned major;
        unsigned minor;

        if (file_read(AT_FDCWD, "/proc/partitions", 1 << 16, &text, NULL) < 0 ||
            !strstr(text, "\n\n") || sscanf(strstr(text, "\n\n"), "%u %u", &major, &minor) != 2)
                return NULL;
        ret->major = major;
        ret->minor = minor;
        return arena_printf(h->arena, "%u:%u", major, minor);
}

static void throttles_arrive_in_their_files_and_are_set_back(void **state)
{
        struct harness *h = *state;
        struct oci_throttle_device device = {.rate = MIB};
        const char *name = block_device(h, &device);
        struct oci_resources r = {.has_pids = false};
        struct oci_throttle_list list = {.items = &device, .n = 1};
        struct error err;

        if (!name || !cgroup_find_v1(&h->cg, "blkio"))
                return;
        for (size_t i = 0; i < _OCI_THROTTLE_MAX; i++)
                r.block_io.throttle[i] = list;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        name = arena_printf(h->arena, "%s 1048576", name);
        assert_file(&h->cg, "blkio", "blkio.throttle.read_bps_device", name);
        assert_file(&h->cg, "blkio", "blkio.throttle.write_bps_device", name);
        assert_file(&h->cg, "blkio", "blkio.throttle.read_iops_device", name);
        assert_file(&h->cg, "blkio", "blkio.throttle.write_iops_device", name);
        device.rate = 4096;
        r.rdma = &(struct oci_rdma){.device = (char *)"mlx5_1", .has_handles = true};
        r.n_rdma = 1;
        if (cgroup_find_v1(&h->cg, "rdma"))
                return;
        assert_error(cgroup_update(&h->cg, &r, &err), err,
                     "linux.resources.rdma.hcaHandles: this host has no rdma controller");
        assert_file(&h->cg, "blkio", "blkio.throttle.read_bps_device", name);
        r.n_rdma = 0;
        device.rate = 0;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "blkio", "blkio.throttle.read_bps_device", "");
        device.major = 4000;
        assert_error(cgroup_update(&h->cg, &r, &err), err,
                     "linux.resources.blockIO.throttleReadBpsDevice: write '4000:");
}

static void idle_and_shares_are_set_back_together(void **state)
{
        struct harness *h = *state;
        struct oci_resources r = {.has_cpu = true, .cpu = {.has_shares = true, .shares = 512}};
        struct error err;

        if (access(arena_printf(h->arena, "%s/cpu.idle", harness_dir(&h->cg, "cpu")), F_OK) < 0)
                return;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        r.cpu = (struct oci_cpu){.has_idle = true, .idle = 1, .cpus = (char *)"4000"};
        assert_error(cgroup_update(&h->cg, &r, &err), err, "cpu.cpus");
        assert_null(strstr(err.msg, "set back"));
        assert_file(&h->cg, "cpu", "cpu.idle", "0");
        assert_file(&h->cg, "cpu", "cpu.shares", "512");
        r.cpu.cpus = NULL;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "cpu", "cpu.idle", "1");
        r.cpu = (struct oci_cpu){.has_idle = true, .idle = 0, .has_shares = true, .shares = 100};
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "cpu", "cpu.idle", "0");
        assert_file(&h->cg, "cpu", "cpu.shares", "100");
}

static void the_oom_killer_is_disabled_and_enabled_again(void **state)
{
        struct harness *h = *state;
        struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_disable_oom_killer = true, .disable_oom_killer = true}};
        struct error err;
        _cleanup_free_ char *off = NULL;
        _cleanup_free_ char *kept = NULL;
        _cleanup_free_ char *on = NULL;

        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        off = harness_read(&h->cg, "memory", "memory.oom_control");
        assert_non_null(strstr(off, "oom_kill_disable 1"));
        r.memory.disable_oom_killer = false;
        r.has_cpu = true;
        r.cpu.cpus = (char *)"4000";
        assert_error(cgroup_update(&h->cg, &r, &err), err, "cpu.cpus");
        kept = harness_read(&h->cg, "memory", "memory.oom_control");
        assert_non_null(strstr(kept, "oom_kill_disable 1"));
        r.has_cpu = false;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        on = harness_read(&h->cg, "memory", "memory.oom_control");
        assert_non_null(strstr(on, "oom_kill_disable 0"));
}

static void only_the_fields_given_are_touched(void **state)
{
        struct harness *h = *state;
        struct oci_resources r = {
                .has_cpu = true,
                .cpu = {.has_shares = true, .shares = 300, .has_quota = true, .quota = 5000}};
        struct error err;

        harness_set_memory(h, 64 * MIB, 0);
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        r.cpu = (struct oci_cpu){.has_period = true, .period = 50000};
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "cpu", "cpu.shares", "300");
        assert_file(&h->cg, "cpu", "cpu.cfs_quota_us", "5000");
        assert_file(&h->cg, "cpu", "cpu.cfs_period_us", "50000");
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "67108864");
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_set_up, harness_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(limits_arrive_in_their_files),
                CASE(memory_and_swap_move_together_in_either_direction),
                CASE(quota_and_period_move_together_in_either_direction),
                CASE(pids_limits_of_zero_and_below_are_one_and_none),
                CASE(errors_name_the_field_and_what_was_changed_is_set_back),
                CASE(a_budget_for_real_time_is_a_part_of_that_above),
                CASE(hugepages_are_limited_and_counted_where_only_v2_has_them),
                CASE(a_missing_controller_is_refused_by_field),
                CASE(a_limit_below_the_usage_can_be_refused),
                CASE(throttles_arrive_in_their_files_and_are_set_back),
                CASE(idle_and_shares_are_set_back_together),
                CASE(the_oom_killer_is_disabled_and_enabled_again),
                CASE(only_the_fields_given_are_touched),
        };

        return harness_has_v1() ? cmocka_run_group_tests(tests, NULL, NULL) : EXIT_SKIP;
}
