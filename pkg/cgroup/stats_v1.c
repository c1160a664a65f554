/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of v1 (Documentation/admin-guide/cgroup-v1) and what they become. blkio's own files
 * were those of the CFQ scheduler, which is gone since Linux 5.0; where they are missing or empty
 * the throttling layer's count.
 *
 * A read costs about as much as everything else that is done for a number, so what another file
 * has told already is not read once more: usage of CPUs is the sum of those of each, a limit is
 * none where no cgroup up to the root has one, what has never been in use is not in use, and the
 * throttling layer's two lists have the same devices.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/cgroup/stats_reader.h"

enum {
        PIDS_CURRENT,
        PIDS_MAX,
        CPU_STAT,
        CPUACCT_STAT,
        CPUACCT_USAGE,
        CPUACCT_PER_CPU,
        MEMORY_STAT,
        MEMORY_OOM_CONTROL,
        MEMORY_ENTRIES, /* four files for each cgroup_memory_kind */
        BLKIO_CFQ = MEMORY_ENTRIES + 4 * _CGROUP_MEMORY_KIND_MAX, /* by cgroup_blkio_kind */
        BLKIO_THROTTLE_BYTES = BLKIO_CFQ + _CGROUP_BLKIO_KIND_MAX,
        BLKIO_THROTTLE_SERVICED,
        RDMA_CURRENT,
        RDMA_MAX,
        _FILES_MAX
};

enum { NANOSECONDS_IN_SECOND = 1000000000 };

#define MEMORY_FILES(kind, prefix)                                                               \
        [MEMORY_ENTRIES +                                                                        \
                4 * (kind)] = {"memory", "memory." prefix "limit_in_bytes"},                     \
                    [MEMORY_ENTRIES + 4 * (kind) + 1] = {"memory",                               \
                                                         "memory." prefix "usage_in_bytes"},     \
                    [MEMORY_ENTRIES + 4 * (kind) + 2] = {"memory",                               \
                                                         "memory." prefix "max_usage_in_bytes"}, \
                    [MEMORY_ENTRIES + 4 * (kind) + 3] = {"memory", "memory." prefix "failcnt"}

static const struct stats_file files[_FILES_MAX] = {
        [PIDS_CURRENT] = {"pids", "pids.current"},
        [PIDS_MAX] = {"pids", "pids.max"},
        [CPU_STAT] = {"cpu", "cpu.stat"},
        [CPUACCT_STAT] = {"cpuacct", "cpuacct.stat"},
        [CPUACCT_USAGE] = {"cpuacct", "cpuacct.usage"},
        [CPUACCT_PER_CPU] = {"cpuacct", "cpuacct.usage_percpu"},
        [MEMORY_STAT] = {"memory", "memory.stat"},
        [MEMORY_OOM_CONTROL] = {"memory", "memory.oom_control"},
        MEMORY_FILES(CGROUP_MEMORY_USAGE, ""),
        MEMORY_FILES(CGROUP_MEMORY_SWAP, "memsw."),
        MEMORY_FILES(CGROUP_MEMORY_KERNEL, "kmem."),
        MEMORY_FILES(CGROUP_MEMORY_KERNEL_TCP, "kmem.tcp."),
        [BLKIO_CFQ + CGROUP_IO_SERVICE_BYTES] = {"blkio", "blkio.io_service_bytes_recursive"},
        [BLKIO_CFQ + CGROUP_IO_SERVICED] = {"blkio", "blkio.io_serviced_recursive"},
        [BLKIO_CFQ + CGROUP_IO_QUEUED] = {"blkio", "blkio.io_queued_recursive"},
        [BLKIO_CFQ + CGROUP_IO_SERVICE_TIME] = {"blkio", "blkio.io_service_time_recursive"},
        [BLKIO_CFQ + CGROUP_IO_WAIT_TIME] = {"blkio", "blkio.io_wait_time_recursive"},
        [BLKIO_CFQ + CGROUP_IO_MERGED] = {"blkio", "blkio.io_merged_recursive"},
        [BLKIO_CFQ + CGROUP_IO_TIME] = {"blkio", "blkio.time_recursive"},
        [BLKIO_CFQ + CGROUP_IO_SECTORS] = {"blkio", "blkio.sectors_recursive"},
        [BLKIO_THROTTLE_BYTES] = {"blkio", "blkio.throttle.io_service_bytes"},
        [BLKIO_THROTTLE_SERVICED] = {"blkio", "blkio.throttle.io_serviced"},
        [RDMA_CURRENT] = {"rdma", "rdma.current"},
        [RDMA_MAX] = {"rdma", "rdma.max"},
};
_Static_assert((int)_FILES_MAX <= (int)STATS_FILES_MAX, "the reader has room");

