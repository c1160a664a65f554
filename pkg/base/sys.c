/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls without a wrapper: see sys.h.
 */
#include "pkg/base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* openat2(2): RESOLVE_IN_ROOT gives EAGAIN when a rename races with "..", and asks for a retry. */
enum { OPENAT2_TRIES = 128 };

pid_t sys_clone3(struct clone_args *args)
{
        return (pid_t)syscall(SYS_clone3, args, sizeof(*args));
}

int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
        struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
        long fd = -1;

        for (int i = 0; i < OPENAT2_TRIES; i++) {
                fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
                if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
                        break;
        }
        return (int)fd;
}

int sys_bpf(int cmd, union bpf_attr *attr, unsigned size)
{
        return (int)syscall(SYS_bpf, cmd, attr, size);
}

int sys_sched_setattr(pid_t pid, const struct sys_sched_attr *attr, unsigned flags)
{
        return (int)syscall(SYS_sched_setattr, pid, attr, flags);
}

int sys_sched_setaffinity(pid_t pid, const uint64_t *cpus, size_t size)
{
        return (int)syscall(SYS_sched_setaffinity, pid, size, cpus);
}

int sys_ioprio_set(int which, int who, int ioprio)
{
        return (int)syscall(SYS_ioprio_set, which, who, ioprio);
}

int sys_set_mempolicy(int mode, const uint64_t *nodes, unsigned long n_bits)
{
        return (int)syscall(SYS_set_mempolicy, mode, nodes, n_bits);
}
