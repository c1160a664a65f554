/* SPDX-License-Identifier: Apache-2.0
 *
 * What is shown of the statistics of either cgroup version.
 */
#include <stdlib.h>
#include <string.h>

#include "cmd/belay/metrics.h"
#include "test/unit/unit.h"

#define GIB (UINT64_C(1) << 30)

/* Packed and unpacked again, as they come from a shim. */
static void send(const ProtobufCMessage *message, struct metrics *ret)
{
        struct error err = ERROR_INIT;
        size_t len = protobuf_c_message_get_packed_size(message);
        uint8_t *data = malloc(len + 1);

        assert_non_null(data);
        protobuf_c_message_pack(message, data);
        assert_int_equal(metrics_unpack(ret, message->descriptor->name, data, len, &err), 0);
        free(data);
}

static void make_v1(struct metrics *ret)
{
        Io__Containerd__Cgroups__V1__Metrics m = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
        Io__Containerd__Cgroups__V1__CPUStat cpu = IO__CONTAINERD__CGROUPS__V1__CPUSTAT__INIT;
        Io__Containerd__Cgroups__V1__CPUUsage usage = IO__CONTAINERD__CGROUPS__V1__CPUUSAGE__INIT;
        Io__Containerd__Cgroups__V1__Throttle throttling =
                IO__CONTAINERD__CGROUPS__V1__THROTTLE__INIT;
        Io__Containerd__Cgroups__V1__MemoryStat memory =
                IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT;
        Io__Containerd__Cgroups__V1__MemoryEntry entry =
                IO__CONTAINERD__CGROUPS__V1__MEMORY_ENTRY__INIT;
        Io__Containerd__Cgroups__V1__PidsStat pids = IO__CONTAINERD__CGROUPS__V1__PIDS_STAT__INIT;
        Io__Containerd__Cgroups__V1__BlkIOStat blkio =
                IO__CONTAINERD__CGROUPS__V1__BLK_IOSTAT__INIT;
        Io__Containerd__Cgroups__V1__BlkIOEntry read =
                IO__CONTAINERD__CGROUPS__V1__BLK_IOENTRY__INIT;
        Io__Containerd__Cgroups__V1__BlkIOEntry written = read;
        Io__Containerd__Cgroups__V1__BlkIOEntry total = read;
        Io__Containerd__Cgroups__V1__BlkIOEntry *list[] = {&read, &written, &total};
        Io__Containerd__Cgroups__V1__HugetlbStat huge =
                IO__CONTAINERD__CGROUPS__V1__HUGETLB_STAT__INIT;
        Io__Containerd__Cgroups__V1__HugetlbStat *pages[] = {&huge};
        Io__Containerd__Cgroups__V1__MemoryOomControl oom =
                IO__CONTAINERD__CGROUPS__V1__MEMORY_OOM_CONTROL__INIT;
        uint64_t per_cpu[] = {2, 1};

        usage.total = 3;
        usage.user = 2;
        usage.per_cpu = per_cpu;
        usage.n_per_cpu = 2;
        throttling.periods = 10;
        throttling.throttled_periods = 4;
        cpu.usage = &usage;
        cpu.throttling = &throttling;
        memory.cache = 7;
        memory.pg_pg_in = 8;
        memory.hierarchical_swap_limit = 9;
        memory.total_inactive_file = 100;
        entry.usage = 1100;
        entry.max = 2000;
        entry.limit = 4000;
        memory.usage = &entry;
        pids.current = 5;
        read.op = (char *)"Read";
        read.major = 8;
        read.value = 11;
        written.op = (char *)"Write";
        written.major = 8;
        written.minor = 1;
        written.value = 12;
        total.op = (char *)"Total";
        total.value = 23;
        blkio.io_service_bytes_recursive = list;
        blkio.n_io_service_bytes_recursive = 3;
        huge.pagesize = (char *)"2MB";
        huge.usage = 13;
        oom.oom_kill = 6;
        m.cpu = &cpu;
        m.memory = &memory;
        m.pids = &pids;
        m.blkio = &blkio;
        m.hugetlb = pages;
        m.n_hugetlb = 1;
        m.memory_oom_control = &oom;
        send(&m.base, ret);
}

