/* SPDX-License-Identifier: Apache-2.0
 *
 * Making a container's directories.
 *
 * Others make and remove directories beside us, parents included: another container's end may take
 * away a parent right after we found it. So making a path is a loop that starts over when something
 * vanished. Nothing is made outside of a cgroup file system: a mountpoint that is not there must
 * not become a plain directory.
 *
 * Mostly the directory above is there. It is opened once then, and what has to be done is done from
 * there: to walk a path through cgroup file systems costs as much as half of a mkdir(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

enum { MAKE_TRIES = 16 };

static bool is_cgroup_fs(const struct statfs *st)
{
        return st->f_type == CGROUP_SUPER_MAGIC || st->f_type == CGROUP2_SUPER_MAGIC;
}

/* 0, -ENODEV if it is of another file system, or what statfs(2) says. */
static int cgroup_fs_check(const char *path)
{
        struct statfs st;

        if (statfs(path, &st) < 0)
                return -errno;
        return is_cgroup_fs(&st) ? 0 : -ENODEV;
}

/* Cuts the last component off; false when nothing would be left. */
static bool path_cut(char *path)
{
        char *slash = strrchr(path, '/');

        if (!slash || slash == path)
                return false;
        *slash = '\0';
        return true;
}

/* The directory that path is in, O_PATH; -1 if it is not there, or of another file system. */
static int above_open(const char *path)
{
        _cleanup_free_ char *part = strdup(path);
        _cleanup_close_ int fd = -1;
        struct statfs st;

        if (part && path_cut(part))
                fd = open(part, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd >= 0 && fstatfs(fd, &st) == 0 && is_cgroup_fs(&st) ? TAKE_FD(fd) : -1;
}

static const char *path_name(const char *path)
{
        return strrchr(path, '/') + 1;
}

/*
 * One try to make path and what is missing above it. Returns 0 or a negative errno, -ENOENT when
 * something vanished meanwhile. *ret_made: how many directories were made, from path upwards.
 */
static int path_make_once(const char *path, unsigned *ret_made)
{
        _cleanup_free_ char *part = strdup(path);
        size_t len = strlen(path);
        int r;

        *ret_made = 0;
        if (!part)
                return -ENOMEM;
        /* Down to what is there already; mkdir(2) says whether path itself is... */
        do {
                if (!path_cut(part))
                        return -ENODEV;
                r = cgroup_fs_check(part);
        } while (r == -ENOENT);
        if (r < 0)
                return r;
        /* ... and up again. */
        while (strlen(part) < len) {
                part[strlen(part)] = '/';
                if (mkdir(part, 0755) == 0)
                        (*ret_made)++;
                else if (errno == EEXIST)
                        *ret_made = 0;
                else
                        return -errno;
        }
        return 0;
}

static void path_unmake(const char *path, unsigned n)
{
        _cleanup_free_ char *part = strdup(path);

        while (part && n-- > 0 && rmdir(part) == 0 && path_cut(part))
                ;
}

/* above: as above_open() gives it. It may have been removed since. */
static int dir_make(struct cgroup_dir *dir, int above)
{
        int r = -ENOENT;

        dir->n_parents = 0;
        dir->created = above >= 0 && mkdirat(above, path_name(dir->path), 0755) == 0;
        if (dir->created || (above >= 0 && errno == EEXIST))
                return 0;
        for (int i = 0; r == -ENOENT && i < MAKE_TRIES; i++) {
                unsigned n_made;

                r = path_make_once(dir->path, &n_made);
                if (r == 0) {
                        dir->created = n_made > 0;
                        dir->n_parents = n_made > 0 ? n_made - 1 : 0;
                }
        }
        return r;
}

/* A directory that was there before must be idle, and all below it: a Delete kills whatever is
 * there.
 */
static int dir_check_idle(const struct cgroup_dir *dir, struct error *err)
{
        _cleanup_free_ char *state = NULL;
        _cleanup_close_ int fd = dir_open(AT_FDCWD, dir->path);
        struct pid_list list = {0};
        bool is_empty;
        int r;

        if (fd < 0)
                return error_errno(err, -fd, "open cgroup '%s'", dir->path);
        r = pid_list_read(dir, false, &list);
        is_empty = list.n == 0;
        pid_list_free(&list);
        if (r < 0)
                return error_errno(err, -r, "list the processes of cgroup '%s'", dir->path);
        if (!is_empty)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "cgroup '%s' exists and has processes in it", dir->path);
        r = dir_read(fd, dir->is_v2 ? "cgroup.freeze" : "freezer.state", &state);
        if (r == 0 && !str_equal(state, dir->is_v2 ? "0" : "THAWED"))
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "cgroup '%s' exists and is frozen", dir->path);
        return 0;
}

