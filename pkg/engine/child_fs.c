/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths inside the container's root. Image and volumes are hostile, and another container may
 * change a shared volume while we look: so each path is resolved once, by the kernel, below the
 * root's descriptor, and what follows is done on the descriptor that came out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/sys.h"
#include "pkg/engine/child_private.h"

/* path_resolution(7): what the kernel itself follows at most */
enum { SYMLINKS_MAX = 40 };

enum { DIRECTORY_MODE = 0755, FILE_MODE = 0644 };

int child_root(const struct plan *plan)
{
        return plan->private_->root_fd;
}

int child_open_in_root(int root, const char *path, uint64_t flags)
{
        return sys_openat2(root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int child_open_in_root_nofollow(int root, const char *path, uint64_t flags)
{
        return sys_openat2(root, path, flags, 0,
                           RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
}

int child_open_name(int dir, const char *name)
{
        _cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -1;
        if (S_ISLNK(st.st_mode)) { /* with O_PATH it is opened itself */
                errno = ELOOP;
                return -1;
        }
        return TAKE_FD(fd);
}

bool child_is_on(int fd, long magic)
{
        struct statfs fs;

        return fstatfs(fd, &fs) == 0 && (long)fs.f_type == magic;
}

int child_move_mount(int from, int to)
{
        return move_mount(from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int child_set_attr(int fd, bool recursive, uint64_t set, uint64_t clear, unsigned propagation)
{
        struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};

        return mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
                             sizeof(attr));
}

int child_write_proc(const struct plan *plan, const char *path, const char *text)
{
        _cleanup_close_ int fd = -1;
        size_t len = strlen(text);
        ssize_t n;

        /* The descriptor is our own mount of procfs: nothing can be mounted into it, and with
         * NO_XDEV nothing would be followed out of it. */
        fd = sys_openat2(plan->proc_fd, path, O_WRONLY | O_NOCTTY, 0,
                         RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS);
        if (fd < 0)
                return -errno;
        do {
                n = write(fd, text, len);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t)n == len ? 0 : -EIO;
}

/* The deepest parent of path that exists; *ret_rest: what is below it. path is scratch. */
static int open_parent(int root, char *path, const char **ret_rest)
{
        size_t end = strlen(path);

        for (;;) {
                int fd;
                char saved;

                while (end > 1 && path[end - 1] == '/')
                        end--;
                while (end > 1 && path[end - 1] != '/')
                        end--;
                if (end == 0)
                        return -EINVAL;
                saved = path[end];
                path[end] = '\0';
                fd = child_open_in_root(root, path, O_PATH | O_DIRECTORY);
                path[end] = saved;
                if (fd >= 0) {
                        *ret_rest = path + end;
                        return fd;
                }
                if (errno != ENOENT || end == 1)
                        return -errno;
        }
}

/* Makes one part and opens it; -ELOOP: it is a symlink already. */
static int make_part(int parent, const char *name, bool is_directory, bool *made)
{
        int r = is_directory ? mkdirat(parent, name, DIRECTORY_MODE)
                             : mknodat(parent, name, S_IFREG | FILE_MODE, 0);
        int fd;

        if (r < 0 && errno != EEXIST)
                return -errno;
        *made = r == 0;
        fd = child_open_name(parent, name);
        return fd < 0 ? -errno : fd;
}

/* Rewrites path, whose part at `at` (name_len long, below the existing directory parent) is a
 * symlink, to what it means. */
static int replace_symlink(int parent, char *path, size_t at, size_t name_len, char *scratch)
{
        size_t rest = at + name_len;
        size_t rest_len = strlen(path + rest);
        ssize_t n;
        char name[NAME_MAX + 1];

        memcpy(name, path + at, name_len);
        name[name_len] = '\0';
        n = readlinkat(parent, name, scratch, PATH_MAX - 1);
        if (n < 0)
                return -errno;
        if (scratch[0] == '/')
                at = 0;
        if (at + (size_t)n + rest_len >= PATH_MAX)
                return -ENAMETOOLONG;
        memmove(path + at + n, path + rest, rest_len + 1);
        memcpy(path + at, scratch, (size_t)n);
        return 0;
}

/*
 * Makes what is missing of path, part by part, each below the descriptor of the one before. 1: a
 * dangling symlink was met and path has been rewritten.
 */
static int make_missing(int root, char *path, char *scratch, bool is_directory, bool *ret_made,
                        int *ret)
{
        const char *p = "";
        _cleanup_close_ int dir = open_parent(root, path, &p);

        if (dir < 0)
                return dir;
        for (;;) {
                char name[NAME_MAX + 1];
                size_t len = strcspn(p, "/");
                bool is_last = p[len + strspn(p + len, "/")] == '\0';
                bool made = false;
                int fd;

                if (len > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, p, len);
                name[len] = '\0';
                /* ".." below what does not exist: only a symlink's text can say so */
                if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                        return -ENOENT;
                fd = make_part(dir, name, is_directory || !is_last, &made);
                if (fd == -ELOOP) {
                        int r = replace_symlink(dir, path, (size_t)(p - path), len, scratch);

                        return r < 0 ? r : 1;
                }
                if (fd < 0)
                        return fd;
                if (is_last) {
                        *ret_made = made;
                        *ret = fd;
                        return 0;
                }
                fd_close(dir);
                dir = fd;
                p += len + strspn(p + len, "/");
        }
}

int child_make_in_root(const struct plan *plan, const char *path, bool is_directory, bool *ret_made)
{
        struct plan_private *p = plan->private_;
        size_t len = strlen(path);
        bool made = false;

        if (len >= sizeof(p->path)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        memcpy(p->path, path, len + 1);
        for (int i = 0; i < SYMLINKS_MAX; i++) {
                int fd = child_open_in_root(p->root_fd, p->path, O_PATH);
                int r;

                if (fd < 0 && errno == ENOENT) {
                        r = make_missing(p->root_fd, p->path, p->path2, is_directory, &made, &fd);
                        if (r < 0)
                                errno = -r;
                        if (r > 0)
                                continue;
                        if (r < 0)
                                return -1;
                }
                if (ret_made)
                        *ret_made = made;
                return fd;
        }
        errno = ELOOP;
        return -1;
}
