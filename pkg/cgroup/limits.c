/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing limits: values in groups whose members depend on each other, errors that name the field
 * of the document, and a journal by which a change that fails half-way is taken back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/entries.h"
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

int limits_write_one(struct limits *limits, const char *controller, const struct limit *item,
                     struct error *err)
{
        const struct cgroup_dir *dir = limits_dir(limits, controller, item->field, err);

        return dir ? limits_write(limits, dir, item, 1, err) : -1;
}

/* ---- the way back ---- */

static const char *limit_text(const struct limit *item)
{
        return item->text ? item->text : item->value;
}

/* What to write so that the entry has this value; on the heap. */
static char *entry_format(const struct limit *item, const char *value, size_t len)
{
        int n = (int)len;

        if (item->only_listed)
                return str_printf("%.*s", n, value);
        if (item->key)
                return str_printf("%s %s=%.*s", item->entry, item->key, n, value);
        return str_printf("%s %.*s", item->entry, n, value);
}

static char *undo_text(const struct limit *item, const char *present)
{
        const char *value = item->unset;
        size_t len = value ? strlen(value) : 0;

        if (!item->entry)
                return strdup(present);
        if (!entry_find(present, item->entry, item->key, &value, &len) && !value)
                value = "";
        return entry_format(item, value, len);
}

int limits_remember(struct limits *limits, const struct cgroup_dir *dir, int fd,
                    const struct limit *item)
{
        _cleanup_free_ char *present = NULL;
        struct limit_undo *undo;
        int r = dir_read(fd, item->file, &present);

        if (r == -ENOENT || r == -ENOMEM)
                return r == -ENOENT ? 0 : r;
        if (limits->n_journal == limits->room) {
                size_t room = limits->room ? 2 * limits->room : 16;
                struct limit_undo *bigger = reallocarray(limits->journal, room, sizeof(*bigger));

                if (!bigger)
                        return -ENOMEM;
                limits->journal = bigger;
                limits->room = room;
        }
        undo = &limits->journal[limits->n_journal];
        *undo = (struct limit_undo){.dir = dir, .file = strdup(item->file)};
        if (r == 0)
                undo->text = undo_text(item, present);
        if (!undo->file || (r == 0 && !undo->text)) {
                free(undo->file);
                free(undo->text);
                return -ENOMEM;
        }
        limits->n_journal++;
        return 0;
}

static void undo_drop(struct limits *limits)
{
        struct limit_undo *undo = &limits->journal[--limits->n_journal];

        free(undo->file);
        free(undo->text);
}

/* Line by line, as the kernel takes them; an empty list is an empty line. */
static int lines_write(int fd, const char *file, const char *text)
{
        int r = 0;

        do {
                size_t len = strcspn(text, "\n");
                _cleanup_free_ char *line = str_printf("%.*s\n", (int)len, text);

                r = line ? file_write(fd, file, line) : -ENOMEM;
                text += len + (text[len] == '\n');
        } while (r == 0 && *text);
        return r;
}

static int undo_write(const struct limit_undo *undo)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, undo->dir->path);
        _cleanup_free_ char *present = NULL;

        if (fd < 0)
                return fd;
        if (!undo->text)
                return -EOPNOTSUPP;
        /* Not everything that can be read can be written: the weight of an idle cgroup. */
        if (dir_read(fd, undo->file, &present) == 0 && str_equal(present, undo->text))
                return 0;
        return lines_write(fd, undo->file, undo->text);
}

void limits_undo(struct limits *limits, struct error *err)
{
        for (; limits->n_journal > 0; undo_drop(limits)) {
                const struct limit_undo *undo = &limits->journal[limits->n_journal - 1];
                int r = undo_write(undo);
                struct error before;

                if (r == 0 || !err)
                        continue;
                before = *err;
                (void)error_set(err, before.code, "%s; and '%s/%s' could not be set back: %s",
                                before.msg, undo->dir->path, undo->file, strerror(-r));
                err->errnum = before.errnum;
        }
}

void limits_free(struct limits *limits)
{
        while (limits->n_journal > 0)
                undo_drop(limits);
        free(limits->journal);
        limits->journal = NULL;
        limits->room = 0;
}

/* ---- writing ---- */

static int limit_write(struct limits *limits, const struct cgroup_dir *dir, int fd,
                       const struct limit *item)
{
        _cleanup_free_ char *line = NULL;
        const char *text = limit_text(item);
        size_t n = limits->n_journal;
        int r;

        if (item->entry) {
                line = entry_format(item, text, strlen(text));
                if (!line)
                        return -ENOMEM;
                text = line;
        }
        r = limits_remember(limits, dir, fd, item);
        if (r == 0)
                r = file_write(fd, item->file, text);
        if (r < 0 && limits->n_journal > n)
                undo_drop(limits);
        return r == -ENOENT && item->optional ? 0 : r;
}

static int limit_error(const struct cgroup_dir *dir, const struct limit *item, int r,
                       struct error *err)
{
        if (r == -ENOENT)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "linux.resources.%s: this host has no '%s'", item->field,
                                 item->file);
        return error_errno(err, -r, "linux.resources.%s: write '%s%s%s%s%.64s' to '%s/%s'",
                           item->field, item->entry && !item->only_listed ? item->entry : "",
                           item->entry && !item->only_listed ? " " : "", item->key ? item->key : "",
                           item->key ? "=" : "", limit_text(item), dir->path, item->file);
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
