/* SPDX-License-Identifier: Apache-2.0
 *
 * Removing a container's directories. A process that was killed leaves its cgroup only when it has
 * really ended, and until then rmdir(2) gives EBUSY: hence the retries, for which this belongs in a
 * stage.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/cgroup/internal.h"

static int remove_child(int parent, const char *name, void *userdata)
{
        return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* One pass; -EBUSY or -ENOTEMPTY if it may go better later. */
static int dir_remove_once(const struct cgroup_dir *dir)
{
        const struct walk walk = {.leave = remove_child};
        int r;

        /* Mostly there is nothing below. */
        if (rmdir(dir->path) == 0 || errno == ENOENT)
                return 0;
        if (errno != EBUSY && errno != ENOTEMPTY)
                return -errno;
        r = dir_walk(dir->path, &walk);
        if (r < 0)
                return r;
        return rmdir(dir->path) < 0 && errno != ENOENT ? -errno : 0;
}

static void remove_parents(const struct cgroup_dir *dir)
{
        _cleanup_free_ char *path = strdup(dir->path);

        for (unsigned i = 0; path && i < dir->n_parents; i++) {
                char *slash = strrchr(path, '/');

                if (!slash || slash == path)
                        return;
                *slash = '\0';
                /* Another container below it, or one that removed it before us: both are fine. */
                if (rmdir(path) < 0 && errno != ENOENT)
                        return;
        }
}

int cgroup_remove(const struct cgroup *cg, int timeout_ms, struct error *err)
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        unsigned round = 0;
        int result = 0;

        for (size_t i = 0; i < cg->n_dirs; i++) {
                const struct cgroup_dir *dir = &cg->dirs[i];
                int r;

                if (!dir->created)
                        continue;
                do {
                        r = dir_remove_once(dir);
                } while ((r == -EBUSY || r == -ENOTEMPTY) && backoff(deadline, &round));
                if (r == 0)
                        remove_parents(dir);
                else if (result == 0)
                        result = error_errno(err, -r, "remove cgroup '%s'", dir->path);
        }
        return result;
}
