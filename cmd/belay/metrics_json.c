/* SPDX-License-Identifier: Apache-2.0
 *
 * See metrics.h: JSON. The document of `events` has the members that runc's has, on v2, too, where
 * runc gives the numbers the names and units of v1; like there, zeros are mostly left out. What
 * Stats does not tell (cpuset, network interfaces, RDT) is empty.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/str.h"

#include "cmd/belay/metrics.h"

typedef Io__Containerd__Cgroups__V1__Metrics V1;
typedef Io__Containerd__Cgroups__V2__Metrics V2;
typedef struct json_object Json;

static Json *member(Json *object, const char *key)
{
        Json *value = json_object_new_object();

        json_object_object_add(object, key, value);
        return value;
}

static void put(Json *object, const char *key, uint64_t value)
{
        json_object_object_add(object, key, json_object_new_uint64(value));
}

static void put_some(Json *object, const char *key, uint64_t value)
{
        if (value != 0)
                put(object, key, value);
}

static void put_double(Json *object, const char *key, double value)
{
        json_object_object_add(object, key, json_object_new_double(value));
}

static char *take_text(Json *object)
{
        const char *text = json_object_to_json_string_ext(
                object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        char *copy = text ? strdup(text) : NULL;

        json_object_put(object);
        return copy;
}

/* ---- v1 ---- */

static void put_cpu_v1(Json *cpu, const Io__Containerd__Cgroups__V1__CPUStat *stat)
{
        Json *usage = member(cpu, "usage");
        Json *throttling = member(cpu, "throttling");

        if (stat && stat->usage) {
                put_some(usage, "total", stat->usage->total);
                if (stat->usage->n_per_cpu > 0) {
                        Json *list = json_object_new_array();

                        for (size_t i = 0; i < stat->usage->n_per_cpu; i++)
                                json_object_array_add(
                                        list, json_object_new_uint64(stat->usage->per_cpu[i]));
                        json_object_object_add(usage, "percpu", list);
                }
        }
        put(usage, "kernel", stat && stat->usage ? stat->usage->kernel : 0);
        put(usage, "user", stat && stat->usage ? stat->usage->user : 0);
        if (stat && stat->throttling) {
                put_some(throttling, "periods", stat->throttling->periods);
                put_some(throttling, "throttledPeriods", stat->throttling->throttled_periods);
                put_some(throttling, "throttledTime", stat->throttling->throttled_time);
        }
}

static void put_entry(Json *memory, const char *key, uint64_t limit, uint64_t usage, uint64_t max,
                      uint64_t failcnt)
{
        Json *entry = member(memory, key);

        put(entry, "limit", limit);
        put_some(entry, "usage", usage);
        put_some(entry, "max", max);
        put(entry, "failcnt", failcnt);
}

static void put_entry_v1(Json *memory, const char *key,
                         const Io__Containerd__Cgroups__V1__MemoryEntry *entry)
{
        if (entry)
                put_entry(memory, key, entry->limit, entry->usage, entry->max, entry->failcnt);
        else
                put_entry(memory, key, 0, 0, 0, 0);
}

/* The kernel's key of a field, where the message's name is another; up to `total_`. */
static const char *key_of_field(const char *name)
{
        static const char *const other[][2] = {
                {"pg_pg_in", "pgpgin"},
                {"pg_pg_out", "pgpgout"},
                {"pg_fault", "pgfault"},
                {"pg_maj_fault", "pgmajfault"},
                {"hierarchical_swap_limit", "hierarchical_memsw_limit"},
                {"total_pg_pg_in", "total_pgpgin"},
                {"total_pg_pg_out", "total_pgpgout"},
                {"total_pg_fault", "total_pgfault"},
                {"total_pg_maj_fault", "total_pgmajfault"},
        };

        for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
                if (str_equal(name, other[i][0]))
                        return other[i][1];
        }
        return name;
}

/* Not of memory.stat, but of files of their own. */
static bool is_of_another_file(const char *name)
{
        static const char *const names[] = {"usage",      "usage_limit", "swap_usage",
                                            "swap_limit", "max_usage",   "swap_max_usage"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                if (str_equal(name, names[i]))
                        return true;
        }
        return false;
}

/* memory.stat, from all numbers of the message. */
static void put_raw(Json *memory, const ProtobufCMessage *message)
{
        const ProtobufCMessageDescriptor *d = message->descriptor;
        Json *raw = member(memory, "raw");

        for (unsigned i = 0; i < d->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &d->fields[i];
                uint64_t value;

                if (field->type != PROTOBUF_C_TYPE_UINT64 || is_of_another_file(field->name))
                        continue;
                memcpy(&value, (const char *)message + field->offset, sizeof(value));
                put(raw, key_of_field(field->name), value);
        }
}

