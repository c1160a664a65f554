/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources on cgroup v1: each field has its file, and its number goes there as it is. Zero
 * for shares, quota, period, swap and realtime values means "not set", as callers of runc are used
 * to. Devices are in devices*.c.
 */
#include <stdio.h>
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

static int memory_check_usage(const struct cgroup_dir *dir, const struct oci_memory *m,
                              struct error *err)
{
        return m->check_before_update && m->has_limit && m->limit >= 0
                       ? memory_check_before_update(dir, "memory.usage_in_bytes", m->limit, err)
                       : 0;
}

/* That it is not disabled needs no word, and so no controller, unless one is there to be told. */
static bool oom_killer_is_meant(const struct limits *limits, const struct oci_memory *m)
{
        return m->has_disable_oom_killer &&
               (m->disable_oom_killer || cgroup_find_v1(limits->cg, "memory"));
}

/* limit <= memsw holds at every moment; limits_write() finds the order. */
static int memory_write(struct limits *limits, const struct oci_memory *m, struct error *err)
{
        const struct cgroup_dir *dir;
        struct limit items[2];
        struct limit item;
        size_t n = 0;
        bool has_swap = m->has_swap && m->swap != 0;

        if (!m->has_limit && !has_swap && !m->has_reservation && !m->has_swappiness &&
            !m->has_kernel_tcp && !oom_killer_is_meant(limits, m))
                return 0;
        dir = limits_dir(limits, "memory", memory_first_field(m), err);
        if (!dir || memory_check_usage(dir, m, err) < 0)
                return -1;
        if (m->has_limit)
                items[n++] = limit_i64("memory.limit", "memory.limit_in_bytes", m->limit);
        if (has_swap || (m->has_limit && m->limit == -1)) {
                /* No limit for memory means none for both together, either. */
                int64_t swap = has_swap ? m->swap : -1;

                items[n] = limit_i64("memory.swap", "memory.memsw.limit_in_bytes", swap);
                items[n++].optional = swap == -1;
        }
        if (limits_write(limits, dir, items, n, err) < 0)
                return -1;
        if (m->has_reservation) {
                item = limit_i64("memory.reservation", "memory.soft_limit_in_bytes",
                                 m->reservation);
                if (limits_write(limits, dir, &item, 1, err) < 0)
                        return -1;
        }
        if (m->has_swappiness) {
                item = limit_u64("memory.swappiness", "memory.swappiness", m->swappiness);
                if (limits_write(limits, dir, &item, 1, err) < 0)
                        return -1;
        }
        if (m->has_kernel_tcp) {
                item = limit_i64("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes",
                                 m->kernel_tcp);
                if (limits_write(limits, dir, &item, 1, err) < 0)
                        return -1;
        }
        if (!oom_killer_is_meant(limits, m))
                return 0;
        item = limit_i64("memory.disableOOMKiller", "memory.oom_control", m->disable_oom_killer);
        item.entry = "oom_kill_disable";
        item.only_listed = true;
        return limits_write(limits, dir, &item, 1, err);
}

static int cpu_write_bandwidth(struct limits *limits, const struct oci_cpu *c, struct error *err)
{
        const struct cgroup_dir *dir;
        struct limit items[3];
        size_t n = 0;

        if (c->has_period && c->period != 0)
                items[n++] = limit_u64("cpu.period", "cpu.cfs_period_us", c->period);
        if (c->has_quota && c->quota != 0)
                items[n++] = limit_i64("cpu.quota", "cpu.cfs_quota_us", c->quota);
        if (c->has_burst)
                items[n++] = limit_u64("cpu.burst", "cpu.cfs_burst_us", c->burst);
        if (n == 0)
                return 0;
        dir = limits_dir(limits, "cpu", items[0].field, err);
        return dir ? limits_write(limits, dir, items, n, err) : -1;
}

static int cpu_write_realtime(struct limits *limits, const struct oci_cpu *c, struct error *err)
{
        const struct cgroup_dir *dir;
        struct limit items[2];
        size_t n = 0;

        if (c->has_rt_period && c->rt_period != 0)
                items[n++] = limit_u64("cpu.realtimePeriod", "cpu.rt_period_us", c->rt_period);
        if (c->has_rt_runtime && c->rt_runtime != 0)
                items[n++] = limit_i64("cpu.realtimeRuntime", "cpu.rt_runtime_us", c->rt_runtime);
        if (n == 0)
                return 0;
        dir = limits_dir(limits, "cpu", items[0].field, err);
        return dir ? limits_write(limits, dir, items, n, err) : -1;
}

static int cpu_write(struct limits *limits, const struct oci_cpu *c, struct error *err)
{
        struct limit shares = limit_u64("cpu.shares", "cpu.shares", c->shares);

        /* An idle cgroup takes no shares: when it is to be idle no longer, that comes first. */
        if (c->has_idle && c->idle == 0 && idle_write(limits, c, "cpu.shares", err) < 0)
                return -1;
        if (c->has_shares && c->shares != 0 && !(c->has_idle && c->idle == 1) &&
            limits_write_one(limits, "cpu", &shares, err) < 0)
                return -1;
        if (cpu_write_bandwidth(limits, c, err) < 0 || cpu_write_realtime(limits, c, err) < 0)
                return -1;
        if (c->idle == 1 && idle_write(limits, c, "cpu.shares", err) < 0)
                return -1;
        return cpuset_write(limits, c, err);
}

int resources_write_v1(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        if (r->n_unified > 0)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "linux.resources.unified: this host's controllers are on cgroup "
                                 "v1");
        if (r->has_memory && memory_write(limits, &r->memory, err) < 0)
                return -1;
        if (r->has_cpu && cpu_write(limits, &r->cpu, err) < 0)
                return -1;
        if (pids_write(limits, r, err) < 0 || hugepages_write(limits, r, err) < 0 ||
            block_io_write_v1(limits, &r->block_io, err) < 0 ||
            network_write_v1(limits, &r->network, err) < 0)
                return -1;
        return rdma_write(limits, r, err);
}
