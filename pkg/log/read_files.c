/* SPDX-License-Identifier: Apache-2.0
 *
 * See read_files.h. Names are opened from the newest to the oldest. A rotation meanwhile moves a
 * file to a name that is still to be opened: it is found there, or found a second time. Missed is
 * only what has lost its last name before it was seen, and that is counted.
 */
#include "pkg/log/read_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

static bool is_same(const struct log_read_file *a, const struct log_read_file *b)
{
        return a->dev == b->dev && a->ino == b->ino;
}

/* 0, or a negative errno: -ENOENT when nothing has that name. */
static int open_file(const struct log_config *config, uint64_t number, struct log_read_file *ret)
{
        _cleanup_free_ char *name =
                number == 0 ? strdup(config->path)
                            : str_printf("%s.%llu", config->path, (unsigned long long)number);
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (!name)
                return -ENOMEM;
        fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        *ret = (struct log_read_file){
                .fd = TAKE_FD(fd),
                .dev = st.st_dev,
                .ino = st.st_ino,
                .limit = UINT64_MAX,
                .mtime_ns = clock_timespec_ns(&st.st_mtim),
        };
        return 0;
}

static bool is_listed(const struct log_read_file *list, size_t n, const struct log_read_file *file)
{
        for (size_t i = 0; i < n; i++) {
                if (is_same(&list[i], file))
                        return true;
        }
        return false;
}

static int append(struct log_read_files *files, const struct log_read_file *file)
{
        if (files->n == files->room) {
                size_t room = files->room > 0 ? 2 * files->room : 16;
                struct log_read_file *list = reallocarray(files->list, room, sizeof(*list));

                if (!list)
                        return -ENOMEM;
                files->list = list;
                files->room = room;
        }
        files->list[files->n++] = *file;
        return 0;
}

static void reverse(struct log_read_file *list, size_t n)
{
        for (size_t i = 0; i < n / 2; i++) {
                struct log_read_file other = list[i];

                list[i] = list[n - 1 - i];
                list[n - 1 - i] = other;
        }
}

static void close_from(struct log_read_files *files, size_t from)
{
        for (size_t i = from; i < files->n; i++)
                fd_close(files->list[i].fd);
        files->n = from;
}

/*
 * Appends what is newer than the last of the list, or all when the list is empty: newest first. Of
 * a log whose last file is not to be found any more by any name, what was written to since is
 * newer.
 */
static int collect(struct log_read_files *files)
{
        size_t n_old = files->n;
        struct log_read_file last = n_old > 0 ? files->list[n_old - 1] : (struct log_read_file){0};
        bool found = false;

        for (uint64_t i = 0; i < files->config->max_files && !found; i++) {
                struct log_read_file file = {.fd = -1};
                int r = open_file(files->config, i, &file);

                if (r == -ENOENT || (r < 0 && i > 0 && r != -EMFILE && r != -ENOMEM))
                        continue;
                if (r < 0)
                        return r;
                found = n_old > 0 && is_same(&file, &last);
                if (found || is_listed(files->list + n_old, files->n - n_old, &file)) {
                        fd_close(file.fd);
                        continue;
                }
                r = append(files, &file);
                if (r < 0) {
                        fd_close(file.fd);
                        return r;
                }
        }
        if (n_old > 0 && !found) {
                struct stat st;
                uint64_t written = 0;

                if (fstat(last.fd, &st) == 0)
                        written = clock_timespec_ns(&st.st_mtim);
                while (files->n > n_old && files->list[files->n - 1].mtime_ns < written)
                        close_from(files, files->n - 1);
        }
        return 0;
}

/* The oldest that has not been begun is given up, so that a disk does not fill with files that only
 * a slow reader holds. */
static void drop_oldest(struct log_read_files *files)
{
        while (files->n > files->config->max_files + LOG_READ_KEPT) {
                uint64_t n_missing = files->list[1].n_missing + 1;

                fd_close(files->list[1].fd);
                memmove(files->list + 1, files->list + 2, (files->n - 2) * sizeof(*files->list));
                files->n--;
                files->list[1].n_missing += n_missing;
        }
}

/* Rotations that the writer has counted, each of which has begun a file. */
static uint64_t count_rotations(const struct log_read_files *files)
{
        return files->counters ? atomic_load(&files->counters->rotations) : 0;
}

int log_read_files_open(struct log_read_files *files, const struct log_config *config,
                        const struct log_counters *counters, bool has_end)
{
        struct stat st;
        int r;

        *files = (struct log_read_files){.config = config, .counters = counters};
        r = collect(files);
        files->n_rotations = count_rotations(files);
        if (r == 0 && files->n == 0)
                r = -ENOENT;
        if (r < 0) {
                log_read_files_close(files);
                return r;
        }
        /* Only the one that was the newest at first has been written to since. */
        if (has_end && fstat(files->list[0].fd, &st) == 0)
                files->list[0].limit = (uint64_t)st.st_size;
        reverse(files->list, files->n);
        return 0;
}

void log_read_files_close(struct log_read_files *files)
{
        close_from(files, 0);
        free(files->list);
        *files = (struct log_read_files){0};
}

/*
 * A writer that begins more files than the log has, from one look to the next, takes away some that
 * were never seen. The counter is read before the names are: what it counts was there to be seen.
 */
static void count_missing(struct log_read_files *files, size_t n_old, uint64_t n_rotations)
{
        uint64_t n_begun = n_rotations - files->n_rotations;

        if (files->n == n_old)
                return;
        files->n_new += files->n - n_old;
        if (n_begun <= files->n_new)
                return;
        files->list[n_old].n_missing += n_begun - files->n_new;
        files->n_new = n_begun;
}

void log_read_files_look(struct log_read_files *files)
{
        uint64_t n_rotations = count_rotations(files);
        size_t n_old = files->n;

        if (collect(files) < 0) {
                close_from(files, n_old);
                return;
        }
        reverse(files->list + n_old, files->n - n_old);
        count_missing(files, n_old, n_rotations);
        drop_oldest(files);
}

void log_read_files_next(struct log_read_files *files)
{
        fd_close(files->list[0].fd);
        memmove(files->list, files->list + 1, (files->n - 1) * sizeof(*files->list));
        files->n--;
}
