/* SPDX-License-Identifier: Apache-2.0
 *
 * mounts[], in order. Each destination is resolved inside the root, made if it is missing, and the
 * mount is moved onto the descriptor: nobody can exchange the place between check and use
 * (CVE-2021-30465).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

static int check_target(const struct plan_mount *m, int target, struct error *err)
{
        struct stat st;

        if (fstat(target, &st) < 0)
                return error_errno(err, errno, "mount '%s': look at '%s'", m->source,
                                   m->destination);
        if (S_ISDIR(st.st_mode) != m->is_directory)
                return error_set(err, STATUS_INVALID_ARGUMENT, "mount '%s' on '%s': %s", m->source,
                                 m->destination,
                                 m->is_directory ? "not a directory" : "is a directory");
        /* By whatever name it was reached. */
        if (!m->on_procfs && child_is_on(target, PROC_SUPER_MAGIC))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mount '%s' on '%s': leads to procfs", m->source, m->destination);
        return 0;
}

static int move_to_target(const struct plan_mount *m, int fd, int target, struct error *err)
{
        if (child_move_mount(fd, target) < 0)
                return error_errno(err, errno, "mount '%s' on '%s'", m->source, m->destination);
        return 0;
}

/* By mount(2), for options that fsconfig(2) cannot take. The host's /proc is still there. */
static int mount_classic(const struct plan *plan, const struct plan_mount *m, int target,
                         struct error *err)
{
        unsigned long flags = m->options.flags & ~(unsigned long)(MS_BIND | MS_REC);
        char path[40];
        _cleanup_close_ int fd = -1;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
        if (mount(m->source, path, m->type, flags, m->options.data) < 0)
                return error_errno(err, errno, "mount '%s' on '%s'", m->source, m->destination);
        fd = child_open_in_root(child_root(plan), m->destination, O_PATH);
        if (fd < 0)
                return error_errno(err, errno, "mount '%s': open '%s'", m->source, m->destination);
        /* The descriptor of the target still leads to what is beneath. */
        if (m->options.tmpcopyup && child_copy_up(plan, m, target, fd, err) < 0)
                return -1;
        return TAKE_FD(fd);
}

/*
 * sysfs belongs to a network namespace; without a right to that one it cannot be mounted, and the
 * host's is bound instead. Its cgroup mounts must not become writable that way (CVE-2023-25809);
 * the kernel changes only the top of a tree that is not attached yet, so theirs is done afterwards.
 */
