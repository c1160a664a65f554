/* SPDX-License-Identifier: Apache-2.0
 *
 * Giving a v2 cgroup to the root of a user namespace (runtime-spec, config-linux.md "Cgroup
 * ownership"): the directory and the files that the kernel names as safe to give away, and no
 * other: with the limits' own files the container could lift its limits.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/cgroup/internal.h"

static const char delegate_list[] = "/sys/kernel/cgroup/delegate";

/* Before Linux 4.15 there is no list. */
static const char default_list[] = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/* Not every file of the list is there: that depends on the controllers. */
static int file_give(int dir, const char *name, uid_t uid)
{
        if (*name == '\0' || strchr(name, '/'))
                return 0;
        if (fchownat(dir, name, uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW) == 0 || errno == ENOENT)
                return 0;
        return -errno;
}

int cgroup_delegate(const struct cgroup *cg, uid_t uid, struct error *err)
{
        const struct cgroup_dir *dir = cgroup_is_on_v2(cg) ? cgroup_find_v2(cg) : NULL;
        _cleanup_close_ int fd = dir ? dir_open(AT_FDCWD, dir->path) : -1;
        _cleanup_free_ char *list = NULL;
        char *rest = NULL;
        int r;

        if (!dir)
                return 0;
        if (fd < 0)
                return error_errno(err, -fd, "open cgroup '%s'", dir->path);
        if (dir_read(AT_FDCWD, delegate_list, &list) < 0)
                list = strdup(default_list);
        if (!list)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "delegate cgroup: no memory");
        r = fchown(fd, uid, (gid_t)-1) < 0 ? -errno : 0;
        for (char *name = strtok_r(list, "\n", &rest); r == 0 && name;
             name = strtok_r(NULL, "\n", &rest))
                r = file_give(fd, name, uid);
        return r < 0 ? error_errno(err, -r, "give cgroup '%s' to user %u", dir->path, (unsigned)uid)
                     : 0;
}
