/* SPDX-License-Identifier: Apache-2.0
 *
 * Mount option "tmpcopyup": a new tmpfs is filled from the directory that it will cover. What is
 * copied comes from an image, so no name is looked up twice and no symlink is followed: each entry
 * is opened below the descriptor of its directory. Hard links become files of their own, sockets
 * and what is mounted further down are left out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdalign.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

enum {
        ENTRIES_BYTES = 2048,   /* of getdents64(2), for each level */
        SENDFILE_MAX = 1 << 30, /* less than what sendfile(2) takes at once */
};

struct copy {
        dev_t dev;  /* no directory of another file system is looked into */
        char *room; /* COPY_ROOM_BYTES: one half for names of xattrs, the other for a value */
        char failed[NAME_MAX + 1]; /* the name of what could not be copied */
};

/* Not all can be had on a tmpfs: what the file system or the kernel does not know is left out. */
static int copy_xattr(int from, int to, const char *name, char *value)
{
        ssize_t n = fgetxattr(from, name, value, COPY_ROOM_BYTES / 2);

        if (n < 0)
                return errno == ENODATA || errno == ENOTSUP ? 0 : -errno;
        if (fsetxattr(to, name, value, (size_t)n, 0) == 0 || errno == ENOTSUP)
                return 0;
        return errno == EPERM && str_has_prefix(name, "trusted.") ? 0 : -errno;
}

static int copy_xattrs(const struct copy *c, int from, int to)
{
        const char *names = c->room;
        ssize_t len = flistxattr(from, c->room, COPY_ROOM_BYTES / 2);

        if (len < 0)
                return errno == ENOTSUP ? 0 : -errno;
        for (const char *name = names; name < names + len; name += strlen(name) + 1) {
                int r = copy_xattr(from, to, name, c->room + COPY_ROOM_BYTES / 2);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* In this order: a new owner costs the file its set-id bits and its capabilities. */
static int copy_attributes(const struct copy *c, int from, int to, const struct stat *st)
{
        const struct timespec times[2] = {st->st_atim, st->st_mtim};
        int r;

        if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
                return -errno;
        r = copy_xattrs(c, from, to);
        if (r < 0)
                return r;
        return futimens(to, times) < 0 ? -errno : 0;
}

static int copy_file(const struct copy *c, int from_dir, int to_dir, const char *name)
{
        _cleanup_close_ int from =
                openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        _cleanup_close_ int to = -1;
        struct stat st;
        ssize_t n;

        if (from < 0 || fstat(from, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ESTALE;
        to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (to < 0)
                return -errno;
        do {
                n = sendfile(to, from, NULL, SENDFILE_MAX);
        } while (n > 0 || (n < 0 && errno == EINTR));
        return n < 0 ? -errno : copy_attributes(c, from, to, &st);
}

static int copy_symlink(int from_dir, int to_dir, const char *name, const struct stat *st)
{
        const struct timespec times[2] = {st->st_atim, st->st_mtim};
        char text[PATH_MAX];
        ssize_t n = readlinkat(from_dir, name, text, sizeof(text) - 1);

        if (n < 0)
                return -errno;
        text[n] = '\0';
        if (symlinkat(text, to_dir, name) < 0 ||
            fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
            utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return 0;
}

/* The umask of this process is 0. */
static int copy_node(int to_dir, const char *name, const struct stat *st)
{
        const struct timespec times[2] = {st->st_atim, st->st_mtim};

        if (mknodat(to_dir, name, st->st_mode, st->st_rdev) < 0 ||
            fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
            utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return 0;
}

static int copy_content(struct copy *c, int from, int to, unsigned depth);

static int copy_directory(struct copy *c, int from_dir, int to_dir, const char *name,
                          unsigned depth)
{
        _cleanup_close_ int from =
                openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_close_ int to = -1;
        struct stat st;
        int r;

        if (from < 0 || fstat(from, &st) < 0 || mkdirat(to_dir, name, 0700) < 0)
                return -errno;
        to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (to < 0)
                return -errno;
        if (depth == 0)
                return -ENAMETOOLONG; /* nobody meant it */
        r = st.st_dev == c->dev ? copy_content(c, from, to, depth - 1) : 0;
        return r < 0 ? r : copy_attributes(c, from, to, &st);
}

static int copy_entry(struct copy *c, int from, int to, const char *name, unsigned depth)
{
        struct stat st;

        if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        switch (st.st_mode & S_IFMT) {
        case S_IFDIR:
                return copy_directory(c, from, to, name, depth);
        case S_IFREG:
                return copy_file(c, from, to, name);
        case S_IFLNK:
                return copy_symlink(from, to, name, &st);
        case S_IFSOCK:
                return 0;
        default:
                return copy_node(to, name, &st);
        }
}

static int copy_content(struct copy *c, int from, int to, unsigned depth)
{
        alignas(struct dirent64) char entries[ENTRIES_BYTES];
        ssize_t n;

        while ((n = getdents64(from, entries, sizeof(entries))) > 0) {
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *e = (const struct dirent64 *)(entries + at);
                        int r;

                        at += e->d_reclen;
                        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                                continue;
                        r = copy_entry(c, from, to, e->d_name, depth);
                        if (r < 0 && !c->failed[0])
                                memcpy(c->failed, e->d_name, strnlen(e->d_name, NAME_MAX));
                        if (r < 0)
                                return r;
                }
        }
        return n < 0 ? -errno : 0;
}

int child_copy_up(const struct plan *plan, const struct plan_mount *m, int target, int tmpfs,
                  struct error *err)
{
        const char *data = m->options.data ? m->options.data : "";
        _cleanup_close_ int from = openat(target, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int to = openat(tmpfs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct copy c = {.room = plan->private_->copy_room};
        struct stat st;
        int r;

        if (from < 0 || to < 0 || fstat(from, &st) < 0)
                return error_errno(err, errno, "mount '%s' on '%s': copy up", m->source,
                                   m->destination);
        c.dev = st.st_dev;
        r = copy_content(&c, from, to, LIMIT_COPY_DEPTH);
        if (r < 0)
                return error_errno(err, -r, "mount '%s' on '%s': copy up '%s'", m->source,
                                   m->destination, c.failed);
        if (strstr(data, "uid=") || strstr(data, "gid="))
                return 0;
        if (fchown(to, st.st_uid, st.st_gid) < 0)
                return error_errno(err, errno, "mount '%s' on '%s': change its owner", m->source,
                                   m->destination);
        return 0;
}