static void make_v2(struct metrics *ret)
{
        Io__Containerd__Cgroups__V2__Metrics m = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
        Io__Containerd__Cgroups__V2__CPUStat cpu = IO__CONTAINERD__CGROUPS__V2__CPUSTAT__INIT;
        Io__Containerd__Cgroups__V2__PSIStats psi = IO__CONTAINERD__CGROUPS__V2__PSISTATS__INIT;
        Io__Containerd__Cgroups__V2__PSIData some = IO__CONTAINERD__CGROUPS__V2__PSIDATA__INIT;
        Io__Containerd__Cgroups__V2__MemoryStat memory =
                IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
        Io__Containerd__Cgroups__V2__PidsStat pids = IO__CONTAINERD__CGROUPS__V2__PIDS_STAT__INIT;
        Io__Containerd__Cgroups__V2__IOStat io = IO__CONTAINERD__CGROUPS__V2__IOSTAT__INIT;
        Io__Containerd__Cgroups__V2__IOEntry entry = IO__CONTAINERD__CGROUPS__V2__IOENTRY__INIT;
        Io__Containerd__Cgroups__V2__IOEntry *list[] = {&entry};
        Io__Containerd__Cgroups__V2__MemoryEvents events =
                IO__CONTAINERD__CGROUPS__V2__MEMORY_EVENTS__INIT;

        some.avg10 = 2.5;
        some.total = 99;
        psi.some = &some;
        cpu.usage_usec = 3;
        cpu.user_usec = 2;
        cpu.system_usec = 1;
        cpu.nr_periods = 10;
        cpu.nr_throttled = 4;
        cpu.throttled_usec = 5;
        cpu.psi = &psi;
        memory.usage = 1100;
        memory.inactive_file = 100;
        memory.usage_limit = 4000;
        memory.swap_usage = 50;
        memory.swap_limit = 1000;
        memory.max_usage = 2000;
        memory.file = 7;
        pids.current = 5;
        pids.limit = UINT64_MAX;
        entry.major = 8;
        entry.rbytes = 11;
        entry.wbytes = 12;
        entry.rios = 1;
        io.usage = list;
        io.n_usage = 1;
        events.oom_kill = 6;
        m.cpu = &cpu;
        m.memory = &memory;
        m.pids = &pids;
        m.io = &io;
        m.memory_events = &events;
        send(&m.base, ret);
}

static void assert_numbers(const struct metrics_summary *s, uint64_t cpu_ns)
{
        assert_int_equal(s->cpu_ns, cpu_ns);
        assert_int_equal(s->memory, 1000);
        assert_int_equal(s->memory_limit, 4000);
        assert_int_equal(s->pids, 5);
        assert_true(s->pids_limit == UINT64_MAX);
        assert_int_equal(s->read_bytes, 11);
        assert_int_equal(s->written_bytes, 12);
        assert_int_equal(s->periods, 10);
        assert_int_equal(s->throttled_periods, 4);
        assert_int_equal(s->oom_kills, 6);
}

static void both_versions_tell_the_same_numbers(void **state)
{
        struct metrics metrics;
        struct metrics_summary s;

        (void)state;
        make_v1(&metrics);
        metrics_summarize(&metrics, &s);
        assert_numbers(&s, 3);
        assert_false(s.has_pressure);
        metrics_deinit(&metrics);
        make_v2(&metrics);
        metrics_summarize(&metrics, &s);
        assert_numbers(&s, 3000);
        assert_true(s.has_pressure);
        assert_true(s.cpu_pressure > 2.4 && s.cpu_pressure < 2.6);
        metrics_deinit(&metrics);
}

