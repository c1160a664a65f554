/* SPDX-License-Identifier: Apache-2.0
 *
 * The parsers, on what kernels have written; and the reader, on directories that stand for cgroups.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/cgroup/stats.h"
#include "pkg/cgroup/stats_parse.h"

#include "test/unit/unit.h"

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

struct two {
        uint64_t a;
        uint64_t b;
};

static const struct stats_key two_keys[] = {
        {"a", 1, offsetof(struct two, a)},
        {"bb", 2, offsetof(struct two, b)},
};

static void keys_are_found_in_any_order_and_whole_only(void **state)
{
        struct two two = {7, 7};

        (void)state;
        stats_parse_keys("x 1\nbb 5\nbbb 6\na 4\na_ 9\n", two_keys, 2, &two);
        assert_int_equal(two.a, 4);
        assert_int_equal(two.b, 5);
        two = (struct two){7, 7};
        stats_parse_keys("a\nbb", two_keys, 2, &two);
        assert_int_equal(two.a, 7);
        assert_int_equal(two.b, 7);
}

static void numbers_beyond_64_bits_and_max_are_the_largest(void **state)
{
        (void)state;
        assert_int_equal(stats_parse_number("18446744073709551615\n"), UINT64_MAX);
        assert_int_equal(stats_parse_number("18446744073709551616\n"), UINT64_MAX);
        assert_int_equal(stats_parse_number("max\n"), UINT64_MAX);
        assert_int_equal(stats_parse_number(""), 0);
        assert_int_equal(stats_parse_number("12 34"), 12);
}

static void a_list_of_cpus_has_one_number_each(void **state)
{
        uint64_t *items = NULL;
        size_t n = 0;

        assert_int_equal(stats_parse_list("8830713653691 9567330418018 \n", *state, &items, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(items[0], 8830713653691);
        assert_int_equal(items[1], 9567330418018);
        assert_int_equal(stats_parse_list("", *state, &items, &n), 0);
        assert_int_equal(n, 0);
}

static void pressure_has_averages_and_totals(void **state)
{
        struct cgroup_psi psi = {0};

        (void)state;
        stats_parse_psi("some avg10=1.50 avg60=0.07 avg300=100.00 total=123456\n"
                        "full avg10=0.25 avg60=0.00 avg300=0.00 total=99\n",
                        &psi);
        assert_true(psi.is_known);
        assert_true(psi.some.avg10 == 1.5 && psi.some.avg60 == 0.07 && psi.some.avg300 == 100.0);
        assert_int_equal(psi.some.total, 123456);
        assert_true(psi.full.avg10 == 0.25);
        assert_int_equal(psi.full.total, 99);
        psi = (struct cgroup_psi){0};
        stats_parse_psi("", &psi);
        assert_false(psi.is_known);
}

static void blkio_rows_have_a_device_an_operation_and_a_value(void **state)
{
        struct cgroup_blkio_list list = {0};

        assert_int_equal(stats_parse_blkio("8:0 Read 4096\n8:0 Write 12\n254:16 77\nTotal 4108\n"
                                           "8:0 Overlongoperation 1\n8 0 Read 1\n8:0 Read\n",
                                           *state, &list),
                         0);
        assert_int_equal(list.n, 3);
        assert_int_equal(list.items[0].major, 8);
        assert_string_equal(list.items[0].op, "Read");
        assert_int_equal(list.items[1].value, 12);
        assert_string_equal(list.items[2].op, "");
        assert_int_equal(list.items[2].minor, 16);
        assert_int_equal(list.items[2].value, 77);
}

static void io_rows_are_read_by_their_keys(void **state)
{
        struct cgroup_io_entry *items = NULL;
        size_t n = 0;

        assert_int_equal(stats_parse_io("8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 "
                                        "dbytes=0 dios=0\n253:0 wios=3\n",
                                        *state, &items, &n),
                         0);
        assert_int_equal(n, 2);
        assert_int_equal(items[0].minor, 16);
        assert_int_equal(items[0].rbytes, 1459200);
        assert_int_equal(items[0].wbytes, 314773504);
        assert_int_equal(items[0].rios, 192);
        assert_int_equal(items[0].wios, 353);
        assert_int_equal(items[1].rios, 0);
        assert_int_equal(items[1].wios, 3);
}

static void rdma_rows_have_a_device_and_two_counts(void **state)
{
        struct cgroup_rdma_list list = {0};

        assert_int_equal(stats_parse_rdma("mlx4_0 hca_handle=2 hca_object=2000\n"
                                          "ocrdma1 hca_handle=3 hca_object=max\n",
                                          *state, &list),
                         0);
        assert_int_equal(list.n, 2);
        assert_string_equal(list.items[0].device, "mlx4_0");
        assert_int_equal(list.items[0].hca_handles, 2);
        assert_int_equal(list.items[0].hca_objects, 2000);
        assert_int_equal(list.items[1].hca_objects, UINT64_MAX);
}

static void a_page_size_is_in_the_file_name(void **state)
{
        char size[CGROUP_PAGE_SIZE_NAME_MAX];

        (void)state;
        assert_true(stats_parse_hugetlb_name("hugetlb.2MB.current", ".current", size));
        assert_string_equal(size, "2MB");
        assert_false(stats_parse_hugetlb_name("hugetlb.2MB.rsvd.current", ".current", size));
        assert_false(stats_parse_hugetlb_name("hugetlb..current", ".current", size));
        assert_false(stats_parse_hugetlb_name("hugetlb.", ".current", size));
        assert_false(
                stats_parse_hugetlb_name("hugetlb.12345678901234567890.current", ".current", size));
}

/* ---- The reader, on plain files ---- */

