/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources: what v1 and v2 have in common, and the order. Devices come last: they are what
 * cannot be taken back.
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

/* Lists of cpus and nodes have no bound that fits into a struct limit. */
static int cpuset_write_one(struct limits *limits, const char *field, const char *file,
                            const char *value, struct error *err)
{
        const struct cgroup_dir *dir;
        _cleanup_close_ int fd = -1;
        int r;

        if (str_is_empty(value))
                return 0;
        dir = limits_dir(limits, "cpuset", field, err);
        if (!dir)
                return -1;
        fd = dir_open(AT_FDCWD, dir->path);
        if (fd >= 0)
                limits_remember(limits, dir, fd, file);
        r = fd < 0 ? fd : file_write(fd, file, value);
        if (r == -ENOENT)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "linux.resources.%s: this host has no '%s'", field, file);
        if (r < 0)
                return error_errno(err, -r, "linux.resources.%s: write '%.64s' to '%s/%s'", field,
                                   value, dir->path, file);
        return 0;
}

int cpuset_write(struct limits *limits, const struct oci_cpu *c, struct error *err)
{
        if (cpuset_write_one(limits, "cpu.cpus", "cpuset.cpus", c->cpus, err) < 0)
                return -1;
        return cpuset_write_one(limits, "cpu.mems", "cpuset.mems", c->mems, err);
}

/* 0 becomes 1: the kernel would refuse to clone the container's init into the cgroup, and that one
 * process is all that a limit of 0 leaves anyway. */
int pids_write(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        struct limit item =
                limit_max("pids.limit", "pids.max", r->pids_limit == 0 ? 1 : r->pids_limit);
        const struct cgroup_dir *dir;

        if (!r->has_pids)
                return 0;
        dir = limits_dir(limits, "pids", item.field, err);
        return dir ? limits_write(limits, dir, &item, 1, err) : -1;
}

static int resources_write(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        return cgroup_is_on_v2(limits->cg) ? resources_write_v2(limits, r, err)
                                           : resources_write_v1(limits, r, err);
}

int cgroup_update(const struct cgroup *cg, const struct oci_resources *resources, struct error *err)
{
        struct limits limits = {.cg = cg};

        if (resources_write(&limits, resources, err) < 0) {
                limits_undo(&limits);
                return -1;
        }
        return 0;
}

int cgroup_apply(const struct cgroup *cg, const struct oci_resources *resources, struct error *err)
{
        struct limits limits = {.cg = cg};

        if ((resources && resources_write(&limits, resources, err) < 0) ||
            devices_write(cg, resources ? resources->devices : NULL,
                          resources ? resources->n_devices : 0, err) < 0) {
                limits_undo(&limits);
                return -1;
        }
        return 0;
}