#define KEY(key, name) {#key, sizeof(#key) - 1, offsetof(struct cgroup_stats_v1, SECTION.name)},

#define SECTION memory
static const struct stats_key memory_keys[] = {CGROUP_MEMORY_V1(KEY)};
#undef SECTION
#define SECTION throttling
static const struct stats_key throttle_keys[] = {CGROUP_THROTTLE_V1(KEY)};
#undef SECTION
#define SECTION oom_control
static const struct stats_key oom_keys[] = {CGROUP_OOM_CONTROL(KEY)};
#undef SECTION

static const struct stats_key cpuacct_keys[] = {
        {"user", 4, offsetof(struct cgroup_stats_v1, cpu_user)},
        {"system", 6, offsetof(struct cgroup_stats_v1, cpu_kernel)},
};

#define N(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t ticks_to_ns(uint64_t ticks)
{
        static const uint64_t ticks_in_second = 100; /* USER_HZ, of every architecture with v1 */

        return ticks * (NANOSECONDS_IN_SECOND / ticks_in_second);
}

static int read_cpu(struct stats_read *read, struct cgroup_stats_v1 *v1)
{
        const char *text;

        stats_keys(read, CPU_STAT, throttle_keys, N(throttle_keys), v1);
        stats_keys(read, CPUACCT_STAT, cpuacct_keys, N(cpuacct_keys), v1);
        v1->cpu_user = ticks_to_ns(v1->cpu_user);
        v1->cpu_kernel = ticks_to_ns(v1->cpu_kernel);
        text = stats_text(read, CPUACCT_PER_CPU);
        if (!text) {
                v1->cpu_total = stats_number(read, CPUACCT_USAGE);
                return 0;
        }
        if (stats_parse_list(text, stats_arena(read), &v1->per_cpu, &v1->n_per_cpu) < 0)
                return -1;
        for (size_t i = 0; i < v1->n_per_cpu; i++)
                v1->cpu_total += v1->per_cpu[i];
        return 0;
}

/* What stands in a file when there is no limit; 0 where that is not known. */
static uint64_t no_limit(void)
{
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

        return sizeof(long) == sizeof(uint64_t) ? (uint64_t)LONG_MAX / page * page : 0;
}

/* `lowest` is the lowest limit from here up to the root, 0 if that is not known. */
static void read_memory_entry(struct stats_read *read, size_t first, uint64_t lowest,
                              struct cgroup_memory_entry *ret)
{
        bool is_unlimited = lowest > 0 && lowest == no_limit();

        ret->limit = is_unlimited ? lowest : stats_number(read, first);
        ret->max = stats_number(read, first + 2);
        if (ret->max > 0 || !stats_has(read, first + 2))
                ret->usage = stats_number(read, first + 1);
        ret->failcnt = stats_number(read, first + 3);
}

