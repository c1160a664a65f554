/* SPDX-License-Identifier: Apache-2.0
 *
 * See logger_orphan.h. The container's own orphans have the pipes, too, but open for writing: the
 * link to a descriptor in procfs tells by its mode.
 */
#include "pkg/io/logger_orphan.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"

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
        _cleanup_free_ char *text = NULL;
        char *at;
        char *end;

        /* Without CONFIG_PROC_CHILDREN there is no such file, and none is found. */
        if (file_read(AT_FDCWD, "/proc/thread-self/children", LIMIT_PROC_BYTES, &text, NULL) < 0)
                return 0;
        at = text;
        for (long pid = strtol(at, &end, 10); end != at; pid = strtol(at, &end, 10)) {
                at = end;
                if (!reaper_is_watched(reaper, (pid_t)pid) && can_read((pid_t)pid, pipes, n_pipes))
                        return (pid_t)pid;
        }
        return 0;
}
