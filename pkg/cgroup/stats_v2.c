/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of v2 (Documentation/admin-guide/cgroup-v2.rst) and what they become.
 */
#include <stdlib.h>

#include "pkg/cgroup/stats_reader.h"

enum {
        PIDS_CURRENT,
        PIDS_MAX,
        CPU_STAT,
        CPU_PRESSURE,
        MEMORY_STAT,
        MEMORY_CURRENT,
        MEMORY_MAX,
        MEMORY_PEAK,
        MEMORY_SWAP_CURRENT,
        MEMORY_SWAP_MAX,
        MEMORY_SWAP_PEAK,
        MEMORY_EVENTS,
        MEMORY_PRESSURE,
        IO_STAT,
        IO_PRESSURE,
        RDMA_CURRENT,
        RDMA_MAX,
        _FILES_MAX
};

static const struct stats_file files[_FILES_MAX] = {
        [PIDS_CURRENT] = {NULL, "pids.current"},
        [PIDS_MAX] = {NULL, "pids.max"},
        [CPU_STAT] = {NULL, "cpu.stat"},
        [CPU_PRESSURE] = {NULL, "cpu.pressure"},
        [MEMORY_STAT] = {NULL, "memory.stat"},
        [MEMORY_CURRENT] = {NULL, "memory.current"},
        [MEMORY_MAX] = {NULL, "memory.max"},
        [MEMORY_PEAK] = {NULL, "memory.peak"},
        [MEMORY_SWAP_CURRENT] = {NULL, "memory.swap.current"},
        [MEMORY_SWAP_MAX] = {NULL, "memory.swap.max"},
        [MEMORY_SWAP_PEAK] = {NULL, "memory.swap.peak"},
        [MEMORY_EVENTS] = {NULL, "memory.events"},
        [MEMORY_PRESSURE] = {NULL, "memory.pressure"},
        [IO_STAT] = {NULL, "io.stat"},
        [IO_PRESSURE] = {NULL, "io.pressure"},
        [RDMA_CURRENT] = {NULL, "rdma.current"},
        [RDMA_MAX] = {NULL, "rdma.max"},
};
_Static_assert((int)_FILES_MAX <= (int)STATS_FILES_MAX, "the reader has room");

#define KEY(key, name) {#key, sizeof(#key) - 1, offsetof(struct cgroup_stats_v2, SECTION.name)},

#define SECTION memory
static const struct stats_key memory_keys[] = {CGROUP_MEMORY_V2(KEY)};
#undef SECTION
#define SECTION cpu
static const struct stats_key cpu_keys[] = {CGROUP_CPU_V2(KEY)};
#undef SECTION
#define SECTION memory_events
static const struct stats_key event_keys[] = {CGROUP_MEMORY_EVENTS(KEY)};
#undef SECTION

#define N(array) (sizeof(array) / sizeof((array)[0]))

static void read_psi(struct stats_read *read, size_t index, struct cgroup_psi *ret)
{
        const char *text = stats_text(read, index);

        if (text)
                stats_parse_psi(text, ret);
}

static void read_memory(struct stats_read *read, struct cgroup_stats_v2 *v2)
{
        stats_keys(read, MEMORY_STAT, memory_keys, N(memory_keys), v2);
        v2->usage = stats_number(read, MEMORY_CURRENT);
        v2->usage_limit = stats_number(read, MEMORY_MAX);
        v2->max_usage = stats_number(read, MEMORY_PEAK);
        v2->swap_usage = stats_number(read, MEMORY_SWAP_CURRENT);
        v2->swap_limit = stats_number(read, MEMORY_SWAP_MAX);
        v2->swap_max_usage = stats_number(read, MEMORY_SWAP_PEAK);
        v2->has_memory_events = stats_has(read, MEMORY_EVENTS);
        stats_keys(read, MEMORY_EVENTS, event_keys, N(event_keys), v2);
        read_psi(read, MEMORY_PRESSURE, &v2->memory_psi);
}

static int v2_read(struct stats_read *read, struct cgroup_stats *ret)
{
        struct cgroup_stats_v2 *v2 = &ret->v2;
        const char *text;

        v2->pids_current = stats_number(read, PIDS_CURRENT);
        v2->pids_limit = stats_number(read, PIDS_MAX);
        stats_keys(read, CPU_STAT, cpu_keys, N(cpu_keys), v2);
        read_psi(read, CPU_PRESSURE, &v2->cpu_psi);
        read_memory(read, v2);
        read_psi(read, IO_PRESSURE, &v2->io_psi);
        text = stats_text(read, IO_STAT);
        if (text && stats_parse_io(text, stats_arena(read), &v2->io, &v2->n_io) < 0)
                return -1;
        if (stats_rdma(read, RDMA_CURRENT, &ret->rdma_current) < 0)
                return -1;
        return stats_rdma(read, RDMA_MAX, &ret->rdma_limit);
}

const struct stats_version stats_v2 = {
        .files = files,
        .n_files = _FILES_MAX,
        .hugetlb = {".current", ".max", ".events"},
        .read = v2_read,
};