static void put_memory_v1(Json *memory, const Io__Containerd__Cgroups__V1__MemoryStat *stat)
{
        if (stat)
                put_some(memory, "cache", stat->cache);
        put_entry_v1(memory, "usage", stat ? stat->usage : NULL);
        put_entry_v1(memory, "swap", stat ? stat->swap : NULL);
        put_entry_v1(memory, "kernel", stat ? stat->kernel : NULL);
        put_entry_v1(memory, "kernelTCP", stat ? stat->kernel_tcp : NULL);
        if (stat)
                put_raw(memory, &stat->base);
}

static void add_io(Json *list, uint64_t major, uint64_t minor, const char *op, uint64_t value)
{
        Json *entry = json_object_new_object();

        put_some(entry, "major", major);
        put_some(entry, "minor", minor);
        if (!str_is_empty(op))
                json_object_object_add(entry, "op", json_object_new_string(op));
        put_some(entry, "value", value);
        json_object_array_add(list, entry);
}

static void put_io_list(Json *blkio, const char *key,
                        Io__Containerd__Cgroups__V1__BlkIOEntry *const *entries, size_t n)
{
        Json *list;

        if (n == 0)
                return;
        list = json_object_new_array();
        for (size_t i = 0; i < n; i++)
                add_io(list, entries[i]->major, entries[i]->minor, entries[i]->op,
                       entries[i]->value);
        json_object_object_add(blkio, key, list);
}

static void put_io_v1(Json *blkio, const Io__Containerd__Cgroups__V1__BlkIOStat *b)
{
        if (!b)
                return;
#define LIST(key, name) put_io_list(blkio, key, b->name, b->n_##name)
        LIST("ioServiceBytesRecursive", io_service_bytes_recursive);
        LIST("ioServicedRecursive", io_serviced_recursive);
        LIST("ioQueueRecursive", io_queued_recursive);
        LIST("ioServiceTimeRecursive", io_service_time_recursive);
        LIST("ioWaitTimeRecursive", io_wait_time_recursive);
        LIST("ioMergedRecursive", io_merged_recursive);
        LIST("ioTimeRecursive", io_time_recursive);
        LIST("sectorsRecursive", sectors_recursive);
#undef LIST
}

static void put_hugetlb(Json *hugetlb, const char *size, uint64_t usage, uint64_t max,
                        uint64_t failcnt)
{
        Json *page = member(hugetlb, size);

        put_some(page, "usage", usage);
        put_some(page, "max", max);
        put(page, "failcnt", failcnt);
}

static void put_pids(Json *pids, uint64_t current, uint64_t limit)
{
        put_some(pids, "current", current);
        put_some(pids, "limit", limit);
}

static void put_v1(Json *data, const V1 *m)
{
        Json *hugetlb;

        put_cpu_v1(member(data, "cpu"), m->cpu);
        (void)member(data, "cpuset");
        put_memory_v1(member(data, "memory"), m->memory);
        put_pids(member(data, "pids"), m->pids ? m->pids->current : 0,
                 m->pids ? m->pids->limit : 0);
        put_io_v1(member(data, "blkio"), m->blkio);
        hugetlb = member(data, "hugetlb");
        for (size_t i = 0; i < m->n_hugetlb; i++)
                put_hugetlb(hugetlb, m->hugetlb[i]->pagesize, m->hugetlb[i]->usage,
                            m->hugetlb[i]->max, m->hugetlb[i]->failcnt);
}

/* ---- v2 ---- */

static void put_psi_line(Json *psi, const char *key,
                         const Io__Containerd__Cgroups__V2__PSIData *data)
{
        Json *line = member(psi, key);

        put_double(line, "avg10", data ? data->avg10 : 0);
        put_double(line, "avg60", data ? data->avg60 : 0);
        put_double(line, "avg300", data ? data->avg300 : 0);
        put(line, "total", data ? data->total : 0);
}

static void put_psi(Json *object, const Io__Containerd__Cgroups__V2__PSIStats *stats)
{
        Json *psi;

        if (!stats)
                return;
        psi = member(object, "psi");
        put_psi_line(psi, "some", stats->some);
        put_psi_line(psi, "full", stats->full);
}

static void put_cpu_v2(Json *cpu, const Io__Containerd__Cgroups__V2__CPUStat *stat)
{
        Json *usage = member(cpu, "usage");
        Json *throttling = member(cpu, "throttling");

        if (stat)
                put_some(usage, "total", stat->usage_usec * 1000);
        put(usage, "kernel", stat ? stat->system_usec * 1000 : 0);
        put(usage, "user", stat ? stat->user_usec * 1000 : 0);
        if (!stat)
                return;
        put_some(throttling, "periods", stat->nr_periods);
        put_some(throttling, "throttledPeriods", stat->nr_throttled);
        put_some(throttling, "throttledTime", stat->throttled_usec * 1000);
        put_psi(cpu, stat->psi);
}

