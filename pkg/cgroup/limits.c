/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing limits: values in groups whose members depend on each other, errors that name the field
 * of the document, and a journal by which a change that fails half-way is taken back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

struct limit limit_i64(const char *field, const char *file, int64_t value)
{
        struct limit limit = {.field = field, .file = file};

        (void)snprintf(limit.value, sizeof(limit.value), "%lld", (long long)value);
        return limit;
}

struct limit limit_u64(const char *field, const char *file, uint64_t value)
{
        struct limit limit = {.field = field, .file = file};

        (void)snprintf(limit.value, sizeof(limit.value), "%llu", (unsigned long long)value);
        return limit;
}

struct limit limit_max(const char *field, const char *file, int64_t value)
{
        struct limit limit = limit_i64(field, file, value);

        if (value < 0)
                (void)snprintf(limit.value, sizeof(limit.value), "max");
        return limit;
}

const struct cgroup_dir *limits_dir(struct limits *limits, const char *controller,
                                    const char *field, struct error *err)
{
        const struct cgroup_dir *dir = cgroup_is_on_v2(limits->cg)
                                               ? cgroup_find_v2(limits->cg)
                                               : cgroup_find_v1(limits->cg, controller);

        if (!dir)
                (void)error_set(err, STATUS_FAILED_PRECONDITION,
                                "linux.resources.%s: this host has no %s controller", field,
                                controller);
        return dir;
}

void limits_remember(struct limits *limits, const struct cgroup_dir *dir, int fd, const char *file)
{
        _cleanup_free_ char *text = NULL;
        struct limit_undo *undo = &limits->journal[limits->n_journal];

        if (limits->n_journal == LIMIT_JOURNAL_MAX || dir_read(fd, file, &text) < 0)
                return;
        if (strchr(text, '\n') || strlen(text) >= sizeof(undo->value) ||
            strlen(file) >= sizeof(undo->file))
                return;
        undo->dir = dir;
        (void)snprintf(undo->file, sizeof(undo->file), "%s", file);
        (void)snprintf(undo->value, sizeof(undo->value), "%s", text);
        limits->n_journal++;
}

void limits_undo(struct limits *limits)
{
        while (limits->n_journal > 0) {
                const struct limit_undo *undo = &limits->journal[--limits->n_journal];
                _cleanup_close_ int fd = dir_open(AT_FDCWD, undo->dir->path);

                if (fd >= 0)
                        (void)file_write(fd, undo->file, undo->value);
        }
}

static int limit_write(struct limits *limits, const struct cgroup_dir *dir, int fd,
                       const struct limit *item)
{
        size_t n = limits->n_journal;
        int r;

        limits_remember(limits, dir, fd, item->file);
        r = file_write(fd, item->file, item->value);
        if (r < 0)
                limits->n_journal = n;
        return r == -ENOENT && item->optional ? 0 : r;
}

static int limit_error(const struct cgroup_dir *dir, const struct limit *item, int r,
                       struct error *err)
{
        if (r == -ENOENT)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "linux.resources.%s: this host has no '%s'", item->field,
                                 item->file);
        return error_errno(err, -r, "linux.resources.%s: write '%s' to '%s/%s'", item->field,
                           item->value, dir->path, item->file);
}

int limits_write(struct limits *limits, const struct cgroup_dir *dir, const struct limit *items,
                 size_t n, struct error *err)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, dir->path);
        bool done[LIMIT_GROUP_MAX] = {false};
        const struct limit *refused;
        size_t n_done;
        int why;

        if (fd < 0)
                return error_errno(err, -fd, "open cgroup '%s'", dir->path);
        do {
                refused = NULL;
                n_done = 0;
                why = 0;
                for (size_t i = 0; i < n; i++) {
                        int r = done[i] ? 0 : limit_write(limits, dir, fd, &items[i]);

                        if (r < 0 && r != -EINVAL)
                                return limit_error(dir, &items[i], r, err);
                        if (r == 0) {
                                n_done += !done[i];
                                done[i] = true;
                        } else if (!refused) {
                                refused = &items[i];
                                why = r;
                        }
                }
        } while (refused && n_done > 0);
        return refused ? limit_error(dir, refused, why, err) : 0;
}

int hugepage_size_check(const char *size, size_t index, struct error *err)
{
        size_t n = size ? strspn(size, "0123456789") : 0;

        if (n == 0 || n > 12 || !strchr("KMG", size[n]) || size[n] == '\0' ||
            !str_equal(size + n + 1, "B"))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.hugepageLimits[%zu].pageSize: '%.32s' is no page "
                                 "size such as '2MB'",
                                 index, size ? size : "");
        return 0;
}
