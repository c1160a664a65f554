/* SPDX-License-Identifier: Apache-2.0
 *
 * v2.Metrics from numbers. A part whose controller is not there is in the message and is zero, as
 * clients expect it; pressure and memory events are left out then.
 */
#include "io/containerd/cgroups/v2/metrics.pb-c.h"
#include "shim/metrics.h"

typedef Io__Containerd__Cgroups__V2__Metrics Metrics;

struct psi {
        Io__Containerd__Cgroups__V2__PSIStats stats;
        Io__Containerd__Cgroups__V2__PSIData some;
        Io__Containerd__Cgroups__V2__PSIData full;
};

static void copy_psi_line(const struct cgroup_psi_line *from,
                          Io__Containerd__Cgroups__V2__PSIData *to)
{
        io__containerd__cgroups__v2__psidata__init(to);
        to->avg10 = from->avg10;
        to->avg60 = from->avg60;
        to->avg300 = from->avg300;
        to->total = from->total;
}

/* NULL if the kernel keeps none. */
static Io__Containerd__Cgroups__V2__PSIStats *make_psi(const struct cgroup_psi *from,
                                                       struct psi *psi)
{
        if (!from->is_known)
                return NULL;
        io__containerd__cgroups__v2__psistats__init(&psi->stats);
        copy_psi_line(&from->some, &psi->some);
        copy_psi_line(&from->full, &psi->full);
        psi->stats.some = &psi->some;
        psi->stats.full = &psi->full;
        return &psi->stats;
}

static int make_hugetlb(const struct cgroup_stats *stats, struct arena *arena, Metrics *m)
{
        m->hugetlb = arena_calloc(arena, stats->n_hugetlb, sizeof(void *));
        for (size_t i = 0; m->hugetlb && i < stats->n_hugetlb; i++) {
                const struct cgroup_hugetlb_stat *from = &stats->hugetlb[i];
                Io__Containerd__Cgroups__V2__HugeTlbStat *to = arena_alloc(arena, sizeof(*to));

                if (!to)
                        return -1;
                io__containerd__cgroups__v2__huge_tlb_stat__init(to);
                to->current = from->usage;
                to->max = from->max;
                to->failcnt = from->failcnt;
                to->pagesize = (char *)from->page_size;
                m->hugetlb[m->n_hugetlb++] = to;
        }
        return m->hugetlb ? 0 : -1;
}

static int make_io(const struct cgroup_stats_v2 *v2, struct arena *arena,
                   Io__Containerd__Cgroups__V2__IOStat *io)
{
        io->usage = arena_calloc(arena, v2->n_io, sizeof(void *));
        for (size_t i = 0; io->usage && i < v2->n_io; i++) {
                const struct cgroup_io_entry *from = &v2->io[i];
                Io__Containerd__Cgroups__V2__IOEntry *to = arena_alloc(arena, sizeof(*to));

                if (!to)
                        return -1;
                io__containerd__cgroups__v2__ioentry__init(to);
                to->major = from->major;
                to->minor = from->minor;
                to->rbytes = from->rbytes;
                to->wbytes = from->wbytes;
                to->rios = from->rios;
                to->wios = from->wios;
                io->usage[io->n_usage++] = to;
        }
        return io->usage ? 0 : -1;
}

static int make_rdma_list(const struct cgroup_rdma_list *list, struct arena *arena,
                          Io__Containerd__Cgroups__V2__RdmaEntry ***ret, size_t *ret_n)
{
        Io__Containerd__Cgroups__V2__RdmaEntry **pointers =
                arena_calloc(arena, list->n, sizeof(*pointers));

        for (size_t i = 0; pointers && i < list->n; i++) {
                const struct cgroup_rdma_entry *from = &list->items[i];

                pointers[i] = arena_alloc(arena, sizeof(*pointers[i]));
                if (!pointers[i])
                        return -1;
                io__containerd__cgroups__v2__rdma_entry__init(pointers[i]);
                pointers[i]->device = (char *)from->device;
                pointers[i]->hca_handles = (uint32_t)from->hca_handles;
                pointers[i]->hca_objects = (uint32_t)from->hca_objects;
        }
        *ret = pointers;
        *ret_n = list->n;
        return pointers ? 0 : -1;
}

static void copy_memory(const struct cgroup_stats_v2 *v2,
                        Io__Containerd__Cgroups__V2__MemoryStat *memory)
{
#define COPY(key, name) memory->name = v2->memory.name;
        CGROUP_MEMORY_V2(COPY)
#undef COPY
        memory->usage = v2->usage;
        memory->usage_limit = v2->usage_limit;
        memory->max_usage = v2->max_usage;
        memory->swap_usage = v2->swap_usage;
        memory->swap_limit = v2->swap_limit;
        memory->swap_max_usage = v2->swap_max_usage;
}

/* The parts that are always one of a kind; the message points to them. */
struct parts {
        Io__Containerd__Cgroups__V2__PidsStat pids;
        Io__Containerd__Cgroups__V2__CPUStat cpu;
        Io__Containerd__Cgroups__V2__MemoryStat memory;
        Io__Containerd__Cgroups__V2__MemoryEvents events;
        Io__Containerd__Cgroups__V2__IOStat io;
        Io__Containerd__Cgroups__V2__RdmaStat rdma;
        struct psi cpu_psi;
        struct psi memory_psi;
        struct psi io_psi;
};

static void parts_init(struct parts *p)
{
        io__containerd__cgroups__v2__pids_stat__init(&p->pids);
        io__containerd__cgroups__v2__cpustat__init(&p->cpu);
        io__containerd__cgroups__v2__memory_stat__init(&p->memory);
        io__containerd__cgroups__v2__memory_events__init(&p->events);
        io__containerd__cgroups__v2__iostat__init(&p->io);
        io__containerd__cgroups__v2__rdma_stat__init(&p->rdma);
}

Google__Protobuf__Any *metrics_v2_pack(const struct cgroup_stats *stats, struct arena *arena)
{
        const struct cgroup_stats_v2 *v2 = &stats->v2;
        Metrics m = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
        struct parts p;

        parts_init(&p);
        p.pids.current = v2->pids_current;
        p.pids.limit = v2->pids_limit;
#define COPY(key, name) p.cpu.name = v2->cpu.name;
        CGROUP_CPU_V2(COPY)
#undef COPY
#define COPY(key, name) p.events.name = v2->memory_events.name;
        CGROUP_MEMORY_EVENTS(COPY)
#undef COPY
        copy_memory(v2, &p.memory);
        p.cpu.psi = make_psi(&v2->cpu_psi, &p.cpu_psi);
        p.memory.psi = make_psi(&v2->memory_psi, &p.memory_psi);
        p.io.psi = make_psi(&v2->io_psi, &p.io_psi);
        if (make_hugetlb(stats, arena, &m) < 0 || make_io(v2, arena, &p.io) < 0 ||
            make_rdma_list(&stats->rdma_current, arena, &p.rdma.current, &p.rdma.n_current) < 0 ||
            make_rdma_list(&stats->rdma_limit, arena, &p.rdma.limit, &p.rdma.n_limit) < 0)
                return NULL;
        m.pids = &p.pids;
        m.cpu = &p.cpu;
        m.memory = &p.memory;
        m.io = &p.io;
        m.rdma = &p.rdma;
        m.memory_events = v2->has_memory_events ? &p.events : NULL;
        return metrics_any(&m.base, arena);
}
