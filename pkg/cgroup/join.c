/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors to join with: see cgroup.h for why it is `tasks` on v1 and not cgroup.procs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/cgroup/internal.h"

static int join_open(const struct cgroup_dir *dir, struct error *err)
{
        char path[PATH_MAX];
        int fd;

        if (dir->is_v2) {
                fd = dir_open(AT_FDCWD, dir->path);
                return fd < 0 ? error_errno(err, -fd, "open cgroup '%s'", dir->path) : fd;
        }
        (void)snprintf(path, sizeof(path), "%s/tasks", dir->path);
        fd = open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? error_errno(err, errno, "open '%s'", path) : fd;
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
