/* SPDX-License-Identifier: Apache-2.0
 *
 * See logger_orphan.h. The container's own orphans have the pipes, too, but open for writing: the
 * link to a descriptor in procfs tells by its mode.
 */
#include "pkg/io/logger_orphan.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "pkg/base/cleanup.h"

enum { DESCRIPTORS_MAX = 1024 }; /* that are looked at, of one process */

static bool is_reader(int dir, const char *name, int pipe)
{
        struct stat link;
        struct stat theirs;
        struct stat ours;

        return fstat(pipe, &ours) == 0 && fstatat(dir, name, &theirs, 0) == 0 &&
               ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino &&
               fstatat(dir, name, &link, AT_SYMLINK_NOFOLLOW) == 0 && (link.st_mode & S_IRUSR);
}

static bool can_read(pid_t pid, const int *pipes, size_t n_pipes)
{
        char path[64];
        bool found = false;
        DIR *dir;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        dir = opendir(path);
        if (!dir)
                return false;
        for (int i = 0; i < DESCRIPTORS_MAX && !found; i++) {
                const struct dirent *entry = readdir(dir);

                if (!entry)
                        break;
                for (size_t j = 0; j < n_pipes && entry->d_name[0] != '.'; j++)
                        found = found || is_reader(dirfd(dir), entry->d_name, pipes[j]);
        }
        (void)closedir(dir);
        return found;
}

pid_t logger_orphan_find(const struct reaper *reaper, const int *pipes, size_t n_pipes)
{
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0;

        /* Without CONFIG_PROC_CHILDREN nobody tells, and none is found. */
        if (reaper_strangers(reaper, &pids, &n) < 0)
                return 0;
        for (size_t i = 0; i < n; i++) {
                if (can_read(pids[i], pipes, n_pipes))
                        return pids[i];
        }
        return 0;
}