static int bind_sysfs(const struct plan_mount *m, int target, struct error *err)
{
        _cleanup_close_ int fd =
                open_tree(AT_FDCWD, "/sys", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        _cleanup_close_ int cgroup = -1;

        if (fd < 0 || child_set_attr(fd, true, 0, 0, MS_PRIVATE) < 0 ||
            child_set_attr(fd, (m->attr_set & MOUNT_ATTR_RDONLY) != 0, m->attr_set, 0, 0) < 0)
                return error_errno(err, errno, "bind '/sys' on '%s'", m->destination);
        if (move_to_target(m, fd, target, err) < 0)
                return -1;
        cgroup = openat(fd, "fs/cgroup", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        /* EINVAL: nothing is mounted there */
        if (cgroup >= 0 && child_set_attr(cgroup, true, MOUNT_ATTR_RDONLY, 0, 0) < 0 &&
            errno != EINVAL)
                return error_errno(err, errno, "make cgroups below '%s' read-only", m->destination);
        return TAKE_FD(fd);
}

static int mount_new(const struct plan *plan, const struct plan_mount *m, int target, bool made,
                     struct error *err)
{
        _cleanup_close_ int fd = -1;
        char mode[16] = "";
        struct stat st;

        /* A tmpfs looks like the directory that it covers, unless told otherwise. */
        if (strcmp(m->type, "tmpfs") == 0 && !made && fstat(target, &st) == 0 &&
            !strstr(m->options.data ? m->options.data : "", "mode="))
                (void)snprintf(mode, sizeof(mode), "mode=%o", st.st_mode & 07777u);
        fd = child_fsmount(plan, m, mode, err);
        if (fd < 0 && strcmp(m->type, "sysfs") == 0 && err->errnum == EPERM)
                return bind_sysfs(m, target, err);
        if (fd < 0 ||
            (m->options.tmpcopyup && !made && child_copy_up(plan, m, target, fd, err) < 0) ||
            move_to_target(m, fd, target, err) < 0)
                return -1;
        return TAKE_FD(fd);
}

static int mount_fresh(const struct plan *plan, struct plan_mount *m, int target, bool made,
                       struct error *err)
{
        unsigned type = (unsigned)m->options.propagation & ~(unsigned)MS_REC;
        _cleanup_close_ int fd = child_fsmount_is_possible(m)
                                         ? mount_new(plan, m, target, made, err)
                                         : mount_classic(plan, m, target, err);

        if (fd < 0)
                return -1;
        if (type != 0 && type != MS_PRIVATE && child_set_attr(fd, false, 0, 0, type) < 0)
                return error_errno(err, errno, "set the propagation of '%s'", m->destination);
        if (m->readonly_later)
                m->tree_fd = TAKE_FD(fd);
        else if (strcmp(m->destination, "/proc") == 0)
                plan->private_->proc_mount = TAKE_FD(fd);
        else if (strcmp(m->destination, "/sys") == 0)
                plan->private_->sys_mount = TAKE_FD(fd);
        return 0;
}

static int remount(const struct plan_mount *m, int target, struct error *err)
{
        if (child_set_attr(target, false, m->attr_set, m->attr_clear, 0) < 0)
                return error_errno(err, errno, "remount '%s'", m->destination);
        return 0;
}

/* The place of a mount. /dev, /proc and /sys are never reached through a link: whoever shares the
 * rootfs and makes them one just now would have its masks laid over nothing (CVE-2023-27561). */
static int open_target(const struct plan *plan, const struct plan_mount *m, bool *ret_made)
{
        const char *name = m->destination + 1;
        int root = child_root(plan);
        int fd;

        if (strcmp(name, "dev") != 0 && strcmp(name, "proc") != 0 && strcmp(name, "sys") != 0)
                return child_make_in_root(plan, m->destination, m->is_directory, ret_made);
        fd = child_open_name(root, name);
        if (fd >= 0 || errno != ENOENT)
                return fd;
        if (mkdirat(root, name, 0755) < 0 && errno != EEXIST)
                return -1;
        *ret_made = true;
        return child_open_name(root, name);
}

static int mount_one(const struct plan *plan, struct plan_mount *m, struct error *err)
{
        bool made = false;
        _cleanup_close_ int target = open_target(plan, m, &made);

        if (target < 0)
                return error_errno(err, errno, "mount '%s': open '%s' in the rootfs", m->source,
                                   m->destination);
        if (m->kind == PLAN_MOUNT_REMOUNT)
                return remount(m, target, err);
        if (check_target(m, target, err) < 0)
                return -1;
        if (m->kind == PLAN_MOUNT_CGROUP)
                return child_mount_cgroup(plan, m, target, err);
        if (m->kind == PLAN_MOUNT_BIND)
                return move_to_target(m, m->tree_fd, target, err);
        return mount_fresh(plan, m, target, made, err);
}

/* For a bind and those right behind it. */
static int get_trees(const struct plan *plan, size_t first, struct error *err)
{
        struct plan_private *p = plan->private_;
        size_t n = plan_count_trees(plan, first);
        int fds[FD_PASS_MAX];
        size_t done = 0;

        if (p->trees(first, p->trees_follow, fds, n, p->trees_userdata, err) < 0)
                return -1;
        p->trees_follow = plan_trees_follow(plan, first);
        for (size_t i = first; done < n; i++) {
                if (p->mounts[i].kind == PLAN_MOUNT_BIND)
                        p->mounts[i].tree_fd = fds[done++];
        }
        return 0;
}

int child_mount_all(const struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;

        for (size_t i = 0; i < p->n_mounts; i++) {
                struct plan_mount *m = &p->mounts[i];

                if (m->kind == PLAN_MOUNT_BIND && m->tree_fd < 0 && get_trees(plan, i, err) < 0)
                        return -1;
                if (mount_one(plan, m, err) < 0)
                        return -1;
        }
        return 0;
}
