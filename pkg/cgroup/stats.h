/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers of a container's cgroup. Its files are opened once and read with pread(2) from then
 * on; a file that the kernel lacks counts as zeros. A hybrid host is a v1 host here: its limits and
 * counts are those of the v1 controllers.
 *
 * Names are those of the messages in proto/io/containerd/cgroups, which have nearly always the
 * kernel's; where they differ the kernel's key is the first in the lists below.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/cgroup/cgroup.h"

/* memory.stat of v1, in the kernel's order. */
#define CGROUP_MEMORY_V1(X)                                     \
        X(cache, cache)                                         \
        X(rss, rss)                                             \
        X(rss_huge, rss_huge)                                   \
        X(mapped_file, mapped_file)                             \
        X(dirty, dirty)                                         \
        X(writeback, writeback)                                 \
        X(pgpgin, pg_pg_in)                                     \
        X(pgpgout, pg_pg_out)                                   \
        X(pgfault, pg_fault)                                    \
        X(pgmajfault, pg_maj_fault)                             \
        X(inactive_anon, inactive_anon)                         \
        X(active_anon, active_anon)                             \
        X(inactive_file, inactive_file)                         \
        X(active_file, active_file)                             \
        X(unevictable, unevictable)                             \
        X(hierarchical_memory_limit, hierarchical_memory_limit) \
        X(hierarchical_memsw_limit, hierarchical_swap_limit)    \
        X(total_cache, total_cache)                             \
        X(total_rss, total_rss)                                 \
        X(total_rss_huge, total_rss_huge)                       \
        X(total_mapped_file, total_mapped_file)                 \
        X(total_dirty, total_dirty)                             \
        X(total_writeback, total_writeback)                     \
        X(total_pgpgin, total_pg_pg_in)                         \
        X(total_pgpgout, total_pg_pg_out)                       \
        X(total_pgfault, total_pg_fault)                        \
        X(total_pgmajfault, total_pg_maj_fault)                 \
        X(total_inactive_anon, total_inactive_anon)             \
        X(total_active_anon, total_active_anon)                 \
        X(total_inactive_file, total_inactive_file)             \
        X(total_active_file, total_active_file)                 \
        X(total_unevictable, total_unevictable)

/* memory.stat of v2, in the kernel's order; then two keys of older kernels. */
#define CGROUP_MEMORY_V2(X)                                   \
        X(anon, anon)                                         \
        X(file, file)                                         \
        X(kernel_stack, kernel_stack)                         \
        X(sock, sock)                                         \
        X(shmem, shmem)                                       \
        X(file_mapped, file_mapped)                           \
        X(file_dirty, file_dirty)                             \
        X(file_writeback, file_writeback)                     \
        X(anon_thp, anon_thp)                                 \
        X(inactive_anon, inactive_anon)                       \
        X(active_anon, active_anon)                           \
        X(inactive_file, inactive_file)                       \
        X(active_file, active_file)                           \
        X(unevictable, unevictable)                           \
        X(slab_reclaimable, slab_reclaimable)                 \
        X(slab_unreclaimable, slab_unreclaimable)             \
        X(slab, slab)                                         \
        X(workingset_refault_anon, workingset_refault_anon)   \
        X(workingset_refault_file, workingset_refault_file)   \
        X(workingset_activate_anon, workingset_activate_anon) \
        X(workingset_activate_file, workingset_activate_file) \
        X(workingset_nodereclaim, workingset_nodereclaim)     \
        X(pgscan, pgscan)                                     \
        X(pgsteal, pgsteal)                                   \
        X(pgfault, pgfault)                                   \
        X(pgmajfault, pgmajfault)                             \
        X(pgrefill, pgrefill)                                 \
        X(pgactivate, pgactivate)                             \
        X(pgdeactivate, pgdeactivate)                         \
        X(pglazyfree, pglazyfree)                             \
        X(pglazyfreed, pglazyfreed)                           \
        X(thp_fault_alloc, thp_fault_alloc)                   \
        X(thp_collapse_alloc, thp_collapse_alloc)             \
        X(workingset_refault, workingset_refault)             \
        X(workingset_activate, workingset_activate)

/* Microseconds. */
#define CGROUP_CPU_V2(X)                  \
        X(usage_usec, usage_usec)         \
        X(user_usec, user_usec)           \
        X(system_usec, system_usec)       \
        X(nr_periods, nr_periods)         \
        X(nr_throttled, nr_throttled)     \
        X(throttled_usec, throttled_usec) \
        X(nr_bursts, nr_bursts)           \
        X(burst_usec, burst_usec)

#define CGROUP_THROTTLE_V1(X)              \
        X(nr_periods, periods)             \
        X(nr_throttled, throttled_periods) \
        X(throttled_time, throttled_time)

#define CGROUP_MEMORY_EVENTS(X) \
        X(low, low)             \
        X(high, high)           \
        X(max, max)             \
        X(oom, oom)             \
        X(oom_kill, oom_kill)   \
        X(oom_group_kill, oom_group_kill)

#define CGROUP_OOM_CONTROL(X)                 \
        X(oom_kill_disable, oom_kill_disable) \
        X(under_oom, under_oom)               \
        X(oom_kill, oom_kill)

#define CGROUP_FIELD(key, name) uint64_t name;

