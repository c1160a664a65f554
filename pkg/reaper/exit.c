/* SPDX-License-Identifier: Apache-2.0
 *
 * How a process has ended that is not our child. A zombie shows its status in the last field of
 * /proc/PID/stat (proc(5), exit_code); when it has been reaped, the pidfd keeps it (Linux 6.15).
 * Whoever reaps it may do so at any time, so the first is believed only if the process is still
 * there afterwards: the pid may be another's.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/reaper/reaper.h"

/* linux/pidfd.h of 6.15; struct pidfd_info in its first size. */
struct pidfd_exit_info {
        uint64_t mask;
        uint64_t cgroup_id;
        uint32_t ids[11];
        int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_exit_info) == 64, "the kernel's PIDFD_INFO_SIZE_VER0");

#define GET_INFO  _IOWR(0xFF, 11, struct pidfd_exit_info)
#define INFO_EXIT (UINT64_C(1) << 3)

/* As wait(2) gives it; false when the process is no zombie of ours to see. */
static bool status_of_zombie(pid_t pid, int pidfd, int *ret)
{
        _cleanup_free_ char *text = NULL;
        char path[32];
        const char *field;
        uint64_t status;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        if (file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, NULL) < 0 ||
            pidfd_send_signal(pidfd, 0, NULL, 0) < 0)
                return false;
        field = strrchr(text, ')');
        if (!field || (!str_has_prefix(field, ") Z ") && !str_has_prefix(field, ") X ")))
                return false;
        text[strcspn(text, "\n")] = '\0';
        field = strrchr(text, ' ');
        if (!field || str_to_u64(field + 1, &status) < 0 || status > UINT16_MAX)
                return false;
        *ret = (int)status;
        return true;
}

static bool status_of_reaped(int pidfd, int *ret)
{
        struct pidfd_exit_info info = {.mask = INFO_EXIT};

        if (ioctl(pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_EXIT))
                return false;
        *ret = info.exit_code;
        return true;
}

bool reaper_read_exit(pid_t pid, int pidfd, struct reaper_exit *ret)
{
        int status = REAPER_STATUS_UNKNOWN << 8;
        bool known = status_of_zombie(pid, pidfd, &status) || status_of_reaped(pidfd, &status);

        ret->pid = pid;
        ret->at = clock_realtime();
        if (WIFSIGNALED(status)) {
                ret->code = WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED;
                ret->status = WTERMSIG(status);
        } else {
                ret->code = CLD_EXITED;
                ret->status = WEXITSTATUS(status);
        }
        return known;
}
