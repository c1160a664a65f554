/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader's process: a fork of the shim that never execs, and has of the shim's
 * descriptors none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/log/read.h"

enum { FD_OUT = 3, FD_HOLD = 4, FD_FIRST_FREE = 5 };

/* A log of a thousand files is one of a thousand descriptors. */
static void raise_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static _Noreturn void child_main(const struct log_config *config, const struct log_query *query,
                                 int out, int hold)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const int sources[] = {null, null, null, out, hold};

        child_reset_signals();
        (void)prctl(PR_SET_NAME, "belay-logs");
        if (null < 0 || child_set_fds(sources, sizeof(sources) / sizeof(sources[0])) < 0)
                _exit(EXIT_FAILURE);
        (void)close_range(FD_FIRST_FREE, ~0U, 0);
        raise_limit();
        _exit(log_read_run(config, query, FD_OUT, FD_HOLD));
}

/* Our end does not block. */
static int socket_new(int *ret_ours, int *ret_theirs)
{
        const int room = 4 * LOG_MESSAGE_MAX;
        int ends[2];
        int r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        *ret_ours = ends[0];
        *ret_theirs = ends[1];
        (void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        r = fd_set_nonblock(ends[0], 1);
        return r < 0 ? r : 0;
}

static int hold_new(int *ret_read, int *ret_write)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        *ret_read = ends[0];
        *ret_write = ends[1];
        return 0;
}

pid_t log_reader_start(const struct log_config *config, const struct log_query *query, int *ret_fd,
                       int *ret_hold, struct error *err)
{
        _cleanup_close_ int fd = -1;
        _cleanup_close_ int their_out = -1;
        _cleanup_close_ int their_hold = -1;
        _cleanup_close_ int hold = -1;
        int r = socket_new(&fd, &their_out);
        pid_t pid;

        if (r == 0)
                r = hold_new(&their_hold, &hold);
        if (r < 0)
                return error_errno(err, -r, "read log '%s': socket", config->path);
        pid = fork();
        if (pid < 0)
                return error_errno(err, errno, "read log '%s': fork", config->path);
        if (pid == 0)
                child_main(config, query, their_out, their_hold);
        *ret_fd = TAKE_FD(fd);
        *ret_hold = TAKE_FD(hold);
        return pid;
}
