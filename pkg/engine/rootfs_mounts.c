/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounting the rootfs: see rootfs_mounts.h. The rootfs is a directory of the bundle, which only
 * root can write; a `target` below it may lead through an image's content, so it is resolved by
 * openat2(2) inside the root and mounted on by descriptor.
 */
#include "pkg/engine/rootfs_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/base/sys.h"
#include "pkg/engine/rootfs_idmap.h"

enum {
        DATA_MAX = 4095,        /* mount(2) copies one page */
        DATA_LONG = 4096 - 512, /* from here on an overlay is shortened */
        PROC_FD_PATH_MAX = 32,
};

static const struct {
        const char *name;
        unsigned long flags;
        bool clear;
} option_table[] = {
        {"async", MS_SYNCHRONOUS, true},
        {"atime", MS_NOATIME, true},
        {"bind", MS_BIND, false},
        {"defaults", 0, false},
        {"dev", MS_NODEV, true},
        {"diratime", MS_NODIRATIME, true},
        {"dirsync", MS_DIRSYNC, false},
        {"exec", MS_NOEXEC, true},
        {"mand", MS_MANDLOCK, false},
        {"noatime", MS_NOATIME, false},
        {"nodev", MS_NODEV, false},
        {"nodiratime", MS_NODIRATIME, false},
        {"noexec", MS_NOEXEC, false},
        {"nomand", MS_MANDLOCK, true},
        {"norelatime", MS_RELATIME, true},
        {"nostrictatime", MS_STRICTATIME, true},
        {"nosuid", MS_NOSUID, false},
        {"rbind", MS_BIND | MS_REC, false},
        {"relatime", MS_RELATIME, false},
        {"remount", MS_REMOUNT, false},
        {"ro", MS_RDONLY, false},
        {"rw", MS_RDONLY, true},
        {"strictatime", MS_STRICTATIME, false},
        {"suid", MS_NOSUID, true},
        {"sync", MS_SYNCHRONOUS, false},
};

/* Options that mean something to containerd's own mount code and not to the kernel. */
static int check_supported(const char *option, struct error *err)
{
        static const char *const refused[] = {"loop", "direct-io"};

        for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
                if (strcmp(option, refused[i]) == 0)
                        return error_set(err, STATUS_UNIMPLEMENTED,
                                         "mount option '%s' is not supported yet", option);
        }
        if (str_has_prefix(option, "X-containerd."))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mount option '%s' is containerd's own", option);
        return 0;
}

static bool option_to_flags(const char *option, unsigned long *flags)
{
        for (size_t i = 0; i < sizeof(option_table) / sizeof(option_table[0]); i++) {
                if (strcmp(option, option_table[i].name) != 0)
                        continue;
                if (option_table[i].clear)
                        *flags &= ~option_table[i].flags;
                else
                        *flags |= option_table[i].flags;
                return true;
        }
        return false;
}

int rootfs_mount_options_parse(const struct engine_mount *mount, struct arena *arena,
                               struct rootfs_mount_options *ret, struct error *err)
{
        struct idmap idmap = {0};
        unsigned long flags = 0;
        size_t room = 1;
        size_t len = 0;
        char *data;

        for (size_t i = 0; i < mount->n_options; i++)
                room += strlen(mount->options[i]) + 1;
        data = arena_alloc(arena, room);
        if (!data)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "mount options: no memory");
        for (size_t i = 0; i < mount->n_options; i++) {
                const char *option = mount->options[i];
                int r;

                if (check_supported(option, err) < 0)
                        return -1;
                r = rootfs_idmap_option(option, arena, &idmap, err);
                if (r < 0)
                        return -1;
                if (r > 0 || !*option || option_to_flags(option, &flags))
                        continue;
                if (len > 0)
                        data[len++] = ',';
                memcpy(data + len, option, strlen(option));
                len += strlen(option);
        }
        data[len] = '\0';
        if ((idmap.n_uids > 0) != (idmap.n_gids > 0))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mount options: uidmap= and gidmap= go together");
        ret->flags = flags;
        ret->data = data;
        ret->idmap = idmap;
        return 0;
}

