/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources: what v1 and v2 have in common, and the order. Devices come last: their
 * rules are replaced as a whole or not at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/devices.h"
#include "pkg/cgroup/internal.h"

const char *memory_first_field(const struct oci_memory *m)
{
        if (m->has_limit)
                return "memory.limit";
        if (m->has_swap && m->swap != 0)
                return "memory.swap";
        if (m->has_reservation)
                return "memory.reservation";
        return m->has_swappiness ? "memory.swappiness" : "memory.disableOOMKiller";
}

int memory_check_before_update(const struct cgroup_dir *dir, const char *usage_file, int64_t limit,
                               struct error *err)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, dir->path);
        _cleanup_free_ char *text = NULL;
        uint64_t usage;
        int r = fd < 0 ? fd : dir_read(fd, usage_file, &text);

        if (r < 0)
                return error_errno(err, -r, "read '%s/%s'", dir->path, usage_file);
        if (str_to_u64(text, &usage) == 0 && usage > (uint64_t)limit)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "linux.resources.memory.limit: %lld is below the present usage of "
                                 "%llu bytes",
                                 (long long)limit, (unsigned long long)usage);
        return 0;
}

static int cpuset_write_one(struct limits *limits, const char *field, const char *file,
                            const char *value, struct error *err)
{
        const struct limit item = {.field = field, .file = file, .text = value};

        return str_is_empty(value) ? 0 : limits_write_one(limits, "cpuset", &item, err);
}

int cpuset_write(struct limits *limits, const struct oci_cpu *c, struct error *err)
{
        if (cpuset_write_one(limits, "cpu.cpus", "cpuset.cpus", c->cpus, err) < 0)
                return -1;
        return cpuset_write_one(limits, "cpu.mems", "cpuset.mems", c->mems, err);
}

int idle_write(struct limits *limits, const struct oci_cpu *c, const char *weight_file,
               struct error *err)
{
        const struct limit item = limit_i64("cpu.idle", "cpu.idle", c->idle);
        const struct limit weight = {.file = weight_file};
        const struct cgroup_dir *dir;
        _cleanup_close_ int fd = -1;
        int r;

        if (!c->has_idle)
                return 0;
        dir = limits_dir(limits, "cpu", item.field, err);
        if (!dir)
                return -1;
        fd = dir_open(AT_FDCWD, dir->path);
        r = fd < 0 ? fd : limits_remember(limits, dir, fd, &weight);
        if (r < 0)
                return error_errno(err, -r, "read '%s/%s'", dir->path, weight_file);
        return limits_write(limits, dir, &item, 1, err);
}

/* 0 becomes 1: the kernel would refuse to clone the container's init into the cgroup, and that one
 * process is all that a limit of 0 leaves anyway. */
int pids_write(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        struct limit item =
                limit_max("pids.limit", "pids.max", r->pids_limit == 0 ? 1 : r->pids_limit);

        return r->has_pids ? limits_write_one(limits, "pids", &item, err) : 0;
}

static int rdma_write_one(struct limits *limits, const struct oci_rdma *rdma, const char *field,
                          const char *key, uint32_t value, struct error *err)
{
        struct limit item = limit_u64(field, "rdma.max", value);

        item.entry = rdma->device;
        item.key = key;
        item.unset = "max";
        return limits_write_one(limits, "rdma", &item, err);
}

int rdma_write(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        for (size_t i = 0; i < r->n_rdma; i++) {
                const struct oci_rdma *rdma = &r->rdma[i];

                if (rdma->has_handles && rdma_write_one(limits, rdma, "rdma.hcaHandles",
                                                        "hca_handle", rdma->handles, err) < 0)
                        return -1;
                if (rdma->has_objects && rdma_write_one(limits, rdma, "rdma.hcaObjects",
                                                        "hca_object", rdma->objects, err) < 0)
                        return -1;
        }
        return 0;
}

static int resources_write(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        return cgroup_is_on_v2(limits->cg) ? resources_write_v2(limits, r, err)
                                           : resources_write_v1(limits, r, err);
}

static bool allows_everything(const struct oci_resources *r)
{
        for (size_t i = 0; i < r->n_devices; i++) {
                if (r->devices[i].allow && device_rule_is_everything(&r->devices[i]))
                        return true;
        }
        return false;
}

/* systemd denies everything before it allows a list, and so do we if everything is allowed; and the
 * kernel empties a list before everything is allowed. */
static bool needs_hold(const struct cgroup *cg, const struct oci_resources *resources, bool is_told)
{
        return resources->has_devices && cgroup_find_v1(cg, "devices") &&
               (is_told || allows_everything(resources) || devices_are_all_allowed_v1(cg));
}

int cgroup_update_with(const struct cgroup *cg, const struct oci_resources *resources,
                       cgroup_told_fn tell, void *userdata, struct error *err)
{
        bool is_held = needs_hold(cg, resources, tell) && freezer_hold(cg);
        struct limits limits = {.cg = cg};
        int r = resources_write(&limits, resources, err);
        int told = r == 0 && tell ? tell(userdata, err) : 0;

        if (told < 0)
                r = -1;
        else if (told > 0)
                r = resources_write(&limits, resources, err);
        if (r == 0 && resources->has_devices)
                r = devices_update(cg, resources->devices, resources->n_devices, err);
        if (r < 0)
                limits_undo(&limits, err);
        if (is_held)
                freezer_release(cg);
        limits_free(&limits);
        return r;
}

int cgroup_update(const struct cgroup *cg, const struct oci_resources *resources, struct error *err)
{
        return cgroup_update_with(cg, resources, NULL, NULL, err);
}

int cgroup_apply_limits(const struct cgroup *cg, const struct oci_resources *resources,
                        struct error *err)
{
        struct limits limits = {.cg = cg};
        int r = resources_write(&limits, resources, err);

        if (r < 0)
                limits_undo(&limits, err);
        limits_free(&limits);
        return r;
}

int cgroup_apply_devices(const struct cgroup *cg, const struct oci_resources *resources,
                         struct error *err)
{
        return devices_write(cg, resources ? resources->devices : NULL,
                             resources ? resources->n_devices : 0, err);
}
