/* SPDX-License-Identifier: Apache-2.0
 *
 * Freezing. On v1 a state that was asked for is reached some time later, and a process that forks
 * meanwhile can keep it from being reached at all until FROZEN is written once more.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

static int v1_set(int fd, bool frozen, uint64_t deadline_ns)
{
        const char *want = frozen ? "FROZEN" : "THAWED";
        unsigned round = 0;

        do {
                _cleanup_free_ char *state = NULL;
                int r = file_write(fd, "freezer.state", want);

                if (r == 0)
                        r = dir_read(fd, "freezer.state", &state);
                if (r < 0 || str_equal(state, want))
                        return r;
        } while (backoff(deadline_ns, &round));
        return -ETIMEDOUT;
}

static int v2_set(int fd, bool frozen, uint64_t deadline_ns)
{
        const char *want = frozen ? "frozen 1" : "frozen 0";
        unsigned round = 0;
        int r = file_write(fd, "cgroup.freeze", frozen ? "1" : "0");

        if (r < 0)
                return r;
        do {
                _cleanup_free_ char *events = NULL;

                r = dir_read(fd, "cgroup.events", &events);
                if (r < 0 || strstr(events, want))
                        return r;
        } while (backoff(deadline_ns, &round));
        return -ETIMEDOUT;
}

int freezer_set(const struct cgroup *cg, bool frozen, uint64_t deadline_ns)
{
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "freezer");
        int (*set)(int fd, bool frozen, uint64_t deadline_ns) = v1_set;
        _cleanup_close_ int fd = -1;
        int r;

        if (!dir) {
                dir = cgroup_find_v2(cg);
                set = v2_set;
        }
        if (!dir)
                return -ENOENT;
        fd = dir_open(AT_FDCWD, dir->path);
        if (fd < 0)
                return fd;
        r = set(fd, frozen, deadline_ns);
        if (r == -ETIMEDOUT && frozen)
                (void)file_write(fd, set == v1_set ? "freezer.state" : "cgroup.freeze",
                                 set == v1_set ? "THAWED" : "0");
        return r;
}

static int tree_thaw(int dirfd, void *userdata)
{
        (void)file_write(dirfd, "freezer.state", "THAWED");
        return 0;
}

void freezer_thaw_tree(const struct cgroup *cg)
{
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "freezer");
        const struct walk walk = {.enter = tree_thaw};

        if (dir)
                (void)dir_walk(dir->path, &walk);
}

static int freeze_or_thaw(const struct cgroup *cg, bool frozen, int timeout_ms, struct error *err)
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        int r = freezer_set(cg, frozen, deadline);

        if (r == -ETIMEDOUT && !frozen && timeout_ms == 0)
                return 0;
        if (r < 0)
                return error_errno(err, -r, "%s cgroup '%s'", frozen ? "freeze" : "thaw",
                                   cg->n_dirs > 0 ? cg->dirs[0].path : "");
        return 0;
}

int cgroup_freeze(const struct cgroup *cg, int timeout_ms, struct error *err)
{
        return freeze_or_thaw(cg, true, timeout_ms, err);
}

int cgroup_thaw(const struct cgroup *cg, int timeout_ms, struct error *err)
{
        return freeze_or_thaw(cg, false, timeout_ms, err);
}
