/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon must hold no descriptor of the helper's: containerd reads the helper's output until
 * EOF. That its execve worked is told by a CLOEXEC pipe: EOF says yes, an errno says why not.
 */
#include "cmd/containerd-shim-belay-v2/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "cmd/containerd-shim-belay-v2/seal.h"
#include "cmd/containerd-shim-belay-v2/self.h"
#include "cmd/containerd-shim-belay-v2/socket.h"

/*
 * Without malloc's per-thread cache: it keeps seven freed chunks of every size, and with them the
 * pages in which they lie. Only the environment can say so (glibc 2.26); mallopt(3) cannot.
 */
#define MALLOC_ENV    "GLIBC_TUNABLES"
#define MALLOC_TUNING "glibc.malloc.tcache_count=0"

/* Where the helper's own descriptors are moved to before 0 to 3 are filled. */
enum { FD_ABOVE = 10 };

size_t daemon_argv(const struct options *options, const char *self, bool debug,
                   const char *argv[static DAEMON_ARGS_MAX])
{
        size_t n = 0;

        argv[n++] = self;
        argv[n++] = "-namespace";
        argv[n++] = options->runtime_namespace;
        argv[n++] = "-id";
        argv[n++] = options->id;
        argv[n++] = "-address";
        argv[n++] = options->address;
        if (debug)
                argv[n++] = "-debug";
        if (options->orphans)
                argv[n++] = "-orphans";
        argv[n] = NULL;
        return n;
}

/* In the child; image_fd and socket_fd lie above SPAWN_SOCKET_FD. Returns the errno of what failed.
 */
static int daemon_exec(int image_fd, int socket_fd, const char *const *argv)
{
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        int r;

        if (null_fd < 0)
                return errno;
        (void)setpgid(0, 0);
        child_reset_signals();
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
                if (dup2(null_fd, fd) < 0)
                        return errno;
        }
        if (dup2(socket_fd, SPAWN_SOCKET_FD) < 0)
                return errno;
        /* Before the helper ends, so that it is live all the time. */
        r = socket_own(SPAWN_SOCKET_FD);
        if (r < 0)
                return -r;
        /* Whatever containerd has passed on to us by mistake; our own are CLOEXEC anyway. */
        if (close_range(SPAWN_SOCKET_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0 && errno != EINVAL &&
            errno != ENOSYS)
                return errno;
        execveat(image_fd, "", (char *const *)argv, environ, AT_EMPTY_PATH);
        return errno;
}

/* Moves a descriptor out of the way of 0 to SPAWN_SOCKET_FD. */
static int fd_move_up(int *fd)
{
        int moved = fcntl(*fd, F_DUPFD_CLOEXEC, FD_ABOVE);

        if (moved < 0)
                return -errno;
        fd_close(*fd);
        *fd = moved;
        return 0;
}

/* Waits until the child has executed the daemon (EOF) or has said why it could not. */
static int await_exec(int report_fd, pid_t pid, struct error *err)
{
        int child_errno = 0;
        int status = 0;
        ssize_t n;

        do {
                n = read(report_fd, &child_errno, sizeof(child_errno));
        } while (n < 0 && errno == EINTR);
        if (n == 0 && waitpid(pid, &status, WNOHANG) == 0)
                return 0;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
        if (n == (ssize_t)sizeof(child_errno))
                return error_errno(err, child_errno, "execute the shim");
        return error_set(err, STATUS_UNKNOWN, "execute the shim: it died at once");
}

int daemon_spawn(const struct options *options, bool debug, int socket_fd, pid_t *ret_pid,
                 struct error *err)
{
        _cleanup_close_ int socket_high = fcntl(socket_fd, F_DUPFD_CLOEXEC, FD_ABOVE);
        _cleanup_close_ int image_fd = -1;
        _cleanup_close_ int report_in = -1;
        _cleanup_close_ int report_out = -1;
        _cleanup_free_ char *self = self_path();
        const char *argv[DAEMON_ARGS_MAX];
        int report[2];
        pid_t pid;

        if (!self || socket_high < 0)
                return error_errno(err, errno, "execute the shim");
        if (seal_open(NULL, &image_fd, err) < 0)
                return -1;
        if (pipe2(report, O_CLOEXEC) < 0)
                return error_errno(err, errno, "make a pipe");
        report_in = report[0];
        report_out = report[1];
        /* The kernel closes from the highest CLOEXEC descriptor downwards: the report's comes
         * first, so that nobody waits until the image's mount is taken down. */
        if (fd_move_up(&image_fd) < 0 || fd_move_up(&report_out) < 0)
                return error_errno(err, errno, "execute the shim");
        (void)daemon_argv(options, self, debug, argv);
        (void)setenv(MALLOC_ENV, MALLOC_TUNING, 0);
        pid = fork();
        if (pid < 0)
                return error_errno(err, errno, "fork");
        if (pid == 0) {
                int child_errno = daemon_exec(image_fd, socket_high, argv);

                (void)!write(report_out, &child_errno, sizeof(child_errno));
                _exit(EXIT_FAILURE);
        }
        (void)setpgid(pid, pid); /* again here, for whoever looks between */
        report_out = fd_close(report_out);
        if (await_exec(report_in, pid, err) < 0)
                return -1;
        *ret_pid = pid;
        return 0;
}

void daemon_clean_environment(void)
{
        const char *value = getenv(MALLOC_ENV);

        if (value && strcmp(value, MALLOC_TUNING) == 0)
                (void)unsetenv(MALLOC_ENV);
}
