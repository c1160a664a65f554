/* SPDX-License-Identifier: Apache-2.0
 *
 * The root: from a detached clone to "/". Until the pivot the container's tree hangs where the
 * bundle's rootfs is, since hooks look for it there; afterwards nothing of the host is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

/* An image whose /dev, /proc or /sys is a symlink would have everything that belongs there done
 * somewhere else (CVE-2019-19921, CVE-2026-41579). */
static int refuse_symlinks(int root, struct error *err)
{
        static const char *const names[] = {"dev", "proc", "sys"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct stat st;

                if (fstatat(root, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "rootfs: '/%s' is a symbolic link", names[i]);
        }
        return 0;
}

int child_attach_rootfs(const struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;
        _cleanup_close_ int target = -1;
        struct stat st;

        if (!p->has_mount_namespace) {
                p->root_fd = plan->rootfs_fd;
                return 0;
        }
        /* Nothing that is mounted here may reach the host; and the mount that holds the rootfs is
         * no longer shared, which pivot_root(2) demands. */
        if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
                return error_errno(err, errno, "rootfs: make '/' a slave");
        target = open(p->rootfs_path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (target < 0 || fstat(target, &st) < 0)
                return error_errno(err, errno, "rootfs: open '%s'", p->rootfs_path);
        /* in a mount namespace that was joined, this place may hold something else */
        if (plan->join_fds[OCI_NS_MOUNT] < 0 &&
            (st.st_dev != p->rootfs_dev || st.st_ino != p->rootfs_ino))
                return error_set(err, STATUS_UNKNOWN,
                                 "rootfs: '%s' is not the directory that it was", p->rootfs_path);
        if (child_move_mount(plan->rootfs_fd, target) < 0)
                return error_errno(err, errno, "rootfs: mount on '%s'", p->rootfs_path);
        p->root_fd = plan->rootfs_fd;
        return refuse_symlinks(p->root_fd, err);
}

/* pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one. */
static int pivot(int root, struct error *err)
{
        if (fchdir(root) < 0)
                return error_errno(err, errno, "rootfs: enter");
        if (syscall(SYS_pivot_root, ".", ".") < 0)
                return error_errno(err, errno, "rootfs: pivot_root");
        /* All of it is a slave since child_attach_rootfs(), so the host does not see it go. */
        if (umount2(".", MNT_DETACH) < 0)
                return error_errno(err, errno, "rootfs: unmount the old root");
        if (chdir("/") < 0)
                return error_errno(err, errno, "rootfs: enter '/'");
        return 0;
}

/* For a host whose root is a ramfs, which cannot be pivoted from. */
static int move_root(const struct plan *plan, struct error *err)
{
        const struct plan_private *p = plan->private_;

        for (size_t i = 0; i < p->n_hide_paths; i++) {
                const char *path = p->hide_paths[i];

                if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
                        continue;
                /* locked by a user namespace, or gone with the mount above it */
                if (mount("tmpfs", path, "tmpfs", 0, "size=0,nr_inodes=1") < 0 && errno != ENOENT)
                        return error_errno(err, errno, "rootfs: hide '%s'", path);
        }
        if (move_mount(p->root_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return error_errno(err, errno, "rootfs: move to '/'");
        if (fchdir(p->root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
                return error_errno(err, errno, "rootfs: chroot");
        return 0;
}

int child_pivot(const struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;

        if (!p->has_mount_namespace) {
                if (fchdir(p->root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
                        return error_errno(err, errno, "rootfs: chroot");
                return 0;
        }
        return plan->options.no_pivot_root ? move_root(plan, err) : pivot(p->root_fd, err);
}

int child_set_root_propagation(const struct plan *plan, struct error *err)
{
        const struct plan_private *p = plan->private_;

        /* private and slave it has been from the beginning */
        if (!p->has_mount_namespace || p->root_propagation == MS_PRIVATE ||
            p->root_propagation == MS_SLAVE)
                return 0;
        if (child_set_attr(p->root_fd, false, 0, 0, p->root_propagation) < 0)
                return error_errno(err, errno, "rootfs: set the propagation of '/'");
        return 0;
}

int child_lock_mounts(const struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;

        for (size_t i = 0; i < p->n_mounts; i++) {
                struct plan_mount *m = &p->mounts[i];

                if (m->readonly_later &&
                    child_set_attr(m->tree_fd, false, MOUNT_ATTR_RDONLY, 0, 0) < 0)
                        return error_errno(err, errno, "make '%s' read-only", m->destination);
        }
        if (plan->spec->root_readonly &&
            child_set_attr(p->root_fd, false, MOUNT_ATTR_RDONLY, 0, 0) < 0)
                return error_errno(err, errno, "make '/' read-only");
        return 0;
}