/* The length of the part of `a` up to the last '/' that it shares with b, both of a given length.
 */
static size_t common_parent(const char *a, size_t a_len, const char *b, size_t b_len)
{
        size_t slash = 0;

        for (size_t i = 0; i < a_len && i < b_len && a[i] == b[i]; i++) {
                if (a[i] == '/')
                        slash = i;
        }
        return slash;
}

/* The end of a lower directory: a ':' that no backslash precedes. */
static size_t lower_length(const char *s, size_t max)
{
        size_t n = 0;

        while (n < max && s[n] != ':')
                n += s[n] == '\\' && n + 1 < max ? 2 : 1;
        return n;
}

int rootfs_overlay_shorten(const char *data, struct arena *arena, char **ret_dir, char **ret_data,
                           struct error *err)
{
        static const char key[] = "lowerdir=";
        const char *lower = data;
        const char *at;
        size_t value_len;
        size_t parent;
        char *text;
        size_t len;

        *ret_dir = NULL;
        while (strncmp(lower, key, sizeof(key) - 1) != 0) {
                lower += strcspn(lower, ",");
                if (!*lower++)
                        return 0;
        }
        lower += sizeof(key) - 1;
        value_len = strcspn(lower, ",");
        parent = lower_length(lower, value_len);
        while (parent > 0 && lower[parent - 1] != '/')
                parent--;
        if (parent > 0)
                parent--;
        for (at = lower; at < lower + value_len;) {
                size_t left = value_len - (size_t)(at - lower);
                size_t n = lower_length(at, left);
                size_t shared = common_parent(lower, parent + 1, at, n);

                parent = shared < parent ? shared : parent;
                at += n + (n < left ? 1 : 0);
        }
        if (parent == 0)
                return 0;
        text = arena_alloc(arena, strlen(data) + 1);
        *ret_dir = arena_memdup(arena, lower, parent);
        if (!text || !*ret_dir)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "mount options: no memory");
        len = (size_t)(lower - data);
        memcpy(text, data, len);
        for (at = lower; at < lower + value_len;) {
                size_t left = value_len - (size_t)(at - lower);
                size_t n = lower_length(at, left);
                size_t step = n + (n < left ? 1 : 0);

                memcpy(text + len, at + parent + 1, step - parent - 1);
                len += step - parent - 1;
                at += step;
        }
        memcpy(text + len, at, strlen(at) + 1);
        *ret_data = text;
        return 0;
}

bool rootfs_mounts_are_nested(const struct engine_mount *mounts, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (!str_is_empty(mounts[i].target))
                        return true;
        }
        return false;
}

/* Long overlay options: the kernel resolves relative lower directories against the working
 * directory. */
static int fit_data(const struct engine_mount *m, struct arena *arena,
                    struct rootfs_mount_options *o, struct error *err)
{
        char *dir = NULL;

        if (str_equal(m->type, "overlay") && strlen(o->data) >= DATA_LONG && o->idmap.n_uids == 0) {
                if (rootfs_overlay_shorten(o->data, arena, &dir, &o->data, err) < 0)
                        return -1;
                if (dir && chdir(dir) < 0)
                        return error_errno(err, errno, "change to directory '%s'", dir);
        }
        if (strlen(o->data) > DATA_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mount options are too long: %zu bytes, a mount takes %d",
                                 strlen(o->data), (int)DATA_MAX);
        return 0;
}

static uint64_t bind_attributes(unsigned long flags)
{
        static const struct {
                unsigned long flag;
                uint64_t attr;
        } table[] = {
                {MS_RDONLY, MOUNT_ATTR_RDONLY},         {MS_NOSUID, MOUNT_ATTR_NOSUID},
                {MS_NODEV, MOUNT_ATTR_NODEV},           {MS_NOEXEC, MOUNT_ATTR_NOEXEC},
                {MS_NOATIME, MOUNT_ATTR_NOATIME},       {MS_STRICTATIME, MOUNT_ATTR_STRICTATIME},
                {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME},
        };
        uint64_t attributes = 0;

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                if (flags & table[i].flag)
                        attributes |= table[i].attr;
        }
        return attributes;
}