static void a_host_without_controllers_has_zeros_and_no_limits(void **state)
{
        static const char empty_v1[] =
                "{\"type\":\"stats\",\"id\":\"c\",\"data\":{\"cpu\":{\"usage\":{\"kernel\":0,"
                "\"user\":0},\"throttling\":{}},\"cpuset\":{},\"memory\":{\"usage\":{\"limit\":0,"
                "\"failcnt\":0},\"swap\":{\"limit\":0,\"failcnt\":0},\"kernel\":{\"limit\":0,"
                "\"failcnt\":0},\"kernelTCP\":{\"limit\":0,\"failcnt\":0}},\"pids\":{},\"blkio\":{},"
                "\"hugetlb\":{},\"intel_rdt\":{},\"network_interfaces\":null}}";
        const Io__Containerd__Cgroups__V1__Metrics v1 = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
        const Io__Containerd__Cgroups__V2__Metrics v2 = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
        const ProtobufCMessage *const empty[] = {&v1.base, &v2.base};

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(empty); i++) {
                struct metrics_summary s;
                struct metrics metrics;
                char *line;

                send(empty[i], &metrics);
                metrics_summarize(&metrics, &s);
                assert_int_equal(s.memory, 0);
                assert_true(s.memory_limit == UINT64_MAX && s.pids_limit == UINT64_MAX);
                assert_false(s.has_pressure);
                line = metrics_event(&metrics, "c");
                assert_string_equal(line, empty_v1);
                free(line);
                metrics_deinit(&metrics);
        }
}

static void contains(const char *text, const char *part)
{
        if (!strstr(text, part))
                fail_msg("%s\nis not in\n%s", part, text);
}

static void events_have_the_layout_of_runcs_on_v1(void **state)
{
        struct metrics metrics;
        char *line;

        (void)state;
        make_v1(&metrics);
        line = metrics_event(&metrics, "c");
        assert_non_null(line);
        assert_null(strchr(line, '\n'));
        contains(line, "{\"type\":\"stats\",\"id\":\"c\",\"data\":{");
        contains(line, "\"cpu\":{\"usage\":{\"total\":3,\"percpu\":[2,1],\"kernel\":0,\"user\":2},"
                       "\"throttling\":{\"periods\":10,\"throttledPeriods\":4}}");
        contains(line, "\"memory\":{\"cache\":7,\"usage\":{\"limit\":4000,\"usage\":1100,"
                       "\"max\":2000,\"failcnt\":0},\"swap\":");
        contains(line, "\"raw\":{\"cache\":7,");
        contains(line, "\"pgpgin\":8,");
        contains(line, "\"hierarchical_memsw_limit\":9,");
        contains(line, "\"total_inactive_file\":100");
        contains(line, "\"pids\":{\"current\":5}");
        contains(line, "\"blkio\":{\"ioServiceBytesRecursive\":[{\"major\":8,\"op\":\"Read\","
                       "\"value\":11},{\"major\":8,\"minor\":1,\"op\":\"Write\",\"value\":12},"
                       "{\"op\":\"Total\",\"value\":23}]}");
        contains(line, "\"hugetlb\":{\"2MB\":{\"usage\":13,\"failcnt\":0}}");
        free(line);
        metrics_deinit(&metrics);
}

static void events_on_v2_have_the_names_and_units_of_v1(void **state)
{
        struct metrics metrics;
        char *line;

        (void)state;
        make_v2(&metrics);
        line = metrics_event(&metrics, "c");
        assert_non_null(line);
        contains(line, "\"usage\":{\"total\":3000,\"kernel\":1000,\"user\":2000}");
        contains(line, "\"throttling\":{\"periods\":10,\"throttledPeriods\":4,"
                       "\"throttledTime\":5000}");
        contains(line, "\"psi\":{\"some\":{\"avg10\":2.5,");
        contains(line, "\"usage\":{\"limit\":4000,\"usage\":1100,\"max\":2000,\"failcnt\":0}");
        contains(line, "\"swap\":{\"limit\":5000,\"usage\":1150,\"failcnt\":0}");
        contains(line, "\"file\":7,");
        assert_null(strstr(line, "swap_limit"));
        contains(line, "\"pids\":{\"current\":5}");
        contains(line, "\"ioServicedRecursive\":[{\"major\":8,\"op\":\"Read\",\"value\":1},"
                       "{\"major\":8,\"op\":\"Write\"}]");
        free(line);
        metrics_deinit(&metrics);
        line = metrics_oom_event("c");
        assert_string_equal(line, "{\"type\":\"oom\",\"id\":\"c\"}");
        free(line);
}

