/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader: descriptors of all files that there are, and one pread(2) for each. A file of kernfs
 * gives all of itself to one read that has room for it. When a read says ENODEV the cgroup, or a
 * controller of it, has been removed: then all are opened again, once, by their paths.
 */
#include "pkg/cgroup/stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/stats_reader.h"

enum { TEXT_ROOM = 4096, GROWTH = 8, NAME_ROOM = 64 };

struct hugetlb_files {
        char page_size[CGROUP_PAGE_SIZE_NAME_MAX];
        int fds[STATS_HUGETLB_FILES];
};

struct cgroup_stats_reader {
        const struct cgroup *cg;
        const struct stats_version *version;
        bool is_open;
        int fds[STATS_FILES_MAX]; /* parallel to version->files; -1: not there */
        struct hugetlb_files hugetlb[CGROUP_PAGE_SIZES_MAX];
        size_t n_hugetlb;
};

struct stats_read {
        const struct cgroup_stats_reader *reader;
        struct arena *arena;
        bool has_vanished; /* a file is of a directory that is no more */
        size_t n_texts;
        char buf[TEXT_ROOM];
};

struct cgroup_stats_reader *cgroup_stats_reader_new(const struct cgroup *cg)
{
        struct cgroup_stats_reader *reader = calloc(1, sizeof(*reader));

        if (!reader)
                return NULL;
        reader->cg = cg;
        reader->version = cgroup_is_on_v2(cg) ? &stats_v2 : &stats_v1;
        return reader;
}

static void reader_close(struct cgroup_stats_reader *reader)
{
        if (!reader->is_open)
                return;
        for (size_t i = 0; i < reader->version->n_files; i++)
                fd_close(reader->fds[i]);
        for (size_t i = 0; i < reader->n_hugetlb; i++) {
                for (size_t k = 0; k < STATS_HUGETLB_FILES; k++)
                        fd_close(reader->hugetlb[i].fds[k]);
        }
        reader->n_hugetlb = 0;
        reader->is_open = false;
}

struct cgroup_stats_reader *cgroup_stats_reader_free(struct cgroup_stats_reader *reader)
{
        if (!reader)
                return NULL;
        reader_close(reader);
        free(reader);
        return NULL;
}

/* ---- Opening ---- */

static int file_open(int dirfd, const char *name)
{
        int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        return fd < 0 ? -1 : fd;
}

/* One page size for each file that ends as the first one does. */
static void open_hugetlb(struct cgroup_stats_reader *reader, const struct cgroup_dir *dir)
{
        const char *const *suffixes = dir && dir->is_v2 ? stats_v2.hugetlb : stats_v1.hugetlb;
        bool is_beside = dir && dir->is_v2 && reader->version == &stats_v1;
        DIR *stream = dir ? opendir(dir->path) : NULL; /* CLOEXEC, by opendir(3) */
        const struct dirent *entry;

        if (!stream)
                return;
        while (reader->n_hugetlb < CGROUP_PAGE_SIZES_MAX && (entry = readdir(stream))) {
                struct hugetlb_files *files = &reader->hugetlb[reader->n_hugetlb];

                if (!stats_parse_hugetlb_name(entry->d_name, suffixes[0], files->page_size))
                        continue;
                for (size_t k = 0; k < STATS_HUGETLB_FILES; k++) {
                        char name[NAME_ROOM];

                        (void)snprintf(name, sizeof(name), "hugetlb.%s%s", files->page_size,
                                       suffixes[k]);
                        /* v2 has a limit where v1's message has the highest usage so far. */
                        files->fds[k] = is_beside && k == STATS_HUGETLB_MAX
                                                ? -1
                                                : file_open(dirfd(stream), name);
                }
                reader->n_hugetlb++;
        }
        (void)closedir(stream);
}

static const struct cgroup_dir *find_dir(const struct cgroup *cg, const char *controller)
{
        return controller ? cgroup_find_v1(cg, controller) : cgroup_find_v2(cg);
}

/* On a hybrid host it may be on the v2 tree. */
static const struct cgroup_dir *find_hugetlb(const struct cgroup *cg)
{
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "hugetlb");

        return dir ? dir : cgroup_find_v2(cg);
}

