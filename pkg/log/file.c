/* SPDX-License-Identifier: Apache-2.0
 *
 * See file.h.
 */
#include "pkg/log/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

enum { RETRY_MIN_MS = 10, RETRY_MAX_MS = 1000 };

static int make_folders(const char *path)
{
        _cleanup_free_ char *folder = strdup(path);

        if (!folder)
                return -ENOMEM;
        for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (mkdir(folder, 0755) < 0 && errno != EEXIST)
                        return -errno;
                *slash = '/';
        }
        return 0;
}

static int file_reopen(struct log_file *file)
{
        struct stat st;
        /* O_NONBLOCK: a FIFO of that name is refused, and not waited for. */
        int fd =
                open(file->config->path,
                     O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
                     0640);

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                fd_close(fd);
                return -EINVAL;
        }
        fd_close(file->fd);
        file->fd = fd;
        file->size = (uint64_t)st.st_size;
        file->dev = st.st_dev;
        file->ino = st.st_ino;
        return 0;
}

/* A writer before us was killed in the middle of a line: what we write does not go on with it. */
static void end_torn_line(struct log_file *file)
{
        _cleanup_close_ int fd = open(file->config->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        char last = '\n';

        if (file->config->format != LOG_FORMAT_RAW && file->size > 0 && fd >= 0 &&
            pread(fd, &last, 1, (off_t)file->size - 1) == 1 && last != '\n' &&
            write(file->fd, "\n", 1) == 1)
                file->size++;
}

int log_file_open(struct log_file *file, const struct log_config *config,
                  struct log_counters *counters)
{
        int r;

        *file = (struct log_file){.config = config, .counters = counters, .fd = -1};
        r = make_folders(config->path);
        if (r == 0)
                r = file_reopen(file);
        if (r == 0)
                end_torn_line(file);
        return r;
}

void log_file_close(struct log_file *file)
{
        file->fd = fd_close(file->fd);
}

/* NULL without memory. */
static char *rotated_name(const struct log_config *config, uint64_t number)
{
        if (number == 0)
                return strdup(config->path);
        return str_printf("%s.%llu", config->path, (unsigned long long)number);
}

/* The names move on by one; the oldest one is overwritten, or removed when it is the only one: who
 * reads it has it open. */
static int move_names(const struct log_config *config)
{
        if (config->max_files == 1 && unlink(config->path) < 0 && errno != ENOENT)
                return -errno;
        for (uint64_t i = config->max_files - 1; i > 0; i--) {
                _cleanup_free_ char *from = rotated_name(config, i - 1);
                _cleanup_free_ char *to = rotated_name(config, i);

                if (!from || !to)
                        return -ENOMEM;
                if (rename(from, to) < 0 && errno != ENOENT)
                        return -errno;
        }
        return 0;
}

static int file_rotate(struct log_file *file)
{
        int r = move_names(file->config);

        if (r == 0)
                r = file_reopen(file);
        if (r == 0)
                atomic_fetch_add(&file->counters->rotations, 1);
        return r;
}

/* Somebody has moved or removed it (logrotate, an operator): then a new one is begun. */
static int file_check_place(struct log_file *file)
{
        struct stat st;

        if (stat(file->config->path, &st) == 0 && st.st_dev == file->dev &&
            st.st_ino == file->ino) {
                file->size = (uint64_t)st.st_size; /* it may have been truncated */
                return 0;
        }
        return file_reopen(file);
}

/* How much of the data may go into the present file: up to the end of an entry, at least one. */
static size_t part_that_fits(const struct log_file *file, const char *data, size_t len)
{
        uint64_t room =
                file->config->max_size > file->size ? file->config->max_size - file->size : 0;
        const char *end;

        if (file->config->max_size == 0 || len <= room)
                return len;
        end = memrchr(data, '\n', (size_t)room);
        if (end)
                return (size_t)(end - data) + 1;
        if (file->size > 0)
                return 0;
        end = memchr(data, '\n', len);
        return end ? (size_t)(end - data) + 1 : len;
}

static int write_some(struct log_file *file, const char *data, size_t len, size_t *ret_done)
{
        while (*ret_done < len) {
                ssize_t n = write(file->fd, data + *ret_done, len - *ret_done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                *ret_done += (size_t)n;
                file->size += (uint64_t)n;
        }
        return 0;
}

static void note_failure(struct log_file *file, int r)
{
        atomic_fetch_add(&file->counters->write_errors, 1);
        atomic_store(&file->counters->last_errno, -r);
}

int log_file_write(struct log_file *file, const char *data, size_t len,
                   const volatile bool *give_up)
{
        int pause_ms = RETRY_MIN_MS;
        size_t part = 0; /* what is being written to the present file... */
        size_t done = 0; /* ... and how much of that is */
        int r = file_check_place(file);

        for (;;) {
                if (r == 0 && done == part) {
                        data += part;
                        len -= part;
                        done = 0;
                        if (len == 0)
                                return 0;
                        part = part_that_fits(file, data, len);
                        if (part == 0)
                                r = file_rotate(file);
                        if (r < 0) {
                                /* A file that is too large is better than none. */
                                note_failure(file, r);
                                part = len;
                                r = 0;
                        }
                }
                if (r == 0 && part > done)
                        r = write_some(file, data, part, &done);
                if (r == 0)
                        continue;
                note_failure(file, r);
                if (*give_up)
                        return r;
                (void)poll(NULL, 0, pause_ms);
                pause_ms = pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
                r = file->fd < 0 ? file_reopen(file) : 0;
        }
}
