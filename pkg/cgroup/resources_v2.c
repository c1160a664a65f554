/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources on cgroup v2. The document speaks v1, so numbers are converted, by the formulas
 * that runc uses, since tools compare: see cgroup_v2_weight() and cgroup_v2_swap(). What v2 does
 * not have is refused by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/convert.h"
#include "pkg/cgroup/internal.h"

enum { SHARES_MIN = 2, SHARES_MAX = 262144, WEIGHT_MIN = 1, WEIGHT_MAX = 10000 };

uint64_t cgroup_v2_weight(uint64_t shares)
{
        double l;

        if (shares <= SHARES_MIN)
                return WEIGHT_MIN;
        if (shares >= SHARES_MAX)
                return WEIGHT_MAX;
        l = log2((double)shares);
        return (uint64_t)ceil(pow(10, (l * l + 125 * l) / 612.0 - 7.0 / 34.0));
}

int cgroup_v2_swap(const struct oci_memory *m, bool *ret_has, int64_t *ret, struct error *err)
{
        *ret_has = true;
        if (!m->has_swap || m->swap == 0) {
                *ret = -1;
                *ret_has = m->has_limit && m->limit == -1;
                return 0;
        }
        if (m->swap < 0) {
                *ret = -1;
                return 0;
        }
        if (!m->has_limit || m->limit <= 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.memory.swap: needs memory.limit on cgroup v2");
        if (m->swap < m->limit)
                return error_set(
                        err, STATUS_INVALID_ARGUMENT,
                        "linux.resources.memory.swap: %lld is below memory.limit, which it "
                        "includes",
                        (long long)m->swap);
        *ret = m->swap - m->limit;
        return 0;
}

int v2_lacks(const char *field, struct error *err)
{
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "linux.resources.%s: cgroup v2 has no such limit", field);
}

static int memory_write(struct limits *limits, const struct oci_memory *m, struct error *err)
{
        const struct cgroup_dir *dir = cgroup_find_v2(limits->cg);
        struct limit items[3];
        bool has_swap;
        int64_t swap;
        size_t n = 0;

        if (m->has_swappiness)
                return v2_lacks("memory.swappiness", err);
        if (m->has_disable_oom_killer && m->disable_oom_killer)
                return v2_lacks("memory.disableOOMKiller", err);
        if (cgroup_v2_swap(m, &has_swap, &swap, err) < 0)
                return -1;
        if (m->check_before_update && m->has_limit && m->limit >= 0 &&
            memory_check_before_update(dir, "memory.current", m->limit, err) < 0)
                return -1;
        if (has_swap) {
                items[n] = limit_max("memory.swap", "memory.swap.max", swap);
                /* Without swap there is nothing to be forbidden or allowed. */
                items[n++].optional = swap <= 0;
        }
        if (m->has_limit)
                items[n++] = limit_max("memory.limit", "memory.max", m->limit);
        if (m->has_reservation)
                items[n++] = limit_max("memory.reservation", "memory.low", m->reservation);
        return limits_write(limits, dir, items, n, err);
}

/* cpu.max is "quota period"; what is not given stays. */
static int cpu_max(const struct cgroup_dir *dir, const struct oci_cpu *c, struct limit *ret,
                   struct error *err)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, dir->path);
        _cleanup_free_ char *old = NULL;
        bool has_quota = c->has_quota && c->quota != 0;
        bool has_period = c->has_period && c->period != 0;
        char quota[32] = "max";
        int r;

        if (has_quota && c->quota > 0) {
                (void)snprintf(quota, sizeof(quota), "%lld", (long long)c->quota);
        } else if (!has_quota) {
                r = fd < 0 ? fd : dir_read(fd, "cpu.max", &old);
                if (r == 0)
                        (void)snprintf(quota, sizeof(quota), "%.*s", (int)strcspn(old, " "), old);
                else if (r != -ENOENT)
                        return error_errno(err, -r, "read '%s/cpu.max'", dir->path);
        }
        *ret = (struct limit){.field = has_quota ? "cpu.quota" : "cpu.period", .file = "cpu.max"};
        if (has_period)
                (void)snprintf(ret->value, sizeof(ret->value), "%s %llu", quota,
                               (unsigned long long)c->period);
        else
                (void)snprintf(ret->value, sizeof(ret->value), "%s", quota);
        return 0;
}

static int cpu_write(struct limits *limits, const struct oci_cpu *c, struct error *err)
{
        const struct cgroup_dir *dir = cgroup_find_v2(limits->cg);
        struct limit items[LIMIT_GROUP_MAX];
        size_t n = 0;

        if (c->has_rt_runtime && c->rt_runtime != 0)
                return v2_lacks("cpu.realtimeRuntime", err);
        if (c->has_rt_period && c->rt_period != 0)
                return v2_lacks("cpu.realtimePeriod", err);
        if (idle_write(limits, c, "cpu.weight", err) < 0)
                return -1;
        /* An idle cgroup has a weight of its own, and takes no other. */
        if (c->has_shares && c->shares != 0 && !(c->has_idle && c->idle == 1))
                items[n++] = limit_u64("cpu.shares", "cpu.weight", cgroup_v2_weight(c->shares));
        if ((c->has_quota && c->quota != 0) || (c->has_period && c->period != 0)) {
                if (cpu_max(dir, c, &items[n++], err) < 0)
                        return -1;
        }
        if (c->has_burst)
                items[n++] = limit_u64("cpu.burst", "cpu.max.burst", c->burst);
        if (limits_write(limits, dir, items, n, err) < 0)
                return -1;
        return cpuset_write(limits, c, err);
}

/* Verbatim. Of a file with a line for each device the line that is about to change is kept. */
static int unified_write(struct limits *limits, const struct oci_unified *u, struct error *err)
{
        char field[80];
        struct limit item = {.field = field, .file = u->file, .text = u->value};

        if (str_is_empty(u->file) || strchr(u->file, '/') || u->file[0] == '.')
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.unified: '%.64s' is no file name of a cgroup",
                                 u->file ? u->file : "");
        (void)snprintf(field, sizeof(field), "unified['%.64s']", u->file);
        return limits_write(limits, cgroup_find_v2(limits->cg), &item, 1, err);
}

static int network_refuse(const struct oci_network *n, struct error *err)
{
        if (n->has_class_id)
                return v2_lacks("network.classID", err);
        return n->n_priorities > 0 ? v2_lacks("network.priorities", err) : 0;
}

int resources_write_v2(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        if (r->has_memory && memory_write(limits, &r->memory, err) < 0)
                return -1;
        if (r->has_cpu && cpu_write(limits, &r->cpu, err) < 0)
                return -1;
        if (pids_write(limits, r, err) < 0 || hugepages_write(limits, r, err) < 0 ||
            block_io_write_v2(limits, &r->block_io, err) < 0 ||
            network_refuse(&r->network, err) < 0 || rdma_write(limits, r, err) < 0)
                return -1;
        for (size_t i = 0; i < r->n_unified; i++) {
                if (unified_write(limits, &r->unified[i], err) < 0)
                        return -1;
        }
        return 0;
}
