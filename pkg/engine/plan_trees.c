/* SPDX-License-Identifier: Apache-2.0
 *
 * The trees of the host that mounts[] bind: cloned by the stage, with flags and propagation set,
 * and handed to the child as descriptors. That is done when the child comes to them. The kernel
 * would let nobody else: what the child has of the host's mounts is a copy, which a user namespace
 * may not walk, and a descriptor of the original cannot be cloned from another mount namespace. To
 * clone them all beforehand would be simpler, but since Linux 6.8 mountinfo is sorted by the age of
 * mounts, and so it would not tell in which order they lie.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

/* So many at once. When there are more, the child mounts some while the stage clones the next. */
enum { TREES_AT_ONCE = 16 };

size_t plan_count_mounts(const struct plan *plan)
{
        return plan->private_->n_mounts;
}

size_t plan_count_trees(const struct plan *plan, size_t first)
{
        const struct plan_private *p = plan->private_;
        size_t n = 0;

        if (p->mounts[first].kind == PLAN_MOUNT_CGROUP)
                return p->n_cgroup_dirs;
        for (size_t i = first; i < p->n_mounts && n < TREES_AT_ONCE; i++) {
                /* a remount makes no mount, so it does not part what is around it */
                if (p->mounts[i].kind == PLAN_MOUNT_BIND)
                        n++;
                else if (p->mounts[i].kind != PLAN_MOUNT_REMOUNT)
                        break;
        }
        return n;
}

bool plan_may_want_trees(const struct plan *plan, size_t from)
{
        const struct plan_private *p = plan->private_;

        for (size_t i = from; i < p->n_mounts; i++) {
                if (p->mounts[i].kind == PLAN_MOUNT_BIND || p->mounts[i].kind == PLAN_MOUNT_CGROUP)
                        return true;
        }
        return false;
}

size_t plan_end_of_trees(const struct plan *plan, size_t first)
{
        const struct plan_private *p = plan->private_;
        size_t left = plan_count_trees(plan, first);
        size_t i = first;

        if (p->mounts[first].kind == PLAN_MOUNT_CGROUP)
                return first + 1;
        for (; left > 0; i++)
                left -= p->mounts[i].kind == PLAN_MOUNT_BIND;
        return i;
}

bool plan_trees_follow(const struct plan *plan, size_t first)
{
        const struct plan_private *p = plan->private_;
        size_t i = plan_end_of_trees(plan, first);

        if (p->mounts[first].kind == PLAN_MOUNT_CGROUP)
                return false;
        while (i < p->n_mounts && p->mounts[i].kind == PLAN_MOUNT_REMOUNT)
                i++;
        return i < p->n_mounts && p->mounts[i].kind == PLAN_MOUNT_BIND;
}

/*
 * Flags of a bind, then its propagation: what the entry asks for, else what the root will have. A
 * shared source stays in its peer group only if that is wanted; a container with a user namespace
 * of its own never becomes a peer of the host, since it may mount.
 */
static int set_bind_attributes(const struct plan *plan, const struct plan_mount *m, int tree_fd)
{
        const struct plan_private *p = plan->private_;
        const struct oci_mount_options *o = &m->options;
        uint64_t set = m->readonly_later ? m->attr_set & ~(uint64_t)MOUNT_ATTR_RDONLY : m->attr_set;
        unsigned type = (unsigned)o->propagation & ~(unsigned)MS_REC;
        bool recursive = type == 0 || (o->propagation & MS_REC);
        bool is_single = !(o->flags & MS_REC);

        if (type == 0)
                type = p->root_propagation == MS_UNBINDABLE ? MS_PRIVATE : p->root_propagation;
        if (type == MS_SHARED && p->has_user_namespace &&
            child_set_attr(tree_fd, recursive, 0, 0, MS_SLAVE) < 0)
                return -errno;
        if (!is_single && child_set_attr(tree_fd, recursive, 0, 0, type) < 0)
                return -errno;
        if ((is_single || set || m->attr_clear) &&
            child_set_attr(tree_fd, false, set, m->attr_clear, is_single ? type : 0) < 0)
                return -errno;
        if ((o->attr_rec_set || o->attr_rec_clear) &&
            child_set_attr(tree_fd, true, o->attr_rec_set, o->attr_rec_clear, 0) < 0)
                return -errno;
        return 0;
}

static int clone_bind(const struct plan *plan, size_t index, struct error *err)
{
        const struct plan_mount *m = &plan->private_->mounts[index];
        unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
        _cleanup_close_ int fd = -1;
        int r;

        if (m->options.flags & MS_REC)
                flags |= AT_RECURSIVE;
        fd = open_tree(m->source_fd, "", flags);
        if (fd < 0)
                return error_errno(err, errno, "mounts[%zu]: clone '%s'", index, m->source);
        if (plan_idmap_tree(plan, m, fd, index, err) < 0)
                return -1;
        r = set_bind_attributes(plan, m, fd);
        if (r < 0)
                return error_errno(err, -r, "mounts[%zu]: set the flags of '%s'", index, m->source);
        return TAKE_FD(fd);
}

static int clone_cgroup(const struct plan_cgroup_dir *dir, struct error *err)
{
        int fd = open_tree(AT_FDCWD, dir->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        return fd < 0 ? error_errno(err, errno, "open cgroup '%s'", dir->path) : fd;
}

int plan_clone_trees(const struct plan *plan, size_t first, int *fds, struct error *err)
{
        const struct plan_private *p = plan->private_;
        size_t n = plan_count_trees(plan, first);
        bool is_cgroup = p->mounts[first].kind == PLAN_MOUNT_CGROUP;
        size_t done = 0;

        for (size_t i = first; done < n; i++) {
                if (!is_cgroup && p->mounts[i].kind != PLAN_MOUNT_BIND)
                        continue;
                fds[done] = is_cgroup ? clone_cgroup(&p->cgroup_dirs[done], err)
                                      : clone_bind(plan, i, err);
                if (fds[done] < 0) {
                        while (done > 0)
                                fd_close(fds[--done]);
                        return -1;
                }
                done++;
        }
        return 0;
}
