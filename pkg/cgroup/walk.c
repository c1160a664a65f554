/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking a tree of cgroups, and small things about directories. A container with cgroups of its
 * own can nest them as deep as it likes, with paths beyond PATH_MAX, and freeze itself at the
 * bottom. So the walk goes by descriptors, holds one of them, and remembers the names that it still
 * has to visit; no depth is too deep for it, and only the number of directories may be limited.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/internal.h"

enum { LOOK_ROUND = 64 }; /* directories between two looks at the clock */

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

/* Sub-directories that are still to be visited, of one level: names, each with its NUL. */
struct level {
        char *names;
        size_t len;
        size_t at;
};

struct path {
        struct level *levels;
        size_t n;
        size_t room;
};

static int level_add(struct level *level, size_t *room, const char *name)
{
        size_t n = strlen(name) + 1;

        if (level->len + n > *room) {
                size_t bigger = *room > 0 ? 2 * *room : NAME_MAX + 1;
                char *grown = realloc(level->names, bigger);

                if (!grown)
                        return -ENOMEM;
                level->names = grown;
                *room = bigger;
        }
        memcpy(level->names + level->len, name, n);
        level->len += n;
        return 0;
}

/* At most `most` of them. */
static int level_read(int fd, size_t most, struct level *level)
{
        _cleanup_closedir_ DIR *dir = NULL;
        struct dirent *entry;
        size_t room = 0;
        size_t n = 0;
        int own = dir_open(fd, ".");
        int r = 0;

        if (own < 0)
                return own;
        dir = fdopendir(own);
        if (!dir) {
                fd_close(own);
                return -ENOMEM;
        }
        while (r == 0 && n < most && (entry = readdir(dir))) {
                if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
                    strcmp(entry->d_name, "..") == 0)
                        continue;
                r = level_add(level, &room, entry->d_name);
                n++;
        }
        return r;
}

static void path_pop(struct path *path)
{
        free(path->levels[--path->n].names);
}

/* A quick walk visits no more directories in all than it reads names of here. */
static int path_push(struct path *path, int fd, bool is_quick)
{
        size_t most = is_quick ? LIMIT_CGROUP_LOOK : SIZE_MAX;
        int r;

        if (path->n == path->room) {
                size_t room = path->room > 0 ? 2 * path->room : 8;
                struct level *grown = reallocarray(path->levels, room, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                path->levels = grown;
                path->room = room;
        }
        path->levels[path->n++] = (struct level){.names = NULL};
        r = level_read(fd, most, &path->levels[path->n - 1]);
        return is_vanished(r) ? 0 : r;
}

/* The next name of the deepest level, NULL: none is left. */
static const char *path_next(const struct path *path)
{
        struct level *level = &path->levels[path->n - 1];
        const char *name = level->names + level->at;

        if (level->at == level->len)
                return NULL;
        level->at += strlen(name) + 1;
        return name;
}

static int walk_enter(int fd, const struct walk *walk, struct path *path)
{
        int r = walk->enter(fd, walk->userdata);

        if (r < 0)
                return is_vanished(r) && path->n > 0 ? path_push(path, fd, walk->is_quick) : r;
        return path_push(path, fd, walk->is_quick);
}

/* The clock alone would end it too early when others had the processor. */
static bool is_over(const struct walk *walk, size_t n_dirs, uint64_t deadline_ns)
{
        return walk->is_quick && (n_dirs == LIMIT_CGROUP_LOOK ||
                                  (n_dirs % LOOK_ROUND == 0 && clock_monotonic_ns() > deadline_ns));
}

/* Consumes fd. */
static int walk_from(int fd, const struct walk *walk, struct path *path)
{
        uint64_t deadline_ns = clock_monotonic_ns() + LIMIT_CGROUP_LOOK_MS * NSEC_PER_MSEC;
        size_t n_dirs = 1;
        int r = walk_enter(fd, walk, path);

        while (r == 0 && path->n > 0) {
                const char *name = path_next(path);
                int next;

                if (!name)
                        path_pop(path);
                if (!name && path->n == 0)
                        break;
                if (name && is_over(walk, n_dirs, deadline_ns)) {
                        r = -E2BIG;
                        break;
                }
                next = dir_open(fd, name ? name : "..");
                if (next < 0 && name && is_vanished(next))
                        continue;
                if (next < 0) {
                        r = next;
                        break;
                }
                fd_close(fd);
                fd = next;
                n_dirs += name != NULL;
                if (name)
                        r = walk_enter(fd, walk, path);
        }
        fd_close(fd);
        return r;
}

int dir_walk(const char *path, const struct walk *walk)
{
        struct path below = {0};
        int fd = dir_open(AT_FDCWD, path);
        int r = fd < 0 ? fd : walk_from(fd, walk, &below);

        while (below.n > 0)
                path_pop(&below);
        free(below.levels);
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
