/* SPDX-License-Identifier: Apache-2.0
 *
 * process.cwd: made if it is missing, entered without magic links, and proven to be inside
 * (CVE-2024-21626: a cwd of /proc/self/fd/N is a host directory if a descriptor has leaked).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

int child_make_cwd(const struct plan *plan, struct error *err)
{
        const char *cwd = plan->process->cwd;
        _cleanup_close_ int fd = child_make_in_root(plan, cwd, true, NULL);

        /* one that only its owner may look into is entered later */
        if (fd < 0 && errno != EACCES && errno != EPERM)
                return error_errno(err, errno, "cwd '%s'", cwd);
        return 0;
}

/* getcwd(2) of the kernel: what is outside begins with "(unreachable)". */
static int prove_inside(const struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;

        if (syscall(SYS_getcwd, p->path, sizeof(p->path)) < 0)
                return error_errno(err, errno, "cwd '%s'", plan->process->cwd);
        if (p->path[0] != '/')
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "cwd '%s': is outside of the container", plan->process->cwd);
        return 0;
}

/* The container's root is this process's root by now. */
int child_enter_cwd(const struct plan *plan, bool *ret_done, struct error *err)
{
        const char *cwd = plan->process->cwd;
        _cleanup_close_ int fd = child_open_in_root(AT_FDCWD, cwd, O_PATH | O_DIRECTORY);

        *ret_done = false;
        if (fd < 0 || fchdir(fd) < 0) {
                if (errno == EACCES || errno == EPERM)
                        return 0;
                return error_errno(err, errno, "cwd '%s'", cwd);
        }
        *ret_done = true;
        return prove_inside(plan, err);
}
