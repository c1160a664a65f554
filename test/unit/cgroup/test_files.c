/* SPDX-License-Identifier: Apache-2.0
 *
 * What is written to the files of controllers that this host may not have: plain files in a
 * directory stand in for them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/cgroup/convert.h"
#include "pkg/cgroup/entries.h"
#include "pkg/cgroup/internal.h"

#include "test/unit/unit.h"

struct place {
        char path[40];
        int fd;
        struct cgroup cg;
        struct error err;
};

static const char *const names[] = {
        "blkio.weight",
        "blkio.weight_device",
        "blkio.bfq.weight",
        "blkio.bfq.weight_device",
        "io.max",
        "io.weight",
        "io.bfq.weight",
        "rdma.max",
        "net_cls.classid",
        "net_prio.ifpriomap",
        "hugetlb.2MB.max",
        "hugetlb.2MB.rsvd.max",
        "memory.low",
        "pids.max",
        "blkio.leaf_weight",
        "cpu.weight",
        "cpuset.cpus",
};

static int set_up(void **state)
{
        struct place *p = calloc(1, sizeof(*p));

        assert_non_null(p);
        (void)snprintf(p->path, sizeof(p->path), "/tmp/belay-files-XXXXXX");
        assert_non_null(mkdtemp(p->path));
        p->fd = open(p->path, O_DIRECTORY | O_CLOEXEC);
        assert_true(p->fd >= 0);
        p->cg = (struct cgroup){.n_dirs = 1, .dirs = {{.path = p->path, .controllers = ""}}};
        *state = p;
        return 0;
}

static int tear_down(void **state)
{
        struct place *p = *state;

        for (size_t i = 0; i < UNIT_COUNT(names); i++)
                (void)unlinkat(p->fd, names[i], 0);
        close(p->fd);
        assert_int_equal(rmdir(p->path), 0);
        free(p);
        return 0;
}

static void put(struct place *p, const char *file, const char *text)
{
        assert_int_equal(file_write_atomic(p->fd, file, text, strlen(text), 0600), 0);
}

static void assert_text(struct place *p, const char *file, const char *want)
{
        _cleanup_free_ char *got = NULL;

        assert_int_equal(dir_read(p->fd, file, &got), 0);
        assert_string_equal(got, want);
}

static void on_v2(struct place *p)
{
        p->cg.dirs[0].is_v2 = true;
}

static void on_v1(struct place *p)
{
        p->cg.dirs[0].controllers = "blkio,net_cls,net_prio,rdma,pids";
}

static void assert_done(struct place *p, const struct oci_resources *r)
{
        p->err = ERROR_INIT;
        if (cgroup_update(&p->cg, r, &p->err) < 0)
                fail_msg("%s", p->err.msg);
}

static void assert_refused(struct place *p, const struct oci_resources *r, const char *text)
{
        p->err = ERROR_INIT;
        assert_int_equal(cgroup_update(&p->cg, r, &p->err), -1);
        if (!strstr(p->err.msg, text))
                fail_msg("'%s' is not in '%s'", text, p->err.msg);
}

static void weights_of_v1_are_those_of_cfq_or_of_bfq(void **state)
{
        struct place *p = *state;
        struct oci_weight_device device = {.major = 8, .minor = 16, .weight = 300};
        struct oci_resources r = {
                .block_io = {.weight = 500, .weight_devices = &device, .n_weight_devices = 1}};

        on_v1(p);
        assert_refused(p, &r, "linux.resources.blockIO.weight: this host has no 'blkio.weight'");
        put(p, "blkio.weight", "");
        put(p, "blkio.weight_device", "");
        assert_done(p, &r);
        assert_text(p, "blkio.weight", "500");
        assert_text(p, "blkio.weight_device", "8:16 300");
        put(p, "blkio.bfq.weight", "");
        put(p, "blkio.bfq.weight_device", "");
        r.block_io.weight = 700;
        assert_done(p, &r);
        assert_text(p, "blkio.weight", "500");
        assert_text(p, "blkio.bfq.weight", "700");
        assert_text(p, "blkio.bfq.weight_device", "8:16 300");
        r.block_io.leaf_weight = 20;
        assert_refused(p, &r, "blockIO.leafWeight: this host has no 'blkio.leaf_weight'");
}

static void weights_of_v2_are_those_of_bfq_or_converted(void **state)
{
        struct place *p = *state;
        struct oci_weight_device device = {.major = 8, .minor = 16, .weight = 1000};
        struct oci_resources r = {
                .block_io = {.weight = 100, .weight_devices = &device, .n_weight_devices = 1}};

        on_v2(p);
        assert_refused(p, &r, "linux.resources.blockIO.weight: this host has no 'io.weight'");
        put(p, "io.weight", "");
        r.block_io.n_weight_devices = 0;
        assert_done(p, &r);
        assert_text(p, "io.weight", "default 910");
        r.block_io = (struct oci_block_io){.weight_devices = &device, .n_weight_devices = 1};
        put(p, "io.weight", "");
        assert_done(p, &r);
        assert_text(p, "io.weight", "8:16 10000");
        put(p, "io.bfq.weight", "");
        assert_done(p, &r);
        assert_text(p, "io.bfq.weight", "8:16 1000");
        r.block_io = (struct oci_block_io){.leaf_weight = 10};
        assert_refused(p, &r, "blockIO.leafWeight: cgroup v2 has no such limit");
        assert_int_equal(cgroup_v2_io_weight(10), 1);
        assert_int_equal(cgroup_v2_io_weight(500), 4950);
        assert_int_equal(cgroup_v2_io_weight(1000), 10000);
}

static void throttles_of_v2_are_keys_of_one_file(void **state)
{
        static const char *const want[_OCI_THROTTLE_MAX] = {"8:0 rbps=77", "8:0 wbps=77",
                                                            "8:0 riops=77", "8:0 wiops=77"};
        struct place *p = *state;

        on_v2(p);
        for (size_t i = 0; i < _OCI_THROTTLE_MAX; i++) {
                struct oci_throttle_device device = {.major = 8, .rate = 77};
                struct oci_resources r = {0};

                r.block_io.throttle[i] = (struct oci_throttle_list){&device, 1};
                put(p, "io.max", "");
                assert_done(p, &r);
                assert_text(p, "io.max", want[i]);
                device.rate = 0;
                put(p, "io.max", "");
                assert_done(p, &r);
        }
        assert_text(p, "io.max", "8:0 wiops=max");
}

static void a_line_of_a_device_is_set_back_and_no_other(void **state)
{
        struct place *p = *state;
        struct oci_throttle_device device = {.major = 8, .minor = 16, .rate = 5};
        struct oci_resources r = {.has_pids = true, .n_rdma = 1};

        on_v2(p);
        r.rdma = &(struct oci_rdma){.device = (char *)"mlx5_1", .has_handles = true};
        r.has_pids = false;
        r.block_io.throttle[OCI_THROTTLE_WRITE_BPS] = (struct oci_throttle_list){&device, 1};
        put(p, "io.max", "8:0 wbps=1\n8:16 rbps=max wbps=9\n");
        assert_refused(p, &r, "rdma.hcaHandles: this host has no 'rdma.max'");
        /* A plain file keeps what was behind the last thing written. */
        assert_text(p, "io.max", "8:16 wbps=9\n:16 rbps=max wbps=9");
        put(p, "io.max", "8:0 wbps=1\n");
        assert_refused(p, &r, "rdma.hcaHandles");
        assert_text(p, "io.max", "8:16 wbps=max");
}

