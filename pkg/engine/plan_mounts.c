/* SPDX-License-Identifier: Apache-2.0
 *
 * Decides how each entry of mounts[] is done, and opens what comes from the host: the rootfs, as a
 * detached clone, and the sources of binds, which plan_trees.c clones. So the child walks no host
 * path once the rootfs is in reach, and in a user namespace it needs no right to the directories
 * above a source.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

/* Not in the headers of glibc 2.36. */
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

int plan_parse_propagation(const char *text, unsigned *ret_type, bool *ret_recursive)
{
        static const struct {
                const char *name;
                unsigned type;
        } types[] = {
                {"shared", MS_SHARED},
                {"slave", MS_SLAVE},
                {"private", MS_PRIVATE},
                {"unbindable", MS_UNBINDABLE},
        };
        bool recursive;

        if (str_is_empty(text)) {
                *ret_type = MS_PRIVATE;
                *ret_recursive = true;
                return 0;
        }
        recursive = text[0] == 'r';
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                if (strcmp(text + recursive, types[i].name) != 0)
                        continue;
                *ret_type = types[i].type;
                *ret_recursive = recursive;
                return 0;
        }
        return -EINVAL;
}

/* What LXCFS and checkpointing mount below /proc: nothing here gives the container a say. */
static bool is_allowed_below_proc(const char *path)
{
        static const char *const files[] = {
                "/proc/cpuinfo",
                "/proc/diskstats",
                "/proc/meminfo",
                "/proc/stat",
                "/proc/swaps",
                "/proc/uptime",
                "/proc/loadavg",
                "/proc/slabinfo",
                "/proc/net/dev",
                "/proc/sys/kernel/ns_last_pid",
                "/proc/sys/crypto/fips_enabled",
        };

        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                if (strcmp(path, files[i]) == 0)
                        return true;
        }
        return false;
}

/* CVE-2019-16884: with something else on /proc, LSM labels would be written into nothing. */
static int check_destination(struct plan_mount *m, size_t index, struct error *err)
{
        if (strcmp(m->destination, "/") == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mounts[%zu].destination: '/' cannot be mounted over", index);
        m->on_procfs = strcmp(m->destination, "/proc") == 0;
        if (!m->on_procfs && !str_has_prefix(m->destination, "/proc/"))
                return 0;
        if (m->on_procfs) {
                struct statfs fs;
                struct stat st;

                if (m->kind == PLAN_MOUNT_FRESH && str_equal(m->type, "proc"))
                        return 0;
                if (m->kind == PLAN_MOUNT_REMOUNT)
                        return 0;
                /* the root of a procfs always has this inode number (PROC_ROOT_INO) */
                if (m->kind == PLAN_MOUNT_BIND && fstatfs(m->source_fd, &fs) == 0 &&
                    fs.f_type == PROC_SUPER_MAGIC && fstat(m->source_fd, &st) == 0 &&
                    st.st_ino == 1)
                        return 0;
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mounts[%zu]: only procfs may be mounted on '/proc'", index);
        }
        if (!is_allowed_below_proc(m->destination))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mounts[%zu]: nothing may be mounted on '%s'", index,
                                 m->destination);
        m->on_procfs = true;
        return 0;
}

static void set_attributes(struct plan_mount *m)
{
        static const struct {
                unsigned long flag;
                uint64_t attr;
        } map[] = {
                {MS_RDONLY, MOUNT_ATTR_RDONLY},         {MS_NOSUID, MOUNT_ATTR_NOSUID},
                {MS_NODEV, MOUNT_ATTR_NODEV},           {MS_NOEXEC, MOUNT_ATTR_NOEXEC},
                {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME}, {MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW},
        };
        unsigned long f = m->options.flags;

        for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
                if (f & map[i].flag)
                        m->attr_set |= map[i].attr;
                else if (m->options.cleared & map[i].flag)
                        m->attr_clear |= map[i].attr;
        }
        /* The three ways to keep access times are one field: to set it is to clear it first. */
        if ((f | m->options.cleared) & (MS_NOATIME | MS_STRICTATIME | MS_RELATIME))
                m->attr_clear |= MOUNT_ATTR__ATIME;
        if (f & MS_NOATIME)
                m->attr_set |= MOUNT_ATTR_NOATIME;
        else if (f & MS_STRICTATIME)
                m->attr_set |= MOUNT_ATTR_STRICTATIME;
}

static int choose_kind(const struct oci_mount *in, size_t index, struct plan_mount *m,
                       struct error *err)
{
        bool is_bind =
                m->options.is_bind || str_equal(in->type, "bind") || str_equal(in->type, "rbind");

        if (m->options.tmpcopyup && (is_bind || !str_equal(in->type, "tmpfs")))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mounts[%zu].options: 'tmpcopyup' is for a tmpfs", index);
        if (m->options.flags & MS_REMOUNT) {
                m->kind = PLAN_MOUNT_REMOUNT;
                return 0;
        }
        if (is_bind) {
                m->kind = PLAN_MOUNT_BIND;
                if (str_equal(in->type, "rbind"))
                        m->options.flags |= MS_REC;
                if (str_is_empty(in->source))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "mounts[%zu].source: a bind mount needs one", index);
                return 0;
        }
        if (str_is_empty(in->type))
                return error_set(err, STATUS_INVALID_ARGUMENT, "mounts[%zu].type: is missing",
                                 index);
        m->kind = strcmp(in->type, "cgroup") == 0 || strcmp(in->type, "cgroup2") == 0
                          ? PLAN_MOUNT_CGROUP
                          : PLAN_MOUNT_FRESH;
        return 0;
}

