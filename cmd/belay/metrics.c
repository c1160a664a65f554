/* SPDX-License-Identifier: Apache-2.0
 *
 * See metrics.h: messages, and what of them are the same numbers on both versions. What a host's
 * controllers do not tell is 0.
 */
#include "cmd/belay/metrics.h"

#include <string.h>
#include <strings.h>

#include "pkg/base/str.h"

typedef Io__Containerd__Cgroups__V1__Metrics V1;
typedef Io__Containerd__Cgroups__V2__Metrics V2;

/* Without a limit v1 has the largest number of pages, which depends on their size. */
#define V1_MEMORY_UNLIMITED (UINT64_C(1) << 62)

int metrics_unpack(struct metrics *ret, const char *type, const uint8_t *data, size_t len,
                   struct error *err)
{
        const char *name =
                str_has_prefix(type, "type.googleapis.com/") ? strchr(type, '/') + 1 : type;
        const ProtobufCMessageDescriptor *v1 = &io__containerd__cgroups__v1__metrics__descriptor;
        const ProtobufCMessageDescriptor *v2 = &io__containerd__cgroups__v2__metrics__descriptor;

        *ret = (struct metrics){NULL};
        if (str_equal(name, v1->name))
                ret->v1 = (V1 *)protobuf_c_message_unpack(v1, NULL, len, data);
        else if (str_equal(name, v2->name))
                ret->v2 = (V2 *)protobuf_c_message_unpack(v2, NULL, len, data);
        else
                return error_set(err, STATUS_UNIMPLEMENTED, "statistics of type '%.80s'", type);
        if (!ret->v1 && !ret->v2)
                return error_set(err, STATUS_INTERNAL, "statistics that cannot be read");
        return 0;
}

void metrics_deinit(struct metrics *metrics)
{
        if (metrics->v1)
                protobuf_c_message_free_unpacked(&metrics->v1->base, NULL);
        if (metrics->v2)
                protobuf_c_message_free_unpacked(&metrics->v2->base, NULL);
        *metrics = (struct metrics){NULL};
}

static uint64_t minus(uint64_t a, uint64_t b)
{
        return a > b ? a - b : 0;
}

static void summarize_memory_v1(const V1 *m, struct metrics_summary *s)
{
        const Io__Containerd__Cgroups__V1__MemoryEntry *usage = m->memory ? m->memory->usage : NULL;

        s->memory_limit = UINT64_MAX;
        if (!usage)
                return;
        s->memory = minus(usage->usage, m->memory->total_inactive_file);
        if (usage->limit < V1_MEMORY_UNLIMITED)
                s->memory_limit = usage->limit;
}

static void summarize_v1(const V1 *m, struct metrics_summary *s)
{
        summarize_memory_v1(m, s);
        if (m->cpu && m->cpu->usage)
                s->cpu_ns = m->cpu->usage->total;
        if (m->cpu && m->cpu->throttling) {
                s->periods = m->cpu->throttling->periods;
                s->throttled_periods = m->cpu->throttling->throttled_periods;
        }
        if (m->pids) {
                s->pids = m->pids->current;
                s->pids_limit = m->pids->limit ? m->pids->limit : UINT64_MAX;
        }
        for (size_t i = 0; m->blkio && i < m->blkio->n_io_service_bytes_recursive; i++) {
                const Io__Containerd__Cgroups__V1__BlkIOEntry *e =
                        m->blkio->io_service_bytes_recursive[i];

                if (strcasecmp(e->op, "read") == 0)
                        s->read_bytes += e->value;
                else if (strcasecmp(e->op, "write") == 0)
                        s->written_bytes += e->value;
        }
        if (m->memory_oom_control)
                s->oom_kills = m->memory_oom_control->oom_kill;
}

static double some(const Io__Containerd__Cgroups__V2__PSIStats *psi)
{
        return psi && psi->some ? psi->some->avg10 : 0;
}

static void summarize_pressure(const V2 *m, struct metrics_summary *s)
{
        const Io__Containerd__Cgroups__V2__PSIStats *cpu = m->cpu ? m->cpu->psi : NULL;
        const Io__Containerd__Cgroups__V2__PSIStats *memory = m->memory ? m->memory->psi : NULL;
        const Io__Containerd__Cgroups__V2__PSIStats *io = m->io ? m->io->psi : NULL;

        s->has_pressure = cpu || memory || io;
        s->cpu_pressure = some(cpu);
        s->memory_pressure = some(memory);
        s->io_pressure = some(io);
}

static void summarize_v2(const V2 *m, struct metrics_summary *s)
{
        if (m->cpu) {
                s->cpu_ns = m->cpu->usage_usec * 1000;
                s->periods = m->cpu->nr_periods;
                s->throttled_periods = m->cpu->nr_throttled;
        }
        s->memory_limit = UINT64_MAX;
        if (m->memory) {
                s->memory = minus(m->memory->usage, m->memory->inactive_file);
                if (m->memory->usage_limit > 0)
                        s->memory_limit = m->memory->usage_limit;
        }
        if (m->pids) {
                s->pids = m->pids->current;
                s->pids_limit = m->pids->limit ? m->pids->limit : UINT64_MAX;
        }
        for (size_t i = 0; m->io && i < m->io->n_usage; i++) {
                s->read_bytes += m->io->usage[i]->rbytes;
                s->written_bytes += m->io->usage[i]->wbytes;
        }
        if (m->memory_events)
                s->oom_kills = m->memory_events->oom_kill;
        summarize_pressure(m, s);
}

void metrics_summarize(const struct metrics *metrics, struct metrics_summary *ret)
{
        *ret = (struct metrics_summary){.pids_limit = UINT64_MAX};
        if (metrics->v1)
                summarize_v1(metrics->v1, ret);
        else
                summarize_v2(metrics->v2, ret);
}

double metrics_cpu_percent(const struct metrics_row *row)
{
        if (row->elapsed_ns == 0)
                return -1;
        return 100.0 * (double)minus(row->now.cpu_ns, row->before.cpu_ns) / (double)row->elapsed_ns;
}

double metrics_throttled_percent(const struct metrics_row *row)
{
        uint64_t periods = minus(row->now.periods, row->before.periods);
        uint64_t throttled = minus(row->now.throttled_periods, row->before.throttled_periods);

        return periods == 0 ? -1 : 100.0 * (double)throttled / (double)periods;
}
