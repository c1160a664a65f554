/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes and links in /dev. What is there already is used only if it is what it should be: an image
 * whose /dev/null is a symlink or a file would otherwise have it taken for the real one
 * (CVE-2025-31133).
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
#include "pkg/engine/child_private.h"

enum { NULL_MAJOR = 1, NULL_MINOR = 3 };

/* The directory of path, made if missing, and the name in it. */
static int open_directory_of(const struct plan *plan, const char *path, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        char dir[PATH_MAX];
        size_t n = (size_t)(slash - path);

        *ret_name = slash + 1;
        if (n == 0)
                return child_make_in_root(plan, "/", true, NULL);
        if (n >= sizeof(dir)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        memcpy(dir, path, n);
        dir[n] = '\0';
        return child_make_in_root(plan, dir, true, NULL);
}

static bool is_node(int fd, mode_t mode, dev_t rdev)
{
        struct stat st;

        if (fstat(fd, &st) < 0 || (st.st_mode & S_IFMT) != (mode & S_IFMT))
                return false;
        return S_ISFIFO(mode) || st.st_rdev == rdev;
}

static int make_node(const struct plan_device *d, int dir, const char *name, struct error *err)
{
        _cleanup_close_ int fd = -1;
        bool made = mknodat(dir, name, d->mode, d->rdev) == 0;

        if (!made && errno != EEXIST)
                return error_errno(err, errno, "make device '%s'", d->path);
        if (made && d->uid == 0 && d->gid == 0)
                return 0; /* what could take its place now could do so after a look at it, too */
        fd = child_open_name(dir, name);
        if (fd < 0 && errno != ELOOP)
                return error_errno(err, errno, "open device '%s'", d->path);
        if (fd < 0 || !is_node(fd, d->mode, d->rdev))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "make device '%s': something else is there already", d->path);
        if (made && fchownat(fd, "", d->uid, d->gid, AT_EMPTY_PATH) < 0)
                return error_errno(err, errno, "make device '%s': change its owner", d->path);
        return 0;
}

/* In a user namespace: the host's node on an empty file. */
static int bind_node(const struct plan_device *d, int dir, const char *name, struct error *err)
{
        _cleanup_close_ int fd = -1;

        if (mknodat(dir, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST)
                return error_errno(err, errno, "bind device '%s'", d->path);
        fd = child_open_name(dir, name);
        if (fd < 0 || child_set_attr(d->tree_fd, false, 0, 0, MS_PRIVATE) < 0 ||
            child_move_mount(d->tree_fd, fd) < 0)
                return error_errno(err, errno, "bind device '%s'", d->path);
        return 0;
}

static int make_device(const struct plan *plan, const struct plan_device *d, int dev,
                       struct error *err)
{
        _cleanup_close_ int opened = -1;
        const char *name = d->path + 5;
        int dir = dev;

        if (strncmp(d->path, "/dev/", 5) != 0 || strchr(name, '/')) {
                dir = opened = open_directory_of(plan, d->path, &name);
                if (dir < 0)
                        return error_errno(err, errno, "make device '%s'", d->path);
        }
        return d->tree_fd >= 0 ? bind_node(d, dir, name, err) : make_node(d, dir, name, err);
}

static int make_links(const struct plan *plan, int dev, struct error *err)
{
        static const struct {
                const char *name, *text;
        } links[] = {
                {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
                {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
                {"core", "/proc/kcore"},
        };
        struct stat st;

        for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
                if (strcmp(links[i].name, "core") == 0 && !plan->private_->has_kcore)
                        continue;
                if (symlinkat(links[i].text, dev, links[i].name) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "make link '/dev/%s'", links[i].name);
        }
        /* Only the container's own devpts may answer to this name. */
        if (fstatat(dev, "ptmx", &st, AT_SYMLINK_NOFOLLOW) == 0 && unlinkat(dev, "ptmx", 0) < 0)
                return error_errno(err, errno, "replace '/dev/ptmx'");
        if (symlinkat("pts/ptmx", dev, "ptmx") < 0)
                return error_errno(err, errno, "make link '/dev/ptmx'");
        return 0;
}

int child_make_dev(const struct plan *plan, struct error *err)
{
        const struct plan_private *p = plan->private_;
        _cleanup_close_ int dev = -1;

        if (!p->make_dev)
                return 0;
        if (mkdirat(p->root_fd, "dev", 0755) < 0 && errno != EEXIST && errno != EROFS)
                return error_errno(err, errno, "make '/dev'");
        dev = child_open_in_root_nofollow(p->root_fd, "/dev", O_PATH | O_DIRECTORY);
        if (dev < 0)
                return error_errno(err, errno, "open '/dev'");
        for (size_t i = 0; i < p->n_devices; i++) {
                if (make_device(plan, &p->devices[i], dev, err) < 0)
                        return -1;
        }
        return make_links(plan, dev, err);
}

/* A /dev/null that came with stdio is the host's node, on a mount that is not the container's. */
int child_reopen_null(const struct plan *plan, struct error *err)
{
        _cleanup_close_ int null = -1;

        if (!plan->private_->has_mount_namespace)
                return 0;
        for (int i = 0; i <= 2; i++) {
                struct stat st;

                if (fstat(i, &st) < 0 || !S_ISCHR(st.st_mode) ||
                    st.st_rdev != makedev(NULL_MAJOR, NULL_MINOR))
                        continue;
                if (null < 0) {
                        null = child_open_in_root_nofollow(child_root(plan), "/dev/null",
                                                           O_RDWR | O_NOCTTY);
                        /* a container without one keeps the host's */
                        if (null < 0 || !is_node(null, S_IFCHR, st.st_rdev))
                                return 0;
                }
                if (dup2(null, i) < 0)
                        return error_errno(err, errno, "reopen /dev/null for descriptor %d", i);
        }
        return 0;
}
