/* SPDX-License-Identifier: Apache-2.0
 *
 * Removing a container's directories. A process that was killed leaves its cgroup only when it has
 * really ended, and until then rmdir(2) gives EBUSY: hence the retries, for which this belongs in a
 * stage.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/cgroup/internal.h"

/* Holds any entry, and few: there may be 100,000, and only the first one is wanted each time. */
enum { ENTRIES_BYTES = 512 };

static bool is_child(const struct dirent64 *entry)
{
        return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
               strcmp(entry->d_name, "..") != 0;
}

/* The name of the first sub-directory. 1, or 0 if there is none, or a negative errno. */
static int first_child(int dirfd, char *name, size_t size)
{
        _cleanup_close_ int fd = dir_open(dirfd, ".");
        _Alignas(struct dirent64) char entries[ENTRIES_BYTES];
        ssize_t n;

        if (fd < 0)
                return fd;
        while ((n = getdents64(fd, entries, sizeof(entries))) > 0) {
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *entry = (const struct dirent64 *)(entries + at);

                        if (is_child(entry)) {
                                (void)snprintf(name, size, "%s", entry->d_name);
                                return 1;
                        }
                        at += entry->d_reclen;
                }
        }
        return n < 0 ? -errno : 0;
}

/*
 * Removes all that is below a directory, leaves first. A container with a cgroup mount that it may
 * write can nest as deep as it likes, so this holds one descriptor, however deep it is: down into
 * the first child that cannot be removed, and up again by "..", to find that child first once more.
 */
static int remove_below(const char *path)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, path);
        size_t depth = 0;

        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        for (;;) {
                char name[NAME_MAX + 1];
                int r = first_child(fd, name, sizeof(name));
                int next;

                if (r < 0)
                        return r;
                if (r == 0 && depth == 0)
                        return 0;
                if (r > 0 && (unlinkat(fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT))
                        continue;
                if (r > 0 && errno != EBUSY && errno != ENOTEMPTY)
                        return -errno;
                next = dir_open(fd, r > 0 ? name : "..");
                if (next < 0)
                        return next;
                if (r > 0 && first_child(next, name, sizeof(name)) == 0) {
                        fd_close(next);
                        return -EBUSY; /* there are processes in it */
                }
                depth = r > 0 ? depth + 1 : depth - 1;
                fd_close(fd);
                fd = next;
        }
}

static int dir_rmdir(const struct cgroup_dir *dir)
{
        return rmdir(dir->path) < 0 && errno != ENOENT ? -errno : 0;
}

/* One pass; -EBUSY or -ENOTEMPTY if it may go better later. */
static int dir_remove_once(const struct cgroup_dir *dir)
{
        int r = dir_rmdir(dir); /* mostly there is nothing below */

        if (r != -EBUSY && r != -ENOTEMPTY)
                return r;
        r = remove_below(dir->path);
        return r < 0 ? r : dir_rmdir(dir);
}

static void remove_parents(const struct cgroup_dir *dir)
{
        _cleanup_free_ char *path = strdup(dir->path);

        for (unsigned i = 0; path && i < dir->n_parents; i++) {
                char *slash = strrchr(path, '/');

                if (!slash || slash == path)
                        return;
                *slash = '\0';
                /* Another container below it, or one that removed it before us: both are fine. */
                if (rmdir(path) < 0 && errno != ENOENT)
                        return;
        }
}

static int remove_waiting(const struct cgroup_dir *dir,
                          int (*remove_once)(const struct cgroup_dir *dir), uint64_t deadline,
                          unsigned *round)
{
        int r;

        do {
                r = remove_once(dir);
        } while ((r == -EBUSY || r == -ENOTEMPTY) && backoff(deadline, round));
        return r;
}

static int failed(const struct cgroup_dir *dir, int r, struct error *err)
{
        return error_errno(err, -r, "remove cgroup '%s'", dir->path);
}

int cgroup_remove(const struct cgroup *cg, int timeout_ms, struct error *err)
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        unsigned round = 0;
        int result = 0;

        for (size_t i = 0; i < cg->n_dirs; i++) {
                const struct cgroup_dir *dir = &cg->dirs[i];
                int r;

                if (!dir->created)
                        continue;
                r = remove_waiting(dir, dir_remove_once, deadline, &round);
                if (r == 0)
                        remove_parents(dir);
                else if (result == 0)
                        result = failed(dir, r, err);
        }
        return result;
}

int cgroup_remove_empty(const struct cgroup *cg, int timeout_ms, struct error *err)
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        unsigned round = 0;
        int result = 0;

        for (size_t i = 0; i < cg->n_dirs; i++) {
                const struct cgroup_dir *dir = &cg->dirs[i];
                int r = dir->created ? remove_waiting(dir, dir_rmdir, deadline, &round) : 0;

                if (r < 0 && result == 0)
                        result = failed(dir, r, err);
        }
        return result;
}