/* A bind mount gets its flags while it is still detached: with mount(2) they would take a second
 * step, on a mount that is in use already. */
static int bind_at(int target, const struct engine_mount *m, const struct rootfs_mount_options *o,
                   struct error *err)
{
        unsigned recursive = o->flags & MS_REC ? AT_RECURSIVE : 0;
        struct mount_attr attr = {.attr_set = bind_attributes(o->flags)};
        _cleanup_close_ int tree = -1;

        if (!m->source)
                return error_set(err, STATUS_INVALID_ARGUMENT, "bind mount without a source");
        if (attr.attr_set & MOUNT_ATTR__ATIME)
                attr.attr_clr = MOUNT_ATTR__ATIME;
        tree = open_tree(AT_FDCWD, m->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
        if (tree < 0)
                return error_errno(err, errno, "open the source");
        if (rootfs_idmap_apply(&o->idmap, tree, o->flags & MS_REC, err) < 0)
                return -1;
        if (attr.attr_set != 0 && mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return error_errno(err, errno, "set the flags of the bind mount");
        if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return error_errno(err, errno, "mount");
        return 0;
}

static int mount_at(int target, const struct engine_mount *m, const struct rootfs_mount_options *o,
                    struct error *err)
{
        char where[PROC_FD_PATH_MAX];

        if ((o->flags & MS_BIND) && !(o->flags & MS_REMOUNT))
                return bind_at(target, m, o, err);
        if (o->idmap.n_uids > 0 && !str_equal(m->type, "overlay"))
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "uidmap= is not supported for type '%s'", m->type ? m->type : "");
        (void)snprintf(where, sizeof(where), "/proc/self/fd/%d", target);
        if (mount(m->source, where, m->type, o->flags, o->data) < 0)
                return error_errno(err, errno, "mount");
        return 0;
}

static int mount_one(const char *rootfs, const struct engine_mount *m, struct arena *arena,
                     struct error *err)
{
        _cleanup_close_ int root = -1;
        _cleanup_close_ int target = -1;
        struct rootfs_mount_options o = {0};

        if (str_has_prefix(m->type ? m->type : "", "fuse.") ||
            str_has_prefix(m->type ? m->type : "", "fuse3."))
                return error_set(err, STATUS_UNIMPLEMENTED, "mount type '%s' is not supported yet",
                                 m->type);
        if (rootfs_mount_options_parse(m, arena, &o, err) < 0)
                return -1;
        root = open(rootfs, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (root < 0)
                return error_errno(err, errno, "open '%s'", rootfs);
        if (!str_is_empty(m->target)) {
                target = sys_openat2(root, m->target, O_PATH, 0, RESOLVE_IN_ROOT);
                if (target < 0)
                        return error_errno(err, errno, "open target '%s' in the rootfs", m->target);
        }
        /* By descriptor; what is a mount point already is mounted on top of. */
        if (target < 0)
                target = TAKE_FD(root);
        if (str_equal(m->type, "overlay") && rootfs_idmap_overlay(target, arena, &o, err) < 0)
                return -1;
        if (fit_data(m, arena, &o, err) < 0)
                return -1;
        return mount_at(target, m, &o, err);
}

int rootfs_mount(const char *rootfs, const struct engine_mount *mounts, size_t n,
                 struct arena *arena, struct error *err)
{
        for (size_t i = 0; i < n; i++) {
                const struct engine_mount *m = &mounts[i];

                if (mount_one(rootfs, m, arena, err) < 0)
                        return error_prefix(err, "rootfs: mount '%s' (%s) on '%s%s%s'",
                                            m->source ? m->source : "", m->type ? m->type : "bind",
                                            rootfs, str_is_empty(m->target) ? "" : "/",
                                            m->target ? m->target : "");
        }
        return 0;
}