static char root[] = "/tmp/belay-stats-XXXXXX";

static void write_file(const char *dir, const char *name, const char *text)
{
        char path[256];
        int fd;

        assert_true(snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path));
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
        close(fd);
}

static int dir_set_up(void **state)
{
        (void)snprintf(root, sizeof(root), "/tmp/belay-stats-XXXXXX");
        return mkdtemp(root) ? set_up(state) : -1;
}

static int dir_tear_down(void **state)
{
        tear_down(state);
        if (access(root, F_OK) == 0) {
                pid_t pid = fork();

                if (pid == 0) {
                        execl("/bin/rm", "rm", "-rf", root, NULL);
                        _exit(127);
                }
                assert_int_equal(waitpid(pid, NULL, 0), pid);
        }
        return 0;
}

static void v2_numbers_come_from_the_files_of_one_directory(void **state)
{
        struct cgroup cg = {.dirs = {{.path = root, .controllers = "", .is_v2 = true}},
                            .n_dirs = 1};
        struct cgroup_stats_reader *reader = cgroup_stats_reader_new(&cg);
        struct cgroup_stats stats;
        struct error err = ERROR_INIT;

        write_file(root, "pids.max", "max\n");
        write_file(root, "pids.current", "3\n");
        write_file(root, "cpu.stat", "usage_usec 9\nuser_usec 4\nsystem_usec 5\nburst_usec 6\n");
        write_file(root, "memory.stat", "anon 10\nfile 20\nworkingset_activate_file 30\n");
        write_file(root, "memory.max", "max\n");
        write_file(root, "memory.peak", "77\n");
        write_file(root, "memory.events", "low 0\noom_kill 2\noom_group_kill 1\n");
        write_file(root, "hugetlb.2MB.current", "4\n");
        write_file(root, "hugetlb.2MB.max", "max\n");
        write_file(root, "hugetlb.2MB.events", "max 5\n");
        assert_int_equal(cgroup_stats_read(reader, *state, &stats, &err), 0);
        assert_true(stats.is_v2);
        assert_int_equal(stats.v2.pids_current, 3);
        assert_int_equal(stats.v2.pids_limit, UINT64_MAX);
        assert_int_equal(stats.v2.cpu.system_usec, 5);
        assert_int_equal(stats.v2.cpu.burst_usec, 6);
        assert_int_equal(stats.v2.memory.file, 20);
        assert_int_equal(stats.v2.memory.workingset_activate_file, 30);
        assert_int_equal(stats.v2.usage_limit, UINT64_MAX);
        assert_int_equal(stats.v2.max_usage, 77);
        assert_true(stats.v2.has_memory_events);
        assert_int_equal(stats.v2.memory_events.oom_kill, 2);
        assert_int_equal(stats.v2.memory_events.oom_group_kill, 1);
        assert_false(stats.v2.cpu_psi.is_known);
        assert_int_equal(stats.n_hugetlb, 1);
        assert_string_equal(stats.hugetlb[0].page_size, "2MB");
        assert_int_equal(stats.hugetlb[0].usage, 4);
        assert_int_equal(stats.hugetlb[0].failcnt, 5);
        write_file(root, "pids.current", "4\n");
        assert_int_equal(cgroup_stats_read(reader, *state, &stats, &err), 0);
        assert_int_equal(stats.v2.pids_current, 4);
        cgroup_stats_reader_free(reader);
}

