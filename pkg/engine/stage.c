/* SPDX-License-Identifier: Apache-2.0
 *
 * The common part of all stages: see stage.h.
 */
#include "pkg/engine/stage.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/sys.h"
#include "pkg/engine/message.h"

static int compare_fds(const void *a, const void *b)
{
        return *(const int *)a - *(const int *)b;
}

/* close_range(2) over the gaps between the descriptors that stay. */
void stage_close_others(const int *keep, size_t n_keep)
{
        int sorted[STAGE_KEEP_MAX];
        size_t n = 0;
        unsigned from = STDERR_FILENO + 1;

        assert(n_keep <= STAGE_KEEP_MAX);
        for (size_t i = 0; i < n_keep; i++) {
                if (keep[i] > STDERR_FILENO)
                        sorted[n++] = keep[i];
        }
        qsort(sorted, n, sizeof(sorted[0]), compare_fds);
        for (size_t i = 0; i < n; i++) {
                unsigned fd = (unsigned)sorted[i];

                if (fd > from)
                        (void)close_range(from, fd - 1, 0);
                from = fd + 1;
        }
        (void)close_range(from, ~0U, 0);
}

void stage_enter(const char *name, pid_t parent, const int *keep, size_t n_keep)
{
        /* If the parent ended before the prctl, its death has been missed. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        (void)prctl(PR_SET_NAME, name);
        child_reset_signals();
        stage_close_others(keep, n_keep);
}

int stage_send_cgroup(const struct stage *stage, const char *text, struct error *err)
{
        size_t left = strlen(text);
        int part = MESSAGE_PART_FIRST;

        do {
                struct message msg = {.type = MESSAGE_CGROUP};
                size_t n = left < sizeof(msg.text) - 1 ? left : sizeof(msg.text) - 1;
                int r;

                memcpy(msg.text, text, n);
                text += n;
                left -= n;
                msg.value = part | (left == 0 ? MESSAGE_PART_LAST : 0);
                part = 0;
                r = message_send(stage->sock, &msg, NULL, 0);
                if (r < 0)
                        return error_errno(err, -r, "tell the shim about the cgroup");
        } while (left > 0);
        return 0;
}

void stage_send_warning(const struct stage *stage, const struct error *warning)
{
        (void)message_send_error(stage->sock, MESSAGE_WARNING, warning);
}

void stage_send_hook(const struct stage *stage, pid_t group)
{
        (void)message_send_simple(stage->sock, MESSAGE_HOOK, group);
}

int stage_memfd(const char *name, const void *data, size_t len, struct error *err)
{
        _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return error_errno(err, errno, "memfd_create '%s'", name);
        r = fd_write_all(fd, data, len);
        if (r < 0)
                return error_errno(err, -r, "write memfd '%s'", name);
        if (lseek(fd, 0, SEEK_SET) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return error_errno(err, errno, "seal memfd '%s'", name);
        return TAKE_FD(fd);
}

const void *stage_map(int memfd, size_t *ret_len, struct error *err)
{
        struct stat st;
        void *p;

        if (fstat(memfd, &st) < 0 || st.st_size <= 0) {
                (void)error_set(err, STATUS_INTERNAL, "map memfd: nothing in it");
                return NULL;
        }
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, memfd, 0);
        if (p == MAP_FAILED) {
                (void)error_errno(err, errno, "map memfd");
                return NULL;
        }
        *ret_len = (size_t)st.st_size;
        return p;
}

pid_t stage_clone(uint64_t flags, bool orphan, int cgroup_fd, int *ret_pidfd)
{
        /* With CLONE_PARENT the exit signal is that of the stage itself, SIGCHLD. */
        struct clone_args args = {
                .flags = flags | (orphan ? 0 : CLONE_PARENT) | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
                .exit_signal = orphan ? SIGCHLD : 0,
                .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        };

        if (cgroup_fd >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t)cgroup_fd;
        }
        return sys_clone3(&args);
}

int stage_wait_end(int pidfd, int timeout_ms)
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        for (;;) {
                uint64_t now = clock_monotonic_ns();
                int left = now < deadline ? (int)((deadline - now) / NSEC_PER_MSEC) + 1 : 0;
                int n = poll(&p, 1, left);

                if (n > 0)
                        return 0;
                if (n == 0 && left == 0)
                        return -ETIMEDOUT;
                if (n < 0 && errno != EINTR)
                        return -errno;
        }
}