/* swap is memory and swap, as on v1. */
static void put_memory_v2(Json *memory, const Io__Containerd__Cgroups__V2__MemoryStat *stat)
{
        static const Io__Containerd__Cgroups__V2__MemoryStat none =
                IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
        const Io__Containerd__Cgroups__V2__MemoryStat *s = stat ? stat : &none;
        uint64_t swap_limit = s->swap_limit;

        if (swap_limit != UINT64_MAX)
                swap_limit = swap_limit > UINT64_MAX - s->usage_limit ? UINT64_MAX
                                                                      : swap_limit + s->usage_limit;
        put_some(memory, "cache", s->file);
        put_entry(memory, "usage", s->usage_limit, s->usage, s->max_usage, 0);
        put_entry(memory, "swap", swap_limit, s->usage + s->swap_usage, 0, 0);
        put_entry(memory, "kernel", 0, 0, 0, 0);
        put_entry(memory, "kernelTCP", 0, 0, 0, 0);
        if (!stat)
                return;
        put_raw(memory, &stat->base);
        put_psi(memory, stat->psi);
}

static void put_io_v2(Json *blkio, const Io__Containerd__Cgroups__V2__IOStat *io)
{
        Json *bytes;
        Json *served;

        if (!io)
                return;
        if (io->n_usage > 0) {
                bytes = json_object_new_array();
                served = json_object_new_array();
                for (size_t i = 0; i < io->n_usage; i++) {
                        const Io__Containerd__Cgroups__V2__IOEntry *e = io->usage[i];

                        add_io(bytes, e->major, e->minor, "Read", e->rbytes);
                        add_io(bytes, e->major, e->minor, "Write", e->wbytes);
                        add_io(served, e->major, e->minor, "Read", e->rios);
                        add_io(served, e->major, e->minor, "Write", e->wios);
                }
                json_object_object_add(blkio, "ioServiceBytesRecursive", bytes);
                json_object_object_add(blkio, "ioServicedRecursive", served);
        }
        put_psi(blkio, io->psi);
}

static void put_v2(Json *data, const V2 *m)
{
        Json *hugetlb;

        put_cpu_v2(member(data, "cpu"), m->cpu);
        (void)member(data, "cpuset");
        put_memory_v2(member(data, "memory"), m->memory);
        put_pids(member(data, "pids"), m->pids ? m->pids->current : 0,
                 m->pids && m->pids->limit != UINT64_MAX ? m->pids->limit : 0);
        put_io_v2(member(data, "blkio"), m->io);
        hugetlb = member(data, "hugetlb");
        for (size_t i = 0; i < m->n_hugetlb; i++)
                put_hugetlb(hugetlb, m->hugetlb[i]->pagesize, m->hugetlb[i]->current, 0,
                            m->hugetlb[i]->failcnt);
}

/* ---- Documents ---- */

static Json *event(const char *type, const char *id)
{
        Json *object = json_object_new_object();

        json_object_object_add(object, "type", json_object_new_string(type));
        json_object_object_add(object, "id", json_object_new_string(id));
        return object;
}

char *metrics_event(const struct metrics *metrics, const char *id)
{
        Json *object = event("stats", id);
        Json *data = member(object, "data");

        if (metrics->v1)
                put_v1(data, metrics->v1);
        else
                put_v2(data, metrics->v2);
        (void)member(data, "intel_rdt");
        json_object_object_add(data, "network_interfaces", NULL);
        return take_text(object);
}

char *metrics_oom_event(const char *id)
{
        return take_text(event("oom", id));
}

/* A limit that is none is null; so is a share that is not known. */
static void put_limit(Json *object, const char *key, uint64_t limit)
{
        if (limit == UINT64_MAX)
                json_object_object_add(object, key, NULL);
        else
                put(object, key, limit);
}

static void put_percent(Json *object, const char *key, double percent)
{
        json_object_object_add(object, key, percent < 0 ? NULL : json_object_new_double(percent));
}

char *metrics_row_json(const struct metrics_row *row)
{
        const struct metrics_summary *s = &row->now;
        Json *object = json_object_new_object();

        json_object_object_add(object, "id", json_object_new_string(row->id));
        put_percent(object, "cpu_percent", metrics_cpu_percent(row));
        put(object, "cpu_ns", s->cpu_ns);
        put(object, "memory", s->memory);
        put_limit(object, "memory_limit", s->memory_limit);
        put(object, "pids", s->pids);
        put_limit(object, "pids_limit", s->pids_limit);
        put(object, "read_bytes", s->read_bytes);
        put(object, "written_bytes", s->written_bytes);
        put(object, "periods", s->periods);
        put(object, "throttled_periods", s->throttled_periods);
        put(object, "oom_kills", s->oom_kills);
        if (s->has_pressure) {
                Json *pressure = member(object, "pressure");

                put_double(pressure, "cpu", s->cpu_pressure);
                put_double(pressure, "memory", s->memory_pressure);
                put_double(pressure, "io", s->io_pressure);
        }
        return take_text(object);
}