static void rdma_limits_are_keys_of_a_device(void **state)
{
        struct place *p = *state;
        struct oci_rdma rdma = {.device = (char *)"mlx5_1", .has_handles = true, .handles = 3};
        struct oci_resources r = {.rdma = &rdma, .n_rdma = 1};

        put(p, "rdma.max", "");
        assert_refused(p, &r, "rdma.hcaHandles: this host has no rdma controller");
        on_v1(p);
        assert_done(p, &r);
        assert_text(p, "rdma.max", "mlx5_1 hca_handle=3");
        on_v2(p);
        rdma = (struct oci_rdma){.device = (char *)"mlx4_0", .has_objects = true, .objects = 2000};
        assert_done(p, &r);
        assert_text(p, "rdma.max", "mlx4_0 hca_object=2000");
}

static void classes_and_priorities_are_v1_alone(void **state)
{
        struct place *p = *state;
        struct oci_net_priority priority = {.name = (char *)"eth0", .priority = 5};
        struct oci_resources r = {.network = {.has_class_id = true, .class_id = 0}};

        assert_done(p, &r); /* as every cgroup has it */
        r.network.class_id = 7;
        assert_refused(p, &r, "network.classID: this host has no net_cls controller");
        on_v1(p);
        put(p, "net_cls.classid", "");
        put(p, "net_prio.ifpriomap", "lo 0\neth0 0\n");
        assert_done(p, &r);
        assert_text(p, "net_cls.classid", "7");
        r.network = (struct oci_network){.priorities = &priority, .n_priorities = 1};
        put(p, "net_prio.ifpriomap", "");
        assert_done(p, &r);
        assert_text(p, "net_prio.ifpriomap", "eth0 5");
        on_v2(p);
        assert_refused(p, &r, "network.priorities: cgroup v2 has no such limit");
        r.network = (struct oci_network){.has_class_id = true};
        assert_refused(p, &r, "network.classID: cgroup v2 has no such limit");
}

