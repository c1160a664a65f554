/* SPDX-License-Identifier: Apache-2.0
 *
 * maskedPaths and readonlyPaths, after the pivot. The one /dev/null and the one empty directory
 * that cover things are checked and made read-only first, and then cloned from their descriptors.
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
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

/* What covers a path: the first use moves the mount, the others clone it where it then is (a
 * detached mount can be cloned only since Linux 6.15). */
struct cover {
        int fd;
        bool is_attached;
};

static void close_cover(struct cover *c)
{
        fd_close(c->fd);
}

static int put_cover(struct cover *c, int target)
{
        _cleanup_close_ int clone = -1;

        if (!c->is_attached) {
                if (child_move_mount(c->fd, target) < 0)
                        return -1;
                c->is_attached = true;
                return 0;
        }
        clone = open_tree(c->fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (clone < 0)
                return -1;
        return child_move_mount(clone, target);
}

/* What is below /proc and /sys is looked for in the mounts that were made there, wherever somebody
 * who shares the rootfs may have moved their place since. */
static int open_path(const struct plan *plan, const char *path)
{
        const struct plan_private *p = plan->private_;

        if (!strstr(path, "/..")) {
                if (p->proc_mount >= 0 && str_has_prefix(path, "/proc/"))
                        return child_open_in_root(p->proc_mount, path + strlen("/proc"), O_PATH);
                if (p->sys_mount >= 0 && str_has_prefix(path, "/sys/"))
                        return child_open_in_root(p->sys_mount, path + strlen("/sys"), O_PATH);
        }
        return child_open_in_root(child_root(plan), path, O_PATH);
}

/* The container's /dev/null, if it is one. Read-only: as a device it can be written to all the
 * same, but its owner and mode cannot be changed through the masked name. */
static int open_null(const struct plan *plan, struct error *err)
{
        _cleanup_close_ int node =
                child_open_in_root_nofollow(child_root(plan), "/dev/null", O_PATH);
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (node < 0 || fstat(node, &st) < 0)
                return error_errno(err, errno, "mask: open '/dev/null'");
        if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mask: '/dev/null' is not the null device");
        fd = open_tree(node, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (fd < 0 ||
            child_set_attr(fd, false, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0,
                           MS_PRIVATE) < 0)
                return error_errno(err, errno, "mask: clone '/dev/null'");
        return TAKE_FD(fd);
}

static int open_empty(const struct plan *plan, struct error *err)
{
        struct plan_mount m = {
                .kind = PLAN_MOUNT_FRESH,
                .type = "tmpfs",
                .source = "tmpfs",
                .destination = "(masked)",
                .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                            MOUNT_ATTR_NOEXEC,
        };

        return child_fsmount(plan, &m, "mode=755,nr_inodes=2,nr_blocks=1", err);
}

static int mask_path(const struct plan *plan, const char *path, struct cover *null,
                     struct cover *empty, struct error *err)
{
        _cleanup_close_ int target = open_path(plan, path);
        struct cover *cover = null;
        struct stat st;

        if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
                return 0;
        if (target < 0 || fstat(target, &st) < 0)
                return error_errno(err, errno, "mask '%s'", path);
        if (S_ISDIR(st.st_mode))
                cover = empty;
        if (cover->fd < 0)
                cover->fd = cover == empty ? open_empty(plan, err) : open_null(plan, err);
        if (cover->fd < 0)
                return -1;
        if (put_cover(cover, target) < 0)
                return error_errno(err, errno, "mask '%s'", path);
        return 0;
}

int child_mask_paths(const struct plan *plan, struct error *err)
{
        const struct oci_strings *paths = &plan->spec->linux_.masked_paths;
        _cleanup_(close_cover) struct cover null = {.fd = -1};
        _cleanup_(close_cover) struct cover empty = {.fd = -1};

        for (size_t i = 0; i < paths->n; i++) {
                if (mask_path(plan, paths->items[i], &null, &empty, err) < 0)
                        return -1;
        }
        return 0;
}

int child_readonly_paths(const struct plan *plan, struct error *err)
{
        const struct oci_strings *paths = &plan->spec->linux_.readonly_paths;

        for (size_t i = 0; i < paths->n; i++) {
                const char *path = paths->items[i];
                _cleanup_close_ int target = open_path(plan, path);
                _cleanup_close_ int fd = -1;

                if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
                        continue;
                if (target < 0)
                        return error_errno(err, errno, "make '%s' read-only", path);
                fd = open_tree(target, "",
                               OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
                if (fd < 0 || child_set_attr(fd, true, MOUNT_ATTR_RDONLY, 0, 0) < 0 ||
                    child_move_mount(fd, target) < 0)
                        return error_errno(err, errno, "make '%s' read-only", path);
        }
        return 0;
}
