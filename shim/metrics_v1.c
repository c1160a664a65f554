/* SPDX-License-Identifier: Apache-2.0
 *
 * v1.Metrics from numbers. What a controller would have told is left out if the controller is not
 * there, except for cpu, which is always in the message.
 */
#include "io/containerd/cgroups/v1/metrics.pb-c.h"
#include "shim/metrics.h"

typedef Io__Containerd__Cgroups__V1__Metrics Metrics;

Google__Protobuf__Any *metrics_any(const ProtobufCMessage *message, struct arena *arena)
{
        Google__Protobuf__Any *any = arena_alloc(arena, sizeof(*any));
        uint8_t *data = arena_alloc(arena, protobuf_c_message_get_packed_size(message));

        if (!any || !data)
                return NULL;
        google__protobuf__any__init(any);
        any->type_url = (char *)message->descriptor->name;
        any->value.len = protobuf_c_message_pack(message, data);
        any->value.data = data;
        return any;
}

static int make_hugetlb(const struct cgroup_stats *stats, struct arena *arena, Metrics *m)
{
        m->hugetlb = arena_calloc(arena, stats->n_hugetlb, sizeof(void *));
        for (size_t i = 0; m->hugetlb && i < stats->n_hugetlb; i++) {
                const struct cgroup_hugetlb_stat *from = &stats->hugetlb[i];
                Io__Containerd__Cgroups__V1__HugetlbStat *to = arena_alloc(arena, sizeof(*to));

                if (!to)
                        return -1;
                io__containerd__cgroups__v1__hugetlb_stat__init(to);
                to->usage = from->usage;
                to->max = from->max;
                to->failcnt = from->failcnt;
                to->pagesize = (char *)from->page_size;
                m->hugetlb[m->n_hugetlb++] = to;
        }
        return m->hugetlb ? 0 : -1;
}

static int make_blkio_list(const struct cgroup_blkio_list *list, struct arena *arena,
                           Io__Containerd__Cgroups__V1__BlkIOEntry ***ret, size_t *ret_n)
{
        Io__Containerd__Cgroups__V1__BlkIOEntry *items =
                arena_calloc(arena, list->n, sizeof(*items));
        Io__Containerd__Cgroups__V1__BlkIOEntry **pointers =
                arena_calloc(arena, list->n, sizeof(*pointers));

        if (!items || !pointers)
                return -1;
        for (size_t i = 0; i < list->n; i++) {
                const struct cgroup_blkio_entry *from = &list->items[i];

                io__containerd__cgroups__v1__blk_ioentry__init(&items[i]);
                items[i].op = (char *)from->op;
                if (from->device)
                        items[i].device = (char *)from->device;
                items[i].major = from->major;
                items[i].minor = from->minor;
                items[i].value = from->value;
                pointers[i] = &items[i];
        }
        *ret = pointers;
        *ret_n = list->n;
        return 0;
}

static int make_blkio(const struct cgroup_stats_v1 *v1, struct arena *arena,
                      Io__Containerd__Cgroups__V1__BlkIOStat *b)
{
#define LIST(kind, name) make_blkio_list(&v1->blkio[kind], arena, &b->name, &b->n_##name)
        if (LIST(CGROUP_IO_SERVICE_BYTES, io_service_bytes_recursive) < 0 ||
            LIST(CGROUP_IO_SERVICED, io_serviced_recursive) < 0 ||
            LIST(CGROUP_IO_QUEUED, io_queued_recursive) < 0 ||
            LIST(CGROUP_IO_SERVICE_TIME, io_service_time_recursive) < 0 ||
            LIST(CGROUP_IO_WAIT_TIME, io_wait_time_recursive) < 0 ||
            LIST(CGROUP_IO_MERGED, io_merged_recursive) < 0 ||
            LIST(CGROUP_IO_TIME, io_time_recursive) < 0 ||
            LIST(CGROUP_IO_SECTORS, sectors_recursive) < 0)
                return -1;
#undef LIST
        return 0;
}

static int make_rdma_list(const struct cgroup_rdma_list *list, struct arena *arena,
                          Io__Containerd__Cgroups__V1__RdmaEntry ***ret, size_t *ret_n)
{
        Io__Containerd__Cgroups__V1__RdmaEntry **pointers =
                arena_calloc(arena, list->n, sizeof(*pointers));

        for (size_t i = 0; pointers && i < list->n; i++) {
                const struct cgroup_rdma_entry *from = &list->items[i];

                pointers[i] = arena_alloc(arena, sizeof(*pointers[i]));
                if (!pointers[i])
                        return -1;
                io__containerd__cgroups__v1__rdma_entry__init(pointers[i]);
                pointers[i]->device = (char *)from->device;
                pointers[i]->hca_handles = (uint32_t)from->hca_handles;
                pointers[i]->hca_objects = (uint32_t)from->hca_objects;
        }
        *ret = pointers;
        *ret_n = list->n;
        return pointers ? 0 : -1;
}