enum { CGROUP_PAGE_SIZES_MAX = 8, CGROUP_PAGE_SIZE_NAME_MAX = 16, CGROUP_OP_MAX = 16 };

/* Lists are in the arena of the call. */

struct cgroup_rdma_entry {
        const char *device;
        uint64_t hca_handles;
        uint64_t hca_objects;
};

struct cgroup_rdma_list {
        struct cgroup_rdma_entry *items;
        size_t n;
};

struct cgroup_hugetlb_stat {
        char page_size[CGROUP_PAGE_SIZE_NAME_MAX]; /* "2MB" */
        uint64_t usage;
        uint64_t max; /* v1: the highest usage so far; v2: the limit; 0 beside v1 */
        uint64_t failcnt;
};

struct cgroup_blkio_entry {
        uint64_t major;
        uint64_t minor;
        char op[CGROUP_OP_MAX]; /* "Read"; "" where the file has none */
        const char *device;     /* "/dev/sda"; NULL: not known */
        uint64_t value;
};

struct cgroup_blkio_list {
        struct cgroup_blkio_entry *items;
        size_t n;
};

struct cgroup_io_entry {
        uint64_t major;
        uint64_t minor;
        uint64_t rbytes;
        uint64_t wbytes;
        uint64_t rios;
        uint64_t wios;
};

/* Pressure: averages in percent, total in microseconds. */
struct cgroup_psi_line {
        double avg10;
        double avg60;
        double avg300;
        uint64_t total;
};

struct cgroup_psi {
        bool is_known;
        struct cgroup_psi_line some;
        struct cgroup_psi_line full;
};

enum cgroup_blkio_kind {
        CGROUP_IO_SERVICE_BYTES,
        CGROUP_IO_SERVICED,
        CGROUP_IO_QUEUED,
        CGROUP_IO_SERVICE_TIME,
        CGROUP_IO_WAIT_TIME,
        CGROUP_IO_MERGED,
        CGROUP_IO_TIME,
        CGROUP_IO_SECTORS,
        _CGROUP_BLKIO_KIND_MAX
};

enum cgroup_memory_kind {
        CGROUP_MEMORY_USAGE,
        CGROUP_MEMORY_SWAP, /* memory and swap */
        CGROUP_MEMORY_KERNEL,
        CGROUP_MEMORY_KERNEL_TCP,
        _CGROUP_MEMORY_KIND_MAX
};

struct cgroup_memory_entry {
        uint64_t limit;
        uint64_t usage;
        uint64_t max;
        uint64_t failcnt;
};

struct cgroup_stats_v1 {
        bool has_pids;
        bool has_memory;
        bool has_oom_control;
        bool has_rdma;
        uint64_t pids_current;
        uint64_t pids_limit; /* 0: none */
        uint64_t cpu_total;  /* nanoseconds, these */
        uint64_t cpu_kernel;
        uint64_t cpu_user;
        uint64_t *per_cpu;
        size_t n_per_cpu;
        struct {
                CGROUP_THROTTLE_V1(CGROUP_FIELD)
        } throttling;
        struct {
                CGROUP_MEMORY_V1(CGROUP_FIELD)
        } memory;
        struct {
                CGROUP_OOM_CONTROL(CGROUP_FIELD)
        } oom_control;
        struct cgroup_memory_entry memory_entries[_CGROUP_MEMORY_KIND_MAX];
        struct cgroup_blkio_list blkio[_CGROUP_BLKIO_KIND_MAX];
};

struct cgroup_stats_v2 {
        bool has_memory_events;
        uint64_t pids_current;
        uint64_t pids_limit; /* of "max": 2^64-1, here and below */
        struct {
                CGROUP_CPU_V2(CGROUP_FIELD)
        } cpu;
        struct {
                CGROUP_MEMORY_V2(CGROUP_FIELD)
        } memory;
        struct {
                CGROUP_MEMORY_EVENTS(CGROUP_FIELD)
        } memory_events;
        uint64_t usage;
        uint64_t usage_limit;
        uint64_t max_usage;
        uint64_t swap_usage;
        uint64_t swap_limit;
        uint64_t swap_max_usage;
        struct cgroup_io_entry *io;
        size_t n_io;
        struct cgroup_psi cpu_psi;
        struct cgroup_psi memory_psi;
        struct cgroup_psi io_psi;
};

struct cgroup_stats {
        bool is_v2;
        union {
                struct cgroup_stats_v1 v1;
                struct cgroup_stats_v2 v2;
        };
        struct cgroup_rdma_list rdma_current;
        struct cgroup_rdma_list rdma_limit;
        struct cgroup_hugetlb_stat hugetlb[CGROUP_PAGE_SIZES_MAX];
        size_t n_hugetlb;
};

/* What keeps the descriptors; all are CLOEXEC. cg is borrowed and must live as long. NULL without
 * memory. Nothing is opened before the first read. */
struct cgroup_stats_reader;
struct cgroup_stats_reader *cgroup_stats_reader_new(const struct cgroup *cg);
struct cgroup_stats_reader *cgroup_stats_reader_free(struct cgroup_stats_reader *reader);

/*
 * Reads all. STATUS_NOT_FOUND if the cgroup is gone; one that has been made again meanwhile is
 * opened again. Apart from lists, nothing is allocated. Quick.
 */
int cgroup_stats_read(struct cgroup_stats_reader *reader, struct arena *arena,
                      struct cgroup_stats *ret, struct error *err);
