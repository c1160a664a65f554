/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking a tree of cgroups, and small things about directories. A container with cgroups of its
 * own can nest them as deep as it likes, with paths beyond PATH_MAX: so the walk goes by
 * descriptors, one for each level, to a depth that is bounded. What is deeper is not seen; all of
 * it dies by cgroup.kill, where there is one, or with its pid namespace.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/internal.h"

int dir_open(int dirfd, const char *path)
{
        int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int dir_read(int dirfd, const char *file, char **ret_text)
{
        char *text;
        size_t len;
        int r = file_read(dirfd, file, LIMIT_PROC_BYTES, &text, &len);

        if (r < 0)
                return r;
        while (len > 0 && strchr(" \n", text[len - 1]))
                text[--len] = '\0';
        *ret_text = text;
        return 0;
}

static bool is_vanished(int r)
{
        return r == -ENOENT || r == -ENODEV;
}

static int walk_below(int fd, unsigned depth, const struct walk *walk);

static int walk_entry(int parent, const char *name, unsigned depth, const struct walk *walk)
{
        int fd = dir_open(parent, name);
        int r;

        if (fd < 0)
                return is_vanished(fd) ? 0 : fd;
        r = walk_below(fd, depth, walk);
        return is_vanished(r) ? 0 : r;
}

/* Consumes fd. */
static int walk_below(int fd, unsigned depth, const struct walk *walk)
{
        _cleanup_closedir_ DIR *dir = fdopendir(fd);
        struct dirent *entry;
        int r = 0;

        if (!dir) {
                r = -errno;
                fd_close(fd);
                return r;
        }
        r = walk->enter(fd, walk->userdata);
        if (depth == LIMIT_CGROUP_DEPTH)
                return r;
        while (r == 0 && (entry = readdir(dir))) {
                if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
                    strcmp(entry->d_name, "..") == 0)
                        continue;
                r = walk_entry(fd, entry->d_name, depth + 1, walk);
        }
        return r;
}

int dir_walk(const char *path, const struct walk *walk)
{
        int fd = dir_open(AT_FDCWD, path);
        int r = fd < 0 ? fd : walk_below(fd, 0, walk);

        return is_vanished(r) ? 0 : r;
}

bool backoff(uint64_t deadline_ns, unsigned *round)
{
        uint64_t now = clock_monotonic_ns();
        uint64_t span = NSEC_PER_MSEC << (*round < 4 ? *round : 4);
        struct timespec ts;

        if (now >= deadline_ns)
                return false;
        if (span > deadline_ns - now)
                span = deadline_ns - now;
        ts = (struct timespec){.tv_sec = 0, .tv_nsec = (long)span};
        (void)nanosleep(&ts, NULL);
        (*round)++;
        return true;
}
