/* SPDX-License-Identifier: Apache-2.0
 *
 * Freezing. On v1 a state that was asked for is reached some time later, and a process that forks
 * meanwhile can keep it from being reached at all until FROZEN is written once more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

enum { HOLD_TIMEOUT_MS = 2000 };

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

/* Where the freezer is, NULL: nowhere. */
static const struct cgroup_dir *freezer_dir(const struct cgroup *cg)
{
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "freezer");

        return dir ? dir : cgroup_find_v2(cg);
}

int freezer_set(const struct cgroup *cg, bool frozen, uint64_t deadline_ns)
{
        const struct cgroup_dir *dir = freezer_dir(cg);
        int (*set)(int fd, bool frozen, uint64_t deadline_ns);
        _cleanup_close_ int fd = -1;
        int r;

        if (!dir)
                return -ENOENT;
        set = dir->is_v2 ? v2_set : v1_set;
        fd = dir_open(AT_FDCWD, dir->path);
        if (fd < 0)
                return fd;
        r = set(fd, frozen, deadline_ns);
        if (r < 0 && frozen)
                (void)file_write(fd, set == v1_set ? "freezer.state" : "cgroup.freeze",
                                 set == v1_set ? "THAWED" : "0");
        return r;
}

bool cgroup_is_paused(const struct cgroup *cg)
{
        const struct cgroup_dir *dir = freezer_dir(cg);
        _cleanup_close_ int fd = dir ? dir_open(AT_FDCWD, dir->path) : -1;
        _cleanup_free_ char *text = NULL;

        return fd >= 0 &&
               dir_read(fd, dir->is_v2 ? "cgroup.freeze" : "freezer.self_freezing", &text) == 0 &&
               str_equal(text, "1");
}

bool freezer_hold(const struct cgroup *cg)
{
        uint64_t deadline_ns = clock_monotonic_ns() + HOLD_TIMEOUT_MS * NSEC_PER_MSEC;

        return cgroup_find_v1(cg, "freezer") && !cgroup_is_paused(cg) &&
               freezer_set(cg, true, deadline_ns) == 0;
}

void freezer_release(const struct cgroup *cg)
{
        (void)freezer_set(cg, false, clock_monotonic_ns());
}

static int tree_thaw(int dirfd, void *userdata)
{
        (void)file_write(dirfd, "freezer.state", "THAWED");
        return 0;
}

void freezer_thaw_tree(const struct cgroup *cg, bool is_quick)
{
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "freezer");
        const struct walk walk = {.enter = tree_thaw, .is_quick = is_quick};

        if (dir)
                (void)dir_walk(dir->path, &walk);
}

/* The first process that no signal and no freezer reaches now; 0: there is none. */
static pid_t find_uninterruptible(const struct cgroup *cg)
{
        struct pid_list list = {0};
        pid_t found = 0;

        (void)pid_list_read_all(cg, false, &list);
        for (size_t i = 0; found == 0 && i < list.n; i++) {
                _cleanup_free_ char *text = NULL;
                const char *state;
                char path[32];

                (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)list.items[i]);
                if (file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, NULL) < 0)
                        continue;
                state = strrchr(text, ')'); /* the name before it may be anything */
                if (state && str_has_prefix(state, ") D"))
                        found = list.items[i];
        }
        pid_list_free(&list);
        return found;
}

/* It is thawed again by now. */
static int explain_timeout(const struct cgroup *cg, const struct cgroup_dir *dir, int timeout_ms,
                           struct error *err)
{
        pid_t pid = find_uninterruptible(cg);

        if (pid > 0)
                return error_set(err, STATUS_DEADLINE_EXCEEDED,
                                 "freeze cgroup '%s': not done within %d ms, for process %d is in "
                                 "uninterruptible sleep; it is thawed again",
                                 dir->path, timeout_ms, (int)pid);
        return error_set(err, STATUS_DEADLINE_EXCEEDED,
                         "freeze cgroup '%s': not done within %d ms; it is thawed again", dir->path,
                         timeout_ms);
}

static int freeze_or_thaw(const struct cgroup *cg, bool frozen, int timeout_ms, struct error *err)
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        const struct cgroup_dir *dir = freezer_dir(cg);
        int r;

        if (!dir)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "the container has no cgroup with a freezer");
        r = freezer_set(cg, frozen, deadline);
        if (r == -ETIMEDOUT && frozen)
                return explain_timeout(cg, dir, timeout_ms, err);
        if (r == -ETIMEDOUT && timeout_ms == 0)
                return 0;
        if (r == -ETIMEDOUT)
                return error_set(err, STATUS_DEADLINE_EXCEEDED,
                                 "thaw cgroup '%s': not done within %d ms; is a cgroup above it "
                                 "frozen?",
                                 dir->path, timeout_ms);
        if (r < 0)
                return error_errno(err, -r, "%s cgroup '%s'", frozen ? "freeze" : "thaw",
                                   dir->path);
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

void cgroup_let_go(const struct cgroup *cg)
{
        freezer_thaw_tree(cg, true);
}
