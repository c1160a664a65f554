/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors to join with: see cgroup.h for why it is `tasks` on v1 and not cgroup.procs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/cgroup/internal.h"

void cgroup_join_close(struct cgroup_join *join)
{
        while (join->n_tasks > 0)
                fd_close(join->tasks[--join->n_tasks]);
        join->v2_dir = fd_close(join->v2_dir);
}

static int open_one(const struct cgroup_dir *dir, int above, const char *from)
{
        char path[PATH_MAX];
        int fd;

        if (dir->is_v2)
                return dir_open(above, from);
        (void)snprintf(path, sizeof(path), "%s/tasks", from);
        fd = openat(above, path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int join_add(struct cgroup_join *join, const struct cgroup_dir *dir, int above, struct error *err)
{
        int fd = above < 0 ? -ENOENT : open_one(dir, above, strrchr(dir->path, '/') + 1);

        if (fd == -ENOENT) /* the directory above has been made anew, perhaps */
                fd = open_one(dir, AT_FDCWD, dir->path);
        if (fd < 0)
                return error_errno(err, -fd, "open '%s%s'", dir->path, dir->is_v2 ? "" : "/tasks");
        if (dir->is_v2)
                join->v2_dir = fd;
        else
                join->tasks[join->n_tasks++] = fd;
        return 0;
}

int cgroup_open_join(const struct cgroup *cg, struct cgroup_join *ret, struct error *err)
{
        struct cgroup_join join = {.v2_dir = -1};

        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (join_add(&join, &cg->dirs[i], -1, err) < 0) {
                        cgroup_join_close(&join);
                        return -1;
                }
        }
        *ret = join;
        return 0;
}