static void copy_memory(const struct cgroup_stats_v1 *v1,
                        Io__Containerd__Cgroups__V1__MemoryStat *memory,
                        Io__Containerd__Cgroups__V1__MemoryEntry *entries)
{
#define COPY(key, name) memory->name = v1->memory.name;
        CGROUP_MEMORY_V1(COPY)
#undef COPY
        for (size_t i = 0; i < _CGROUP_MEMORY_KIND_MAX; i++) {
                io__containerd__cgroups__v1__memory_entry__init(&entries[i]);
                entries[i].limit = v1->memory_entries[i].limit;
                entries[i].usage = v1->memory_entries[i].usage;
                entries[i].max = v1->memory_entries[i].max;
                entries[i].failcnt = v1->memory_entries[i].failcnt;
        }
        memory->usage = &entries[CGROUP_MEMORY_USAGE];
        memory->swap = &entries[CGROUP_MEMORY_SWAP];
        memory->kernel = &entries[CGROUP_MEMORY_KERNEL];
        memory->kernel_tcp = &entries[CGROUP_MEMORY_KERNEL_TCP];
}

/* The parts that are always one of a kind; the message points to them. */
struct parts {
        Io__Containerd__Cgroups__V1__PidsStat pids;
        Io__Containerd__Cgroups__V1__CPUUsage usage;
        Io__Containerd__Cgroups__V1__Throttle throttling;
        Io__Containerd__Cgroups__V1__CPUStat cpu;
        Io__Containerd__Cgroups__V1__MemoryStat memory;
        Io__Containerd__Cgroups__V1__MemoryEntry entries[_CGROUP_MEMORY_KIND_MAX];
        Io__Containerd__Cgroups__V1__MemoryOomControl oom_control;
        Io__Containerd__Cgroups__V1__BlkIOStat blkio;
        Io__Containerd__Cgroups__V1__RdmaStat rdma;
};

static void parts_init(struct parts *p)
{
        io__containerd__cgroups__v1__pids_stat__init(&p->pids);
        io__containerd__cgroups__v1__cpuusage__init(&p->usage);
        io__containerd__cgroups__v1__throttle__init(&p->throttling);
        io__containerd__cgroups__v1__cpustat__init(&p->cpu);
        io__containerd__cgroups__v1__memory_stat__init(&p->memory);
        io__containerd__cgroups__v1__memory_oom_control__init(&p->oom_control);
        io__containerd__cgroups__v1__blk_iostat__init(&p->blkio);
        io__containerd__cgroups__v1__rdma_stat__init(&p->rdma);
}

static void copy_cpu(const struct cgroup_stats_v1 *v1, struct parts *p)
{
        p->usage.total = v1->cpu_total;
        p->usage.kernel = v1->cpu_kernel;
        p->usage.user = v1->cpu_user;
        p->usage.per_cpu = v1->per_cpu;
        p->usage.n_per_cpu = v1->n_per_cpu;
#define COPY(key, name) p->throttling.name = v1->throttling.name;
        CGROUP_THROTTLE_V1(COPY)
#undef COPY
        p->cpu.usage = &p->usage;
        p->cpu.throttling = &p->throttling;
}

Google__Protobuf__Any *metrics_v1_pack(const struct cgroup_stats *stats, struct arena *arena)
{
        const struct cgroup_stats_v1 *v1 = &stats->v1;
        Metrics m = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
        struct parts p;

        parts_init(&p);
        copy_cpu(v1, &p);
        copy_memory(v1, &p.memory, p.entries);
        p.pids.current = v1->pids_current;
        p.pids.limit = v1->pids_limit;
#define COPY(key, name) p.oom_control.name = v1->oom_control.name;
        CGROUP_OOM_CONTROL(COPY)
#undef COPY
        if (make_hugetlb(stats, arena, &m) < 0 || make_blkio(v1, arena, &p.blkio) < 0 ||
            make_rdma_list(&stats->rdma_current, arena, &p.rdma.current, &p.rdma.n_current) < 0 ||
            make_rdma_list(&stats->rdma_limit, arena, &p.rdma.limit, &p.rdma.n_limit) < 0)
                return NULL;
        m.cpu = &p.cpu;
        m.blkio = &p.blkio;
        m.pids = v1->has_pids ? &p.pids : NULL;
        m.memory = v1->has_memory ? &p.memory : NULL;
        m.memory_oom_control = v1->has_oom_control ? &p.oom_control : NULL;
        m.rdma = v1->has_rdma ? &p.rdma : NULL;
        return metrics_any(&m.base, arena);
}
