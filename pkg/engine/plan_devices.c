/* SPDX-License-Identifier: Apache-2.0
 *
 * The nodes that the container gets: linux.devices, then the default ones of the runtime-spec that
 * it does not list. In a user namespace mknod(2) is refused, so there the host's nodes are bound;
 * they are opened here and checked to be what they are called.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/engine/plan_private.h"

enum { DEVICE_MODE = 0666 };

static const struct {
        const char *path;
        unsigned major, minor;
} defaults[] = {
        {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
        {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};
enum { N_DEFAULTS = sizeof(defaults) / sizeof(defaults[0]) };

static int open_host_node(struct plan_device *d, struct error *err)
{
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (S_ISFIFO(d->mode))
                return 0; /* no privilege is needed to make one */
        fd = open_tree(AT_FDCWD, d->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open device '%s' of the host", d->path);
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "look at device '%s' of the host", d->path);
        if ((st.st_mode & S_IFMT) != (d->mode & S_IFMT) || st.st_rdev != d->rdev)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.devices: '%s' of the host is not %u:%u", d->path,
                                 major(d->rdev), minor(d->rdev));
        d->tree_fd = TAKE_FD(fd);
        return 0;
}

static int add_listed(struct plan *plan, const struct oci_device *in, size_t index,
                      struct error *err)
{
        struct plan_private *p = plan->private_;
        mode_t type = in->type == 'b' ? S_IFBLK : in->type == 'p' ? S_IFIFO : S_IFCHR;
        struct plan_device *d = &p->devices[p->n_devices];
        const char *path = plan_clean_path(p->arena, in->path);

        if (!path)
                return plan_no_memory(err);
        if (strcmp(path, "/") == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "linux.devices[%zu].path: is '/'",
                                 index);
        if (type != S_IFIFO &&
            (in->major < 0 || in->major > UINT32_MAX || in->minor < 0 || in->minor > UINT32_MAX))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.devices[%zu]: needs a major and a minor number", index);
        *d = (struct plan_device){
                .path = path,
                .mode = type | (in->has_file_mode ? in->file_mode & 07777 : DEVICE_MODE),
                .rdev = type == S_IFIFO ? 0 : makedev((unsigned)in->major, (unsigned)in->minor),
                .uid = in->uid,
                .gid = in->gid,
                .tree_fd = -1,
        };
        if (p->has_user_namespace && open_host_node(d, err) < 0)
                return -1;
        p->n_devices++;
        return 0;
}

static bool is_listed(const struct plan_private *p, const char *path)
{
        for (size_t i = 0; i < p->n_devices; i++) {
                if (strcmp(p->devices[i].path, path) == 0)
                        return true;
        }
        return false;
}

int plan_add_devices(struct plan *plan, struct error *err)
{
        const struct oci_linux *l = &plan->spec->linux_;
        struct plan_private *p = plan->private_;

        p->devices = arena_calloc(p->arena, l->n_devices + N_DEFAULTS, sizeof(*p->devices));
        if (!p->devices)
                return plan_no_memory(err);
        if (!p->make_dev)
                return 0;
        for (size_t i = 0; i < l->n_devices; i++) {
                if (add_listed(plan, &l->devices[i], i, err) < 0)
                        return -1;
        }
        for (size_t i = 0; i < N_DEFAULTS; i++) {
                struct plan_device *d = &p->devices[p->n_devices];

                if (is_listed(p, defaults[i].path))
                        continue;
                *d = (struct plan_device){
                        .path = defaults[i].path,
                        .mode = S_IFCHR | DEVICE_MODE,
                        .rdev = makedev(defaults[i].major, defaults[i].minor),
                        .tree_fd = -1,
                };
                if (p->has_user_namespace && open_host_node(d, err) < 0)
                        return -1;
                p->n_devices++;
        }
        p->has_kcore = access("/proc/kcore", F_OK) == 0;
        return 0;
}