/* Calls fn with each directory from the mountpoint down to path, open, as long as it returns 0. */
static int levels_for_each(const char *path, int (*fn)(int fd, bool is_last, void *userdata),
                           void *userdata)
{
        _cleanup_free_ char *part = strdup(path);
        size_t len = strlen(path);
        int r = 0;

        if (!part)
                return -ENOMEM;
        while (path_cut(part) && cgroup_fs_check(part) == 0)
                ;
        /* part is above the mountpoint now. */
        while (r == 0 && strlen(part) < len) {
                _cleanup_close_ int fd = -1;

                part[strlen(part)] = '/';
                fd = dir_open(AT_FDCWD, part);
                r = fd < 0 ? fd : fn(fd, strlen(part) == len, userdata);
        }
        return r;
}

struct cpuset_values {
        char *cpus;
        char *mems;
};

/* An empty value is filled with that of the level above; *value becomes this level's. */
static int cpuset_inherit(int fd, const char *file, char **value)
{
        _cleanup_free_ char *here = NULL;
        int r = dir_read(fd, file, &here);

        if (r < 0) /* a level of another file system above the mountpoint has no such file */
                return r == -ENOENT ? 0 : r;
        if (str_is_empty(here) && !str_is_empty(*value))
                return file_write(fd, file, *value);
        free(*value);
        *value = TAKE_PTR(here);
        return 0;
}

static int cpuset_level(int fd, bool is_last, void *userdata)
{
        struct cpuset_values *values = userdata;
        int r = cpuset_inherit(fd, "cpuset.cpus", &values->cpus);

        return r < 0 ? r : cpuset_inherit(fd, "cpuset.mems", &values->mems);
}

/* The same for a new one: the level above has mostly been filled long ago. False: it has not. */
static bool cpuset_take(const struct cgroup_dir *dir, int above)
{
        _cleanup_close_ int fd = dir_open(above, path_name(dir->path));
        _cleanup_free_ char *cpus = NULL;
        _cleanup_free_ char *mems = NULL;

        return fd >= 0 && dir_read(above, "cpuset.cpus", &cpus) == 0 &&
               dir_read(above, "cpuset.mems", &mems) == 0 && !str_is_empty(cpus) &&
               !str_is_empty(mems) && file_write(fd, "cpuset.cpus", cpus) == 0 &&
               file_write(fd, "cpuset.mems", mems) == 0;
}

static int cpuset_fill(const struct cgroup_dir *dir)
{
        struct cpuset_values values = {0};
        int r = levels_for_each(dir->path, cpuset_level, &values);

        free(values.cpus);
        free(values.mems);
        return r;
}

struct enabling {
        const char *only; /* NULL: all controllers */
        bool is_there;
        int r; /* of the last that could not be had */
};