static const struct metrics_row busy = {
        .id = "busy",
        .now = {.cpu_ns = 3500000000,
                .memory = 3 * GIB / 2,
                .memory_limit = 2 * GIB,
                .pids = 7,
                .pids_limit = 16,
                .read_bytes = 512,
                .written_bytes = 200 << 20,
                .periods = 30,
                .throttled_periods = 15,
                .has_pressure = true,
                .cpu_pressure = 12.34},
        .before = {.cpu_ns = 500000000, .periods = 10, .throttled_periods = 10},
        .elapsed_ns = 2000000000,
};
static const struct metrics_row idle = {
        .id = "i",
        .now = {.memory_limit = UINT64_MAX, .pids = 1, .pids_limit = UINT64_MAX},
};

static void people_get_a_table(void **state)
{
        const struct metrics_row rows[] = {busy, idle};
        char *table = metrics_table(rows, 2, ";\n");

        (void)state;
        assert_string_equal(
                table,
                "ID        CPU  MEMORY / LIMIT        MEMORY  PIDS / LIMIT   READ / WRITTEN        "
                "THROTTLED  CPU / MEMORY / IO PRESSURE;\n"
                "busy   150.0%  1.5GiB / 2.0GiB        75.0%  7 / 16         512B / 200MiB         "
                "    25.0%  12.3 / 0.0 / 0.0;\n"
                "i           -  0B / none                  -  1 / none       0B / 0B               "
                "        -  -;\n");
        free(table);
}

static void without_pressure_there_is_no_column_for_it(void **state)
{
        char *table = metrics_table(&idle, 1, "\n");

        (void)state;
        assert_null(strstr(table, "PRESSURE"));
        free(table);
        table = metrics_table(NULL, 0, "\n");
        assert_null(strchr(strchr(table, '\n') + 1, '\n'));
        free(table);
}

static void programs_get_a_line(void **state)
{
        char *line = metrics_row_json(&busy);

        (void)state;
        contains(line, "{\"id\":\"busy\",\"cpu_percent\":150.0,\"cpu_ns\":3500000000,"
                       "\"memory\":1610612736,\"memory_limit\":2147483648,\"pids\":7,"
                       "\"pids_limit\":16,");
        contains(line, "\"pressure\":{\"cpu\":12.34,");
        free(line);
        line = metrics_row_json(&idle);
        contains(line, "\"cpu_percent\":null,");
        contains(line, "\"memory_limit\":null,");
        assert_null(strstr(line, "pressure"));
        free(line);
}

static void a_counter_that_went_back_is_no_use_at_all(void **state)
{
        struct metrics_row row = {.before = {.cpu_ns = 5, .periods = 5}, .elapsed_ns = 1};

        (void)state;
        assert_true(metrics_cpu_percent(&row) == 0);
        assert_true(metrics_throttled_percent(&row) < 0);
}

static void what_is_no_message_is_refused(void **state)
{
        static const uint8_t garbage[] = {0x0a, 0xff, 0xff};
        struct error err = ERROR_INIT;
        struct metrics metrics;

        (void)state;
        assert_int_equal(metrics_unpack(&metrics, "what.Ever", garbage, 0, &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        assert_int_equal(metrics_unpack(&metrics,
                                        "type.googleapis.com/io.containerd.cgroups.v2.Metrics",
                                        garbage, sizeof(garbage), &err),
                         -1);
        assert_int_equal(err.code, STATUS_INTERNAL);
        metrics_deinit(&metrics);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(both_versions_tell_the_same_numbers),
                cmocka_unit_test(a_host_without_controllers_has_zeros_and_no_limits),
                cmocka_unit_test(events_have_the_layout_of_runcs_on_v1),
                cmocka_unit_test(events_on_v2_have_the_names_and_units_of_v1),
                cmocka_unit_test(people_get_a_table),
                cmocka_unit_test(without_pressure_there_is_no_column_for_it),
                cmocka_unit_test(programs_get_a_line),
                cmocka_unit_test(a_counter_that_went_back_is_no_use_at_all),
                cmocka_unit_test(what_is_no_message_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