/* Kernel file systems have one superblock for many mounts, so "ro" is the mount's alone. */
static bool is_kernel_fs(const char *type)
{
        static const char *const types[] = {"proc",   "sysfs",   "tmpfs",    "devpts",    "mqueue",
                                            "cgroup", "cgroup2", "devtmpfs", "securityfs"};

        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                if (strcmp(type, types[i]) == 0)
                        return true;
        }
        return false;
}

static int open_bind(const struct plan *plan, struct plan_mount *m, size_t index, struct error *err)
{
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (m->source[0] != '/') {
                m->source = arena_printf(plan->private_->arena, "%s/%s", plan->options.bundle,
                                         m->source);
                if (!m->source)
                        return plan_no_memory(err);
        }
        /* like O_PATH, but an automount is mounted */
        fd = open_tree(AT_FDCWD, m->source, OPEN_TREE_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(err, errno, "mounts[%zu]: open source '%s'", index, m->source);
        m->is_directory = S_ISDIR(st.st_mode);
        m->source_fd = TAKE_FD(fd);
        return 0;
}

static int add_mount(struct plan *plan, size_t index, struct error *err)
{
        struct plan_private *p = plan->private_;
        const struct oci_mount *in = &plan->spec->mounts[index];
        struct plan_mount *m = &p->mounts[index];
        bool is_tmpfs;

        if (str_is_empty(in->destination))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mounts[%zu].destination: is missing", index);
        if (oci_mount_options_parse((const char *const *)in->options.items, in->options.n, p->arena,
                                    &m->options, err) < 0)
                return error_prefix(err, "mounts[%zu].options", index);
        m->source_fd = -1;
        m->tree_fd = -1;
        m->type = in->type;
        m->source = str_is_empty(in->source) ? in->type : in->source;
        m->is_directory = true;
        m->destination = plan_clean_path(p->arena, in->destination);
        if (!m->destination)
                return plan_no_memory(err);
        if (choose_kind(in, index, m, err) < 0)
                return -1;
        set_attributes(m);
        if (m->kind == PLAN_MOUNT_BIND && open_bind(plan, m, index, err) < 0)
                return -1;
        if (check_destination(m, index, err) < 0)
                return -1;
        is_tmpfs = m->kind == PLAN_MOUNT_FRESH && strcmp(m->type, "tmpfs") == 0;
        m->readonly_later = (m->attr_set & MOUNT_ATTR_RDONLY) &&
                            (is_tmpfs || strcmp(m->destination, "/dev") == 0);
        m->private_superblock_flags = m->kind == PLAN_MOUNT_FRESH && !is_kernel_fs(m->type);
        if (strcmp(m->destination, "/dev") == 0 && m->kind == PLAN_MOUNT_BIND)
                p->make_dev = false;
        if (m->kind == PLAN_MOUNT_CGROUP)
                p->wants_cgroup = true;
        if (m->options.tmpcopyup && !p->copy_room)
                p->copy_room = arena_alloc(p->arena, COPY_ROOM_BYTES);
        if (m->options.tmpcopyup && !p->copy_room)
                return plan_no_memory(err);
        return plan_check_idmap(plan, m, index, err);
}

int plan_add_mounts(struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;
        const struct oci_spec *spec = plan->spec;

        p->make_dev = p->has_mount_namespace;
        if (!p->has_mount_namespace)
                return 0;
        p->mounts = arena_calloc(p->arena, spec->n_mounts, sizeof(*p->mounts));
        if (!p->mounts)
                return plan_no_memory(err);
        for (size_t i = 0; i < spec->n_mounts; i++) {
                p->n_mounts = i + 1;
                if (add_mount(plan, i, err) < 0)
                        return -1;
        }
        return 0;
}

/* The rootfs as a detached clone: private or a slave of the host's, never its peer. */
static int clone_rootfs(struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;
        _cleanup_close_ int fd = open_tree(AT_FDCWD, p->rootfs_path,
                                           OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        unsigned type = p->root_propagation == MS_SLAVE ? MS_SLAVE : MS_PRIVATE;

        if (fd < 0)
                return error_errno(err, errno, "rootfs: clone '%s'", p->rootfs_path);
        if (child_set_attr(fd, true, 0, 0, type) < 0)
                return error_errno(err, errno, "rootfs: set the propagation of '%s'",
                                   p->rootfs_path);
        plan->rootfs_fd = TAKE_FD(fd);
        return 0;
}

int plan_open_rootfs(struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;
        const char *path = plan->spec->root_path;
        _cleanup_free_ char *real = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (path[0] != '/')
                path = arena_printf(p->arena, "%s/%s", plan->options.bundle, path);
        if (!path)
                return plan_no_memory(err);
        real = realpath(path, NULL);
        if (!real)
                return error_errno(err, errno, "root.path: '%s'", path);
        if (strcmp(real, "/") == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "root.path: is the host's root");
        p->rootfs_path = arena_strdup(p->arena, real);
        if (!p->rootfs_path)
                return plan_no_memory(err);
        fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(err, errno, "root.path: open '%s'", real);
        p->rootfs_dev = st.st_dev;
        p->rootfs_ino = st.st_ino;
        if (p->has_mount_namespace)
                return clone_rootfs(plan, err);
        plan->rootfs_fd = TAKE_FD(fd);
        return 0;
}