/* Hands the controllers of one level down to the next. */
static int v2_level(int fd, bool is_last, void *userdata)
{
        struct enabling *enabling = userdata;
        _cleanup_free_ char *have = NULL;
        _cleanup_free_ char *enabled = NULL;
        char *rest = NULL;

        if (is_last || dir_read(fd, "cgroup.controllers", &have) < 0 ||
            dir_read(fd, "cgroup.subtree_control", &enabled) < 0)
                return 0;
        for (char *p = enabled; *p; p++)
                *p = *p == ' ' ? ',' : *p;
        for (char *name = strtok_r(have, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
                char text[NAME_MAX + 2];
                int r;

                if (enabling->only && !str_equal(name, enabling->only))
                        continue;
                enabling->is_there = true;
                if (controllers_have(enabled, name))
                        continue;
                (void)snprintf(text, sizeof(text), "+%s", name);
                r = file_write(fd, "cgroup.subtree_control", text);
                if (r < 0)
                        enabling->r = r;
        }
        return 0;
}

int v2_enable(const struct cgroup_dir *dir, const char *controller)
{
        struct enabling enabling = {.only = controller};
        int r = levels_for_each(dir->path, v2_level, &enabling);

        if (r < 0 || enabling.r < 0)
                return r < 0 ? r : enabling.r;
        return enabling.is_there ? 0 : -ENOENT;
}

static int dir_prepare(const struct cgroup *cg, struct cgroup_dir *dir, int above,
                       struct error *err)
{
        int r;

        if (!dir->created && !cg->unit && dir_check_idle(dir, err) < 0)
                return -1;
        if (!dir->is_v2 && controllers_have(dir->controllers, "cpuset") &&
            !(dir->created && above >= 0 && cpuset_take(dir, above))) {
                r = cpuset_fill(dir);
                if (r < 0)
                        return error_errno(err, -r, "inherit cpuset of '%s'", dir->path);
        }
        if (dir->is_v2 && cgroup_is_on_v2(cg)) {
                /* What cannot be had is not an error here: a limit that needs it will be (a level
                 * with processes of its own gives EBUSY, for example). */
                struct enabling enabling = {.only = NULL};

                r = levels_for_each(dir->path, v2_level, &enabling);
                if (r < 0)
                        return error_errno(err, -r, "enable controllers for '%s'", dir->path);
        }
        return 0;
}

static bool is_read_only(int r)
{
        return r == -EROFS || r == -EPERM || r == -EACCES;
}

/* join: NULL for who does not join. */
static int create_all(struct cgroup *cg, int *above, struct cgroup_join *join, struct error *err)
{
        for (size_t i = 0; i < cg->n_dirs;) {
                struct cgroup_dir *dir = &cg->dirs[i];
                int r = dir_make(dir, above[i]);

                if (dir->is_v2 && !cgroup_is_on_v2(cg) && is_read_only(r)) {
                        fd_close(above[i]);
                        cg->n_dirs--;
                        memmove(dir, dir + 1, (cg->n_dirs - i) * sizeof(*dir));
                        memmove(&above[i], &above[i + 1], (cg->n_dirs - i) * sizeof(*above));
                        above[cg->n_dirs] = -1;
                        continue;
                }
                if (r == -ENODEV)
                        return error_set(err, STATUS_UNKNOWN,
                                         "make cgroup '%s': not in a cgroup file system",
                                         dir->path);
                if (r < 0)
                        return error_errno(err, -r, "make cgroup '%s'", dir->path);
                if (dir_prepare(cg, dir, above[i], err) < 0 ||
                    (join && join_add(join, dir, above[i], err) < 0))
                        return -1;
                i++;
        }
        return 0;
}

/* Sets in dir what create_all() is going to make, and refuses what it would refuse. */
static int dir_foresee(struct cgroup_dir *dir, int above, struct error *err)
{
        _cleanup_free_ char *part = strdup(dir->path);

        if (!part)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "make cgroup: no memory");
        dir->created =
                above < 0 ? access(part, F_OK) < 0 : faccessat(above, path_name(part), F_OK, 0) < 0;
        dir->n_parents = 0;
        if (!dir->created)
                return dir_check_idle(dir, err);
        while (above < 0 && path_cut(part) && access(part, F_OK) < 0)
                dir->n_parents++;
        return 0;
}

static int announce(const struct cgroup *cg, const int *above, cgroup_announce_fn tell,
                    void *userdata, struct error *err)
{
        struct cgroup planned = *cg;

        for (size_t i = 0; i < planned.n_dirs; i++) {
                if (dir_foresee(&planned.dirs[i], above[i], err) < 0)
                        return -1;
        }
        return tell(&planned, userdata, err);
}

static void undo_all(struct cgroup *cg)
{
        for (size_t i = 0; i < cg->n_dirs; i++) {
                struct cgroup_dir *dir = &cg->dirs[i];

                if (dir->created)
                        path_unmake(dir->path, 1 + dir->n_parents);
                dir->created = false;
        }
}

int cgroup_create_with(struct cgroup *cg, cgroup_announce_fn tell, void *userdata,
                       struct cgroup_join *join, struct error *err)
{
        int above[CGROUP_HIERARCHIES_MAX];
        size_t n = cg->n_dirs;
        int r;

        if (join)
                *join = (struct cgroup_join){.v2_dir = -1};
        for (size_t i = 0; i < CGROUP_HIERARCHIES_MAX; i++)
                above[i] = i < n ? above_open(cg->dirs[i].path) : -1;
        for (size_t i = 0; i < n; i++) {
                cg->dirs[i].created = false;
                cg->dirs[i].n_parents = 0;
        }
        r = tell ? announce(cg, above, tell, userdata, err) : 0;
        if (r == 0) {
                r = create_all(cg, above, join, err);
                if (r < 0) {
                        if (join)
                                cgroup_join_close(join);
                        undo_all(cg);
                }
        }
        for (size_t i = 0; i < n; i++)
                fd_close(above[i]);
        for (size_t i = 0; r == 0 && cg->unit && i < cg->n_dirs; i++)
                cg->dirs[i].created = true;
        return r;
}

int cgroup_create(struct cgroup *cg, struct error *err)
{
        return cgroup_create_with(cg, NULL, NULL, NULL, err);
}