static void reader_open(struct cgroup_stats_reader *reader)
{
        const struct stats_version *version = reader->version;
        const struct cgroup_dir *opened = NULL;
        _cleanup_close_ int fd = -1;

        for (size_t i = 0; i < version->n_files; i++) {
                const struct stats_file *file = &version->files[i];
                const struct cgroup_dir *dir = find_dir(reader->cg, file->controller);

                reader->fds[i] = -1;
                if (dir && dir != opened) {
                        fd_close(fd);
                        fd = open(dir->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                        opened = dir;
                }
                if (dir && fd >= 0)
                        reader->fds[i] = file_open(fd, file->name);
        }
        open_hugetlb(reader, find_hugetlb(reader->cg));
        reader->is_open = true;
}

/* ---- Reading ---- */

static ssize_t text_read(struct stats_read *read, int fd, char *buf, size_t room)
{
        ssize_t n;

        do {
                n = pread(fd, buf, room - 1, 0);
        } while (n < 0 && errno == EINTR);
        if (n < 0 && errno == ENODEV)
                read->has_vanished = true;
        if (n >= 0)
                buf[n] = '\0';
        return n;
}

/* In the buffer, or in the arena if it is long; what is beyond the limit is cut off. */
static const char *text_of(struct stats_read *read, int fd)
{
        char *buf = read->buf;
        size_t room = sizeof(read->buf);
        ssize_t n;

        if (fd < 0)
                return NULL;
        n = text_read(read, fd, buf, room);
        while (n >= 0 && (size_t)n == room - 1 && room < LIMIT_PROC_BYTES) {
                room *= GROWTH;
                buf = arena_alloc(read->arena, room);
                if (!buf)
                        return NULL;
                n = text_read(read, fd, buf, room);
        }
        if (n < 0)
                return NULL;
        read->n_texts++;
        return buf;
}

bool stats_has(const struct stats_read *read, size_t index)
{
        return read->reader->fds[index] >= 0;
}

struct arena *stats_arena(struct stats_read *read)
{
        return read->arena;
}

const char *stats_text(struct stats_read *read, size_t index)
{
        return text_of(read, read->reader->fds[index]);
}

uint64_t stats_number(struct stats_read *read, size_t index)
{
        const char *text = stats_text(read, index);

        return text ? stats_parse_number(text) : 0;
}

void stats_keys(struct stats_read *read, size_t index, const struct stats_key *keys, size_t n,
                void *ret)
{
        const char *text = stats_text(read, index);

        if (text)
                stats_parse_keys(text, keys, n, ret);
}

int stats_rdma(struct stats_read *read, size_t index, struct cgroup_rdma_list *ret)
{
        const char *text = stats_text(read, index);

        return text ? stats_parse_rdma(text, read->arena, ret) : 0;
}

/* v2's events is a file of keys, of which "max" counts the failures. */
static uint64_t failcnt_parse(const char *text)
{
        return stats_parse_number(str_has_prefix(text, "max ") ? text + strlen("max ") : text);
}

static void read_hugetlb(struct stats_read *read, struct cgroup_stats *ret)
{
        for (size_t i = 0; i < read->reader->n_hugetlb; i++) {
                const struct hugetlb_files *files = &read->reader->hugetlb[i];
                struct cgroup_hugetlb_stat *stat = &ret->hugetlb[ret->n_hugetlb++];
                uint64_t *values[STATS_HUGETLB_FILES] = {&stat->usage, &stat->max, &stat->failcnt};

                memcpy(stat->page_size, files->page_size, sizeof(stat->page_size));
                for (size_t k = 0; k < STATS_HUGETLB_FILES; k++) {
                        const char *text = text_of(read, files->fds[k]);

                        if (text)
                                *values[k] = k == STATS_HUGETLB_FAILCNT ? failcnt_parse(text)
                                                                        : stats_parse_number(text);
                }
        }
}

static int read_all(struct stats_read *read, struct cgroup_stats *ret)
{
        const struct stats_version *version = read->reader->version;

        read->has_vanished = false;
        read->n_texts = 0;
        *ret = (struct cgroup_stats){.is_v2 = version == &stats_v2};
        if (version->read(read, ret) < 0)
                return -1;
        read_hugetlb(read, ret);
        return 0;
}

int cgroup_stats_read(struct cgroup_stats_reader *reader, struct arena *arena,
                      struct cgroup_stats *ret, struct error *err)
{
        struct stats_read read;
        bool was_open = reader->is_open;
        int r;

        read.reader = reader;
        read.arena = arena;
        if (!reader->is_open)
                reader_open(reader);
        r = read_all(&read, ret);
        if (r == 0 && read.has_vanished && was_open) {
                reader_close(reader);
                reader_open(reader);
                r = read_all(&read, ret);
        }
        if (r < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "read the cgroup: no memory");
        if (read.n_texts == 0) {
                reader_close(reader);
                return error_set(err, STATUS_NOT_FOUND, "cgroup does not exist");
        }
        return 0;
}