static void v1_numbers_come_from_the_controllers(void **state)
{
        struct cgroup cg = {
                .dirs = {{.path = root, .controllers = "cpu,cpuacct"},
                         {.path = root, .controllers = "memory"},
                         {.path = root, .controllers = "blkio"},
                         {.path = root, .controllers = "", .is_v2 = true}},
                .n_dirs = 4,
        };
        struct cgroup_stats_reader *reader = cgroup_stats_reader_new(&cg);
        struct cgroup_stats stats;
        struct error err = ERROR_INIT;

        write_file(root, "cpu.stat", "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n");
        write_file(root, "cpuacct.stat", "user 5\nsystem 6\n");
        write_file(root, "cpuacct.usage", "123\n");
        write_file(root, "cpuacct.usage_percpu", "100 23 \n");
        write_file(root, "memory.stat", "cache 1\npgpgin 2\nhierarchical_memsw_limit 3\n");
        write_file(root, "memory.kmem.tcp.failcnt", "9\n");
        write_file(root, "memory.memsw.limit_in_bytes", "8\n");
        write_file(root, "blkio.throttle.io_serviced", "8:0 Read 1\n8:0 Total 1\nTotal 1\n");
        write_file(root, "pids.current", "3\n");
        assert_int_equal(cgroup_stats_read(reader, *state, &stats, &err), 0);
        assert_false(stats.is_v2);
        assert_false(stats.v1.has_pids);
        assert_int_equal(stats.v1.throttling.throttled_periods, 2);
        assert_int_equal(stats.v1.cpu_user, 50000000);
        assert_int_equal(stats.v1.cpu_kernel, 60000000);
        assert_int_equal(stats.v1.cpu_total, 123);
        assert_int_equal(stats.v1.n_per_cpu, 2);
        assert_int_equal(stats.v1.per_cpu[1], 23);
        assert_int_equal(stats.v1.memory.pg_pg_in, 2);
        assert_int_equal(stats.v1.memory.hierarchical_swap_limit, 3);
        assert_int_equal(stats.v1.memory_entries[CGROUP_MEMORY_KERNEL_TCP].failcnt, 9);
        assert_int_equal(stats.v1.memory_entries[CGROUP_MEMORY_SWAP].limit, 8);
        assert_int_equal(stats.v1.blkio[CGROUP_IO_SERVICED].n, 2);
        assert_int_equal(stats.v1.blkio[CGROUP_IO_SERVICE_BYTES].n, 0);
        cgroup_stats_reader_free(reader);
}

