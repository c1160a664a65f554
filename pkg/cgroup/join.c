/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors to join with: see cgroup.h for why it is `tasks` on v1 and not cgroup.procs.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/internal.h"

static int join_open(const struct cgroup_dir *dir, struct error *err)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, dir->path);
        int tasks;

        if (fd < 0)
                return error_errno(err, -fd, "open cgroup '%s'", dir->path);
        if (dir->is_v2)
                return TAKE_FD(fd);
        tasks = openat(fd, "tasks", O_WRONLY | O_CLOEXEC);
        if (tasks < 0)
                return error_errno(err, errno, "open '%s/tasks'", dir->path);
        return tasks;
}

int cgroup_open_join(const struct cgroup *cg, int *fds, size_t *ret_n, int *ret_v2_dir,
                     struct error *err)
{
        int v2_dir = -1;
        size_t n = 0;

        for (size_t i = 0; i < cg->n_dirs; i++) {
                int fd = join_open(&cg->dirs[i], err);

                if (fd < 0) {
                        while (n > 0)
                                fd_close(fds[--n]);
                        fd_close(v2_dir);
                        return -1;
                }
                if (cg->dirs[i].is_v2)
                        v2_dir = fd;
                else
                        fds[n++] = fd;
        }
        *ret_n = n;
        *ret_v2_dir = v2_dir;
        return 0;
}
