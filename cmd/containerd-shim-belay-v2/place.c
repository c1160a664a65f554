/* SPDX-License-Identifier: Apache-2.0
 *
 * Small writes to procfs and cgroupfs on behalf of a daemon that has just been forked: see place.h.
 */
#include "cmd/containerd-shim-belay-v2/place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum { OOM_SCORE_MIN = -1000, OOM_SCORE_MAX = 1000 };

/* The kernel's enum pid_type is not in its uapi headers. */
enum { SCHED_CORE_SCOPE_PGID = 2 };

int place_sched_core(struct error *err)
{
        if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, SCHED_CORE_SCOPE_PGID, 0) < 0)
                return error_errno(err, errno, "create a core scheduling cookie");
        return 0;
}

int place_oom_score_next(const char *parent_text, int *ret, struct error *err)
{
        char *end = NULL;
        long score;

        errno = 0;
        score = strtol(parent_text, &end, 10);
        if (errno || end == parent_text || (*end && *end != '\n') || score < OOM_SCORE_MIN ||
            score > OOM_SCORE_MAX)
                return error_set(err, STATUS_UNKNOWN, "oom_score_adj '%s' is not a score",
                                 parent_text);
        *ret = score < OOM_SCORE_MAX ? (int)score + 1 : OOM_SCORE_MAX;
        return 0;
}

int place_oom_score(pid_t pid, struct error *err)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        char score_text[16];
        int score = 0;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)getppid());
        r = file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, NULL);
        if (r < 0)
                return error_errno(err, -r, "read '%s'", path);
        if (place_oom_score_next(text, &score, err) < 0)
                return -1;
        (void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
        (void)snprintf(score_text, sizeof(score_text), "%d", score);
        r = file_write(AT_FDCWD, path, score_text);
        if (r < 0 && r != -EPERM && r != -EACCES)
                return error_errno(err, -r, "write '%s'", path);
        return 0;
}

/* Writes pid to <mountpoint>/<path>/cgroup.procs; *found tells that there is such a cgroup. */
static int cgroup_enter(const char *mountpoint, const char *path, pid_t pid, bool *found,
                        struct error *err)
{
        _cleanup_free_ char *file = str_printf("%s%s/cgroup.procs", mountpoint, path);
        char text[16];
        int r;

        if (!file)
                return error_errno(err, ENOMEM, "join shim_cgroup");
        (void)snprintf(text, sizeof(text), "%d", (int)pid);
        r = file_write(AT_FDCWD, file, text);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_errno(err, -r, "shim_cgroup: write '%s'", file);
        *found = true;
        return 0;
}

/* cgroup v1: /sys/fs/cgroup holds a directory for each hierarchy, and symlinks for joint ones. */
static int cgroup_enter_all(const char *path, pid_t pid, bool *found, struct error *err)
{
        _cleanup_closedir_ DIR *dir = opendir(CGROUP_ROOT);
        struct dirent *entry;

        if (!dir)
                return error_errno(err, errno, "open '" CGROUP_ROOT "'");
        while ((entry = readdir(dir))) {
                _cleanup_free_ char *mountpoint = NULL;

                if (entry->d_name[0] == '.' || entry->d_type == DT_LNK)
                        continue;
                mountpoint = str_printf(CGROUP_ROOT "/%s", entry->d_name);
                if (!mountpoint)
                        return error_errno(err, ENOMEM, "join shim_cgroup");
                if (cgroup_enter(mountpoint, path, pid, found, err) < 0)
                        return -1;
        }
        return 0;
}

int place_cgroup(pid_t pid, const char *path, struct error *err)
{
        const char *parts[] = {"/", path}; /* a rooted path keeps its `..` below the root */
        _cleanup_free_ char *clean = path_join_clean(parts, 2);
        struct statfs fs;
        bool found = false;
        int r;

        if (!clean)
                return error_errno(err, ENOMEM, "join shim_cgroup");
        if (statfs(CGROUP_ROOT, &fs) < 0)
                return error_errno(err, errno, "statfs '" CGROUP_ROOT "'");
        if (fs.f_type == CGROUP2_SUPER_MAGIC)
                r = cgroup_enter(CGROUP_ROOT, clean, pid, &found, err);
        else
                r = cgroup_enter_all(clean, pid, &found, err);
        if (r == 0 && !found)
                return error_set(err, STATUS_UNKNOWN, "shim_cgroup '%s': no such cgroup", path);
        return r;
}