static void huge_pages_are_limited_when_reserved_too(void **state)
{
        struct place *p = *state;
        struct oci_hugepage_limit huge = {.page_size = (char *)"2MB", .limit = 4096};
        struct oci_resources r = {.hugepage_limits = &huge, .n_hugepage_limits = 1};

        on_v2(p);
        put(p, "hugetlb.2MB.max", "");
        assert_done(p, &r); /* kernels before 5.7 have no other */
        put(p, "hugetlb.2MB.rsvd.max", "");
        huge.limit = 8192;
        assert_done(p, &r);
        assert_text(p, "hugetlb.2MB.max", "8192");
        assert_text(p, "hugetlb.2MB.rsvd.max", "8192");
}

static void what_cannot_be_set_back_is_named(void **state)
{
        struct place *p = *state;
        struct oci_unified files[] = {{.file = (char *)"cpu.weight", .value = (char *)"1"},
                                      {.file = (char *)"nosuch", .value = (char *)"1"}};
        struct oci_resources r = {.unified = files, .n_unified = 2};
        char *long_list = calloc(1, 20001);

        assert_non_null(long_list);
        memset(long_list, '1', 20000);
        on_v2(p);
        put(p, "cpu.weight", "");
        assert_int_equal(unlinkat(p->fd, "cpu.weight", 0), 0);
        /* A FIFO can be written to and not read: a stand-in for files such as memory.reclaim. */
        assert_int_equal(mkfifoat(p->fd, "cpu.weight", 0600), 0);
        {
                int reader = openat(p->fd, "cpu.weight", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

                assert_true(reader >= 0);
                assert_refused(p, &r, "linux.resources.unified['nosuch']");
                assert_non_null(strstr(p->err.msg, "cpu.weight' could not be set back"));
                close(reader);
        }
        /* And one whose text is longer than any buffer comes back as it was. */
        put(p, "cpuset.cpus", long_list);
        files[0].file = (char *)"cpuset.cpus";
        assert_refused(p, &r, "nosuch");
        assert_null(strstr(p->err.msg, "set back"));
        assert_text(p, "cpuset.cpus", long_list);
        free(long_list);
}

static void entries_are_found_by_their_whole_names(void **state)
{
        static const char text[] = "default 100\n8:1 rbps=1\n8:16 rbps=max wbps=22 x=\n8:2\n";
        const char *value;
        size_t len;

        assert_true(entry_find(text, "default", NULL, &value, &len));
        assert_memory_equal(value, "100", len);
        assert_true(entry_find(text, "8:16", "wbps", &value, &len));
        assert_int_equal(len, 2);
        assert_memory_equal(value, "22", len);
        assert_true(entry_find(text, "8:16", "x", &value, &len));
        assert_int_equal(len, 0);
        assert_false(entry_find(text, "8:16", "bps", &value, &len));
        assert_false(entry_find(text, "8:2", NULL, &value, &len));
        assert_false(entry_find(text, "8:160", NULL, &value, &len));
        assert_false(entry_find("", "8:160", NULL, &value, &len));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(weights_of_v1_are_those_of_cfq_or_of_bfq),
                CASE(weights_of_v2_are_those_of_bfq_or_converted),
                CASE(throttles_of_v2_are_keys_of_one_file),
                CASE(a_line_of_a_device_is_set_back_and_no_other),
                CASE(rdma_limits_are_keys_of_a_device),
                CASE(classes_and_priorities_are_v1_alone),
                CASE(huge_pages_are_limited_when_reserved_too),
                CASE(what_cannot_be_set_back_is_named),
                CASE(entries_are_found_by_their_whole_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
