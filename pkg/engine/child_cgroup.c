/* SPDX-License-Identifier: Apache-2.0
 *
 * A mount of type cgroup: the container sees its own control groups and nothing above them. On v1
 * that is a tmpfs with one bind for each hierarchy, on v2 a cgroup2 of its own namespace, or a bind
 * where it has none (then perhaps of the host's tree: see plan_set_cgroup()).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

enum { DIRECTORY_MODE = 0755 };

static int get_trees(const struct plan *plan, const struct plan_mount *m, struct error *err)
{
        struct plan_private *p = plan->private_;
        int fds[FD_PASS_MAX];

        if (p->trees((size_t)(m - p->mounts), false, fds, p->n_cgroup_dirs, p->trees_userdata,
                     err) < 0)
                return -1;
        for (size_t i = 0; i < p->n_cgroup_dirs; i++)
                p->cgroup_dirs[i].tree_fd = fds[i];
        return 0;
}

static int move_tree(const struct plan_mount *m, int tree, int target, struct error *err)
{
        if (child_set_attr(tree, false, m->attr_set, m->attr_clear, MS_PRIVATE) < 0 ||
            child_move_mount(tree, target) < 0)
                return error_errno(err, errno, "mount cgroup on '%s'", m->destination);
        return 0;
}

static int mount_v2(const struct plan *plan, struct plan_mount *m, int target, struct error *err)
{
        const struct plan_private *p = plan->private_;
        struct plan_mount v2 = *m;
        _cleanup_close_ int fd = -1;

        v2.type = "cgroup2";
        v2.source = "cgroup";
        v2.options.data = NULL;
        if (p->has_cgroup_namespace) {
                fd = child_fsmount(plan, &v2, NULL, err);
                if (fd >= 0) {
                        if (child_move_mount(fd, target) < 0)
                                return error_errno(err, errno, "mount cgroup on '%s'",
                                                   m->destination);
                        return 0;
                }
                /* a user namespace that does not own this cgroup namespace */
                if (err->errnum != EPERM && err->errnum != EBUSY)
                        return -1;
        }
        if (get_trees(plan, m, err) < 0)
                return -1;
        return move_tree(m, p->cgroup_dirs[0].tree_fd, target, err);
}

/* The other names of a merged hierarchy: cpu -> cpu,cpuacct. */
static int link_names(const struct plan_cgroup_dir *dir, int top, struct error *err)
{
        const char *s = dir->links;

        while (*s) {
                char name[NAME_MAX + 1];
                size_t n = strcspn(s, ",");

                if (n > NAME_MAX)
                        return error_set(err, STATUS_UNKNOWN, "cgroup '%s': name too long",
                                         dir->name);
                memcpy(name, s, n);
                name[n] = '\0';
                if (symlinkat(dir->name, top, name) < 0)
                        return error_errno(err, errno, "link cgroup '%s'", name);
                s += n + (s[n] == ',');
        }
        return 0;
}

static int mount_v1(const struct plan *plan, struct plan_mount *m, int target, struct error *err)
{
        const struct plan_private *p = plan->private_;
        struct plan_mount top = *m;
        _cleanup_close_ int fd = -1;

        top.type = "tmpfs";
        top.source = "tmpfs";
        top.options.data = NULL;
        top.readonly_later = true; /* that is: not yet */
        fd = child_fsmount(plan, &top, "mode=755", err);
        if (fd < 0)
                return -1;
        if (child_move_mount(fd, target) < 0)
                return error_errno(err, errno, "mount cgroup on '%s'", m->destination);
        if (get_trees(plan, m, err) < 0)
                return -1;
        for (size_t i = 0; i < p->n_cgroup_dirs; i++) {
                const struct plan_cgroup_dir *dir = &p->cgroup_dirs[i];
                _cleanup_close_ int place = -1;

                if (mkdirat(fd, dir->name, DIRECTORY_MODE) < 0)
                        return error_errno(err, errno, "make cgroup directory '%s'", dir->name);
                place = openat(fd, dir->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (place < 0)
                        return error_errno(err, errno, "open cgroup directory '%s'", dir->name);
                if (move_tree(m, dir->tree_fd, place, err) < 0 || link_names(dir, fd, err) < 0)
                        return -1;
        }
        if ((m->attr_set & MOUNT_ATTR_RDONLY) &&
            child_set_attr(fd, false, MOUNT_ATTR_RDONLY, 0, 0) < 0)
                return error_errno(err, errno, "make '%s' read-only", m->destination);
        return 0;
}

int child_mount_cgroup(const struct plan *plan, struct plan_mount *m, int target, struct error *err)
{
        const struct plan_private *p = plan->private_;

        if (p->n_cgroup_dirs == 0)
                return error_set(err, STATUS_INTERNAL,
                                 "mount cgroup on '%s': the plan was not told of the cgroup",
                                 m->destination);
        return p->cgroup_is_unified ? mount_v2(plan, m, target, err)
                                    : mount_v1(plan, m, target, err);
}