/* Each file that need not be read has a number in it that the kernel would never have put there. */
static void v1_numbers_that_another_file_tells_are_not_read_again(void **state)
{
        struct cgroup cg = {
                .dirs = {{.path = root, .controllers = "cpuacct,memory,blkio"}},
                .n_dirs = 1,
        };
        struct cgroup_stats_reader *reader = cgroup_stats_reader_new(&cg);
        const uint64_t none = (uint64_t)LONG_MAX / (uint64_t)sysconf(_SC_PAGESIZE) *
                              (uint64_t)sysconf(_SC_PAGESIZE);
        const struct cgroup_memory_entry *entries;
        struct cgroup_stats stats;
        struct error err = ERROR_INIT;
        char text[128];

        (void)snprintf(text, sizeof(text),
                       "hierarchical_memory_limit 4096\nhierarchical_memsw_limit %llu\n",
                       (unsigned long long)none);
        write_file(root, "memory.stat", text);
        write_file(root, "memory.limit_in_bytes", "8192\n");
        write_file(root, "memory.memsw.limit_in_bytes", "1\n");
        write_file(root, "memory.memsw.max_usage_in_bytes", "6\n");
        write_file(root, "memory.memsw.usage_in_bytes", "5\n");
        write_file(root, "memory.kmem.tcp.max_usage_in_bytes", "0\n");
        write_file(root, "memory.kmem.tcp.usage_in_bytes", "1\n");
        write_file(root, "memory.kmem.usage_in_bytes", "7\n");
        write_file(root, "cpuacct.usage_percpu", "100 23\n");
        write_file(root, "cpuacct.usage", "1\n");
        write_file(root, "blkio.throttle.io_service_bytes", "Total 0\n");
        write_file(root, "blkio.throttle.io_serviced", "8:0 Read 1\n");
        assert_int_equal(cgroup_stats_read(reader, *state, &stats, &err), 0);
        entries = stats.v1.memory_entries;
        assert_int_equal(entries[CGROUP_MEMORY_USAGE].limit, 8192);
        assert_int_equal(entries[CGROUP_MEMORY_SWAP].limit, none);
        assert_int_equal(entries[CGROUP_MEMORY_SWAP].usage, 5);
        assert_int_equal(entries[CGROUP_MEMORY_KERNEL_TCP].usage, 0);
        assert_int_equal(entries[CGROUP_MEMORY_KERNEL].usage, 7);
        assert_int_equal(stats.v1.cpu_total, 123);
        assert_int_equal(stats.v1.blkio[CGROUP_IO_SERVICED].n, 0);
        cgroup_stats_reader_free(reader);
}

static void a_cgroup_that_is_gone_is_not_found(void **state)
{
        struct cgroup cg = {.dirs = {{.path = "/nonexistent", .controllers = "", .is_v2 = true}},
                            .n_dirs = 1};
        struct cgroup_stats_reader *reader = cgroup_stats_reader_new(&cg);
        struct cgroup_stats stats;
        struct error err = ERROR_INIT;

        assert_int_equal(cgroup_stats_read(reader, *state, &stats, &err), -1);
        assert_int_equal(err.code, STATUS_NOT_FOUND);
        assert_string_equal(err.msg, "cgroup does not exist");
        cgroup_stats_reader_free(reader);
}

static void a_text_longer_than_the_buffer_is_read_whole(void **state)
{
        struct cgroup cg = {.dirs = {{.path = root, .controllers = "", .is_v2 = true}},
                            .n_dirs = 1};
        struct cgroup_stats_reader *reader = cgroup_stats_reader_new(&cg);
        struct cgroup_stats stats;
        struct error err = ERROR_INIT;
        enum { ROWS = 1000, ROW = 32 };
        static char text[ROWS * ROW + 1];
        size_t n = 0;

        for (int i = 0; i < ROWS; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "8:%d rbytes=%d\n", i, i);
        write_file(root, "io.stat", text);
        assert_int_equal(cgroup_stats_read(reader, *state, &stats, &err), 0);
        assert_int_equal(stats.v2.n_io, ROWS);
        assert_int_equal(stats.v2.io[ROWS - 1].rbytes, ROWS - 1);
        cgroup_stats_reader_free(reader);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_are_found_in_any_order_and_whole_only),
                cmocka_unit_test(numbers_beyond_64_bits_and_max_are_the_largest),
                cmocka_unit_test_setup_teardown(a_list_of_cpus_has_one_number_each, set_up,
                                                tear_down),
                cmocka_unit_test(pressure_has_averages_and_totals),
                cmocka_unit_test_setup_teardown(blkio_rows_have_a_device_an_operation_and_a_value,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(io_rows_are_read_by_their_keys, set_up, tear_down),
                cmocka_unit_test_setup_teardown(rdma_rows_have_a_device_and_two_counts, set_up,
                                                tear_down),
                cmocka_unit_test(a_page_size_is_in_the_file_name),
                cmocka_unit_test_setup_teardown(v2_numbers_come_from_the_files_of_one_directory,
                                                dir_set_up, dir_tear_down),
                cmocka_unit_test_setup_teardown(v1_numbers_come_from_the_controllers, dir_set_up,
                                                dir_tear_down),
                cmocka_unit_test_setup_teardown(
                        v1_numbers_that_another_file_tells_are_not_read_again, dir_set_up,
                        dir_tear_down),
                cmocka_unit_test_setup_teardown(a_cgroup_that_is_gone_is_not_found, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_text_longer_than_the_buffer_is_read_whole,
                                                dir_set_up, dir_tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