static void read_memory(struct stats_read *read, struct cgroup_stats_v1 *v1)
{
        uint64_t lowest[_CGROUP_MEMORY_KIND_MAX] = {0};

        v1->has_memory = stats_has(read, MEMORY_STAT);
        v1->has_oom_control = stats_has(read, MEMORY_OOM_CONTROL);
        stats_keys(read, MEMORY_STAT, memory_keys, N(memory_keys), v1);
        stats_keys(read, MEMORY_OOM_CONTROL, oom_keys, N(oom_keys), v1);
        lowest[CGROUP_MEMORY_USAGE] = v1->memory.hierarchical_memory_limit;
        lowest[CGROUP_MEMORY_SWAP] = v1->memory.hierarchical_swap_limit;
        for (size_t kind = 0; kind < _CGROUP_MEMORY_KIND_MAX; kind++)
                read_memory_entry(read, MEMORY_ENTRIES + 4 * kind, lowest[kind],
                                  &v1->memory_entries[kind]);
}

/* "/dev/sda", from the link "../../devices/.../sda"; NULL if the kernel does not know it. */
static const char *device_path(struct arena *arena, uint64_t major, uint64_t minor)
{
        char target[PATH_MAX];
        char *link = arena_printf(arena, "/sys/dev/block/%llu:%llu", (unsigned long long)major,
                                  (unsigned long long)minor);
        ssize_t n = link ? readlink(link, target, sizeof(target) - 1) : -1;
        const char *name;

        if (n <= 0)
                return NULL;
        target[n] = '\0';
        name = strrchr(target, '/');
        return arena_printf(arena, "/dev/%s", name ? name + 1 : target);
}

static int read_blkio_list(struct stats_read *read, size_t index, struct cgroup_blkio_list *ret)
{
        const char *text = stats_text(read, index);
        const struct cgroup_blkio_entry *last = NULL;

        if (!text)
                return 0;
        if (stats_parse_blkio(text, stats_arena(read), ret) < 0)
                return -1;
        for (size_t i = 0; i < ret->n; i++) {
                struct cgroup_blkio_entry *e = &ret->items[i];
                bool same = last && last->major == e->major && last->minor == e->minor;

                e->device =
                        same ? last->device : device_path(stats_arena(read), e->major, e->minor);
                last = e;
        }
        return 0;
}

static int read_blkio(struct stats_read *read, struct cgroup_stats_v1 *v1)
{
        size_t n = 0;

        for (size_t kind = 0; kind < _CGROUP_BLKIO_KIND_MAX; kind++) {
                if (read_blkio_list(read, BLKIO_CFQ + kind, &v1->blkio[kind]) < 0)
                        return -1;
                n += v1->blkio[kind].n;
        }
        if (n > 0)
                return 0;
        if (read_blkio_list(read, BLKIO_THROTTLE_BYTES, &v1->blkio[CGROUP_IO_SERVICE_BYTES]) < 0)
                return -1;
        if (stats_has(read, BLKIO_THROTTLE_BYTES) && v1->blkio[CGROUP_IO_SERVICE_BYTES].n == 0)
                return 0;
        return read_blkio_list(read, BLKIO_THROTTLE_SERVICED, &v1->blkio[CGROUP_IO_SERVICED]);
}

static int v1_read(struct stats_read *read, struct cgroup_stats *ret)
{
        struct cgroup_stats_v1 *v1 = &ret->v1;

        v1->has_pids = stats_has(read, PIDS_CURRENT);
        v1->pids_current = stats_number(read, PIDS_CURRENT);
        v1->pids_limit = stats_number(read, PIDS_MAX);
        if (v1->pids_limit == UINT64_MAX)
                v1->pids_limit = 0;
        read_memory(read, v1);
        v1->has_rdma = stats_has(read, RDMA_CURRENT);
        if (read_cpu(read, v1) < 0 || read_blkio(read, v1) < 0 ||
            stats_rdma(read, RDMA_CURRENT, &ret->rdma_current) < 0)
                return -1;
        return stats_rdma(read, RDMA_MAX, &ret->rdma_limit);
}

const struct stats_version stats_v1 = {
        .files = files,
        .n_files = _FILES_MAX,
        .hugetlb = {".usage_in_bytes", ".max_usage_in_bytes", ".failcnt"},
        .read = v1_read,
};
