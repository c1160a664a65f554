/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals for a whole cgroup. A pid that was read from a list may be another process's by the time
 * of the signal. So each is opened as a pidfd first, the list is read again, and only what is still
 * in it gets the signal: what the pidfd stands for was a member then, or is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/cgroup/internal.h"

enum { BATCH = 128 }; /* pidfds that are open at once */

bool cgroup_has_kill(const struct cgroup *cg)
{
        const struct cgroup_dir *dir = cgroup_find_v2(cg);
        _cleanup_close_ int fd = dir ? dir_open(AT_FDCWD, dir->path) : -1;

        return fd >= 0 && faccessat(fd, "cgroup.kill", W_OK, 0) == 0;
}

/* Signals up to BATCH of the processes; 0 or a negative errno of the listing. */
static int batch_signal(const struct cgroup *cg, const pid_t *pids, size_t n, int signo)
{
        struct pid_list now = {0};
        int fds[BATCH];
        int r;

        for (size_t i = 0; i < n; i++)
                fds[i] = pidfd_open(pids[i], 0);
        r = pid_list_read_all(cg, false, &now);
        for (size_t i = 0; i < n; i++) {
                if (r == 0 && fds[i] >= 0 && pid_list_has(&now, pids[i]))
                        (void)pidfd_send_signal(fds[i], signo, NULL, 0);
                fd_close(fds[i]);
        }
        pid_list_free(&now);
        return r;
}

/* One pass over the present list. *ret_n: how many there were. */
static int pass_signal(const struct cgroup *cg, int signo, size_t *ret_n)
{
        struct pid_list list = {0};
        int r = pid_list_read_all(cg, false, &list);

        *ret_n = list.n;
        for (size_t i = 0; r == 0 && i < list.n; i += BATCH)
                r = batch_signal(cg, list.items + i, list.n - i < BATCH ? list.n - i : BATCH,
                                 signo);
        pid_list_free(&list);
        return r;
}

/*
 * True if v1 lists a process that v2 does not: cgroup.kill does not reach it. v1 is read twice, so
 * that one which ended between the readings is not taken for such a process.
 */
static bool has_strays(const struct cgroup *cg)
{
        const struct cgroup_dir *v1 = cgroup_find_listing_v1(cg);
        const struct cgroup_dir *v2 = cgroup_find_v2(cg);
        struct pid_list before = {0};
        struct pid_list on_v2 = {0};
        struct pid_list after = {0};
        bool found = false;

        if (v1 && v2 && pid_list_read(v1, false, &before) == 0 && before.n > 0 &&
            pid_list_read(v2, false, &on_v2) == 0 && pid_list_read(v1, false, &after) == 0) {
                for (size_t i = 0; !found && i < before.n; i++)
                        found = !pid_list_has(&on_v2, before.items[i]) &&
                                pid_list_has(&after, before.items[i]);
        }
        pid_list_free(&before);
        pid_list_free(&on_v2);
        pid_list_free(&after);
        return found;
}

/* Freeze, signal, thaw, until nothing is left. Frozen processes cannot fork away from the list. */
static int kill_by_list(const struct cgroup *cg, uint64_t deadline_ns)
{
        uint64_t now = clock_monotonic_ns();
        uint64_t freeze_deadline = now + (deadline_ns > now ? (deadline_ns - now) / 4 : 0);
        unsigned round = 0;
        size_t n;
        int r;

        do {
                (void)freezer_set(cg, true, freeze_deadline);
                r = pass_signal(cg, SIGKILL, &n);
                (void)freezer_set(cg, false, clock_monotonic_ns());
                freezer_thaw_tree(cg, false);
                if (r < 0 || n == 0)
                        return r;
        } while (backoff(deadline_ns, &round));
        return -ETIMEDOUT;
}

static int kill_all(const struct cgroup *cg, uint64_t deadline_ns)
{
        const struct cgroup_dir *v2 = cgroup_find_v2(cg);
        _cleanup_close_ int fd = v2 ? dir_open(AT_FDCWD, v2->path) : -1;
        int r = fd >= 0 ? file_write(fd, "cgroup.kill", "1") : -ENOENT;

        if (r < 0)
                return kill_by_list(cg, deadline_ns);
        freezer_thaw_tree(cg, false);
        return has_strays(cg) ? kill_by_list(cg, deadline_ns) : 0;
}

int cgroup_kill(const struct cgroup *cg, int signo, int timeout_ms, struct error *err)
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        char who[80];
        size_t n;
        int r = signo == SIGKILL ? kill_all(cg, deadline) : pass_signal(cg, signo, &n);

        if (r == -ETIMEDOUT && timeout_ms == 0)
                return 0;
        if (r == -ETIMEDOUT && cgroup_survivor(cg, who, sizeof(who)))
                return error_set(err, STATUS_FAILED_PRECONDITION, "kill: %s", who);
        if (r < 0)
                return error_errno(err, -r, "signal the processes of cgroup '%s'",
                                   cg->n_dirs > 0 ? cg->dirs[0].path : "");
        return 0;
}
