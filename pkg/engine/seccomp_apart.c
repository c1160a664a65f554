/* SPDX-License-Identifier: Apache-2.0
 *
 * libseccomp in a process of its own: see seccomp_apart.h. Where rules for one call overlap in
 * certain ways, libseccomp 2.5.4 never comes to an end (found by fuzz_seccomp), and a profile may
 * be anybody's who may start containers. So it has a limit of CPU time, and what it loses or breaks
 * of memory ends with the process.
 */
#include "pkg/engine/seccomp_apart.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

/* A usual profile takes 5 ms. */
enum { CPU_LIMIT_S = 2 };

static _Noreturn void work(int fd, seccomp_compile_fn fn, const struct seccomp_input *input,
                           struct arena *arena)
{
        const struct rlimit limit = {.rlim_cur = CPU_LIMIT_S, .rlim_max = CPU_LIMIT_S + 1};
        struct sock_fprog prog = {0};
        struct error err = ERROR_INIT;
        int status = EXIT_SUCCESS;
        int r;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setrlimit(RLIMIT_CPU, &limit);
        r = fn(input, arena, &prog, &err);
        if (r == 0)
                r = fd_write_all(fd, prog.filter, prog.len * sizeof(*prog.filter));
        else
                status = EXIT_FAILURE;
        if (status == EXIT_FAILURE)
                r = fd_write_all(fd, &err, sizeof(err));
        _exit(r < 0 ? EXIT_FAILURE + 1 : status);
}

static int read_filter(int fd, struct arena *arena, struct sock_fprog *ret, struct error *err)
{
        off_t size = lseek(fd, 0, SEEK_END);

        if (size <= 0 || (size_t)size > BPF_MAXINSNS * sizeof(*ret->filter) ||
            (size_t)size % sizeof(*ret->filter) != 0)
                return error_set(err, STATUS_INTERNAL, "seccomp: the filter has an odd size");
        ret->filter = arena_alloc(arena, (size_t)size);
        if (!ret->filter)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "seccomp: out of memory");
        if (pread(fd, ret->filter, (size_t)size, 0) != size)
                return error_set(err, STATUS_INTERNAL, "seccomp: the filter cannot be read back");
        ret->len = (unsigned short)((size_t)size / sizeof(*ret->filter));
        return 0;
}

static int fail(int fd, const siginfo_t *info, struct error *err)
{
        struct error told;

        if (info->si_code == CLD_EXITED && info->si_status == EXIT_FAILURE &&
            pread(fd, &told, sizeof(told), 0) == (ssize_t)sizeof(told)) {
                if (err)
                        *err = told;
                return -1;
        }
        if (info->si_code != CLD_EXITED && info->si_status == SIGXCPU)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.seccomp: libseccomp has not come to an end after %d s",
                                 CPU_LIMIT_S);
        return error_set(err, STATUS_INTERNAL, "linux.seccomp: libseccomp has failed (%s %d)",
                         info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
}

int seccomp_apart(seccomp_compile_fn fn, const struct seccomp_input *input, struct arena *arena,
                  struct sock_fprog *ret, struct error *err)
{
        _cleanup_close_ int fd = memfd_create("belay-seccomp", MFD_CLOEXEC);
        siginfo_t info = {0};
        pid_t pid;

        if (fd < 0)
                return error_errno(err, errno, "seccomp: make a memfd");
        pid = fork();
        if (pid < 0)
                return error_errno(err, errno, "seccomp: fork");
        if (pid == 0)
                work(fd, fn, input, arena);
        while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0) {
                if (errno != EINTR)
                        return error_errno(err, errno, "seccomp: wait for libseccomp");
        }
        if (info.si_code == CLD_EXITED && info.si_status == EXIT_SUCCESS)
                return read_filter(fd, arena, ret, err);
        return fail(fd, &info, err);
}
