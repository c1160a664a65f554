/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening of one stream: see stream.h. The path is resolved once, with O_PATH; its kind is looked
 * at before it is really opened, and both ends are opened through that one descriptor, so they are
 * ends of the same FIFO whatever happens to the path meanwhile.
 */
#include "pkg/io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

/* An O_PATH descriptor of a FIFO or a regular file. */
static int path_open(const char *path, bool *ret_is_fifo, int *ret_fd, struct error *err)
{
        _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
        struct stat st;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", path);
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "stat '%s'", path);
        if (!S_ISFIFO(st.st_mode) && !S_ISREG(st.st_mode))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s' is neither a FIFO nor a regular file", path);
        *ret_is_fifo = S_ISFIFO(st.st_mode);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Opens what an O_PATH descriptor points to. FIFOs are always opened with O_NONBLOCK, and it is
 * taken off where the receiver wants to block; no other description is affected. */
static int path_reopen(int path_fd, int flags, bool nonblock, const char *path, int *ret_fd,
                       struct error *err)
{
        char link[64];
        int r = snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
        _cleanup_close_ int fd = -1;

        if (r < 0 || (size_t)r >= sizeof(link))
                return error_errno(err, ENAMETOOLONG, "open '%s'", path);
        fd = open(link, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open '%s'", path);
        r = nonblock ? 0 : fd_set_nonblock(fd, 0);
        if (r < 0)
                return error_errno(err, -r, "set flags of '%s'", path);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int io_stream_open_null(struct io_stream *ret, struct error *err)
{
        int fd = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC);

        if (fd < 0)
                return error_errno(err, errno, "open '/dev/null'");
        *ret = (struct io_stream){.use = fd, .keep = -1, .late = -1};
        return 0;
}

int io_stream_open_input(struct io_stream *ret, const char *path, bool nonblock, struct error *err)
{
        _cleanup_close_ int path_fd = -1;
        _cleanup_close_ int use = -1;
        _cleanup_close_ int keep = -1;
        bool is_fifo;

        if (path_open(path, &is_fifo, &path_fd, err) < 0)
                return -1;
        if (!is_fifo && nonblock)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s' is not a FIFO, which a terminal needs", path);
        if (path_reopen(path_fd, O_RDONLY, nonblock, path, &use, err) < 0)
                return -1;
        if (is_fifo && path_reopen(path_fd, O_WRONLY, true, path, &keep, err) < 0)
                return -1;
        *ret = (struct io_stream){.use = TAKE_FD(use), .keep = TAKE_FD(keep), .late = -1};
        return 0;
}

int io_stream_open_keep(int fifo_fd)
{
        char link[64];

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fifo_fd);
        return open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Both ends. The writing end comes first, which shows whether the client is there already. */
static int fifo_open_output(struct io_stream *ret, int path_fd, const char *path, struct error *err)
{
        struct error ignored = ERROR_INIT;
        _cleanup_close_ int use = -1;
        _cleanup_close_ int keep = -1;
        _cleanup_close_ int late = -1;
        bool is_read = path_reopen(path_fd, O_WRONLY, true, path, &use, &ignored) == 0;

        if (path_reopen(path_fd, O_RDONLY, true, path, &keep, err) < 0)
                return -1;
        if (!is_read && (path_reopen(path_fd, O_WRONLY, true, path, &use, err) < 0 ||
                         path_reopen(path_fd, O_WRONLY, true, path, &late, err) < 0))
                return -1;
        *ret = (struct io_stream){
                .use = TAKE_FD(use), .keep = TAKE_FD(keep), .late = TAKE_FD(late)};
        return 0;
}

int io_stream_open_output(struct io_stream *ret, const char *path, bool nonblock, struct error *err)
{
        _cleanup_close_ int path_fd = -1;
        struct io_stream stream = IO_STREAM_INIT;
        bool is_fifo;
        int r;

        if (path_open(path, &is_fifo, &path_fd, err) < 0)
                return -1;
        if (!is_fifo) {
                *ret = stream;
                return path_reopen(path_fd, O_WRONLY | O_APPEND, nonblock, path, &ret->use, err);
        }
        if (fifo_open_output(&stream, path_fd, path, err) < 0)
                return -1;
        r = nonblock ? 0 : fd_set_nonblock(stream.use, 0);
        if (r < 0) {
                io_stream_close(&stream);
                return error_errno(err, -r, "set flags of '%s'", path);
        }
        *ret = stream;
        return 0;
}

int io_stream_open_pipe(struct io_stream *ret, bool is_input, bool nonblock, struct error *err)
{
        int fds[2];
        int use;
        int keep;
        int r;

        if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
                return error_errno(err, errno, "pipe");
        use = is_input ? fds[0] : fds[1];
        keep = is_input ? fds[1] : fds[0];
        r = nonblock ? 0 : fd_set_nonblock(use, 0);
        if (r < 0) {
                fd_close(use);
                fd_close(keep);
                return error_errno(err, -r, "set flags of a pipe");
        }
        *ret = (struct io_stream){.use = use, .keep = keep, .late = -1};
        return 0;
}

static int make_parents(const char *path, struct error *err)
{
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (mkdir(copy, 0755) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "make directory '%s'", copy);
                *slash = '/';
        }
        return 0;
}

int io_stream_open_file(struct io_stream *ret, const char *path, struct error *err)
{
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        if (make_parents(path, err) < 0)
                return -1;
        /* O_NONBLOCK: should it be a FIFO without a reader, then it is an error and no wait. */
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
        if (fd < 0)
                return error_errno(err, errno, "open '%s'", path);
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "stat '%s'", path);
        if (!S_ISREG(st.st_mode) && !(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s' is neither a regular file nor /dev/null", path);
        r = fd_set_nonblock(fd, 0);
        if (r < 0)
                return error_errno(err, -r, "set flags of '%s'", path);
        *ret = (struct io_stream){.use = TAKE_FD(fd), .keep = -1, .late = -1};
        return 0;
}

/* "/PID/N" in numbers. */
static int location_parse(const char *location, pid_t *ret_pid, int *ret_fd)
{
        _cleanup_free_ char *copy = strdup(location);
        char *slash = copy ? strchr(copy + 1, '/') : NULL;
        uint64_t pid = 0;
        uint64_t fd = 0;

        if (!slash)
                return -EINVAL;
        *slash = '\0';
        if (str_to_u64(copy + 1, &pid) < 0 || str_to_u64(slash + 1, &fd) < 0 || pid == 0 ||
            pid > INT32_MAX || fd > INT32_MAX)
                return -EINVAL;
        *ret_pid = (pid_t)pid;
        *ret_fd = (int)fd;
        return 0;
}

int io_stream_open_fd(struct io_stream *ret, const char *location, struct error *err)
{
        _cleanup_close_ int pidfd = -1;
        pid_t pid;
        int number;
        int fd;

        if (location_parse(location, &pid, &number) < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "'fd://%s' is not fd:///PID/NUMBER",
                                 location);
        pidfd = pidfd_open(pid, 0);
        if (pidfd < 0)
                return error_errno(err, errno, "process %d", (int)pid);
        fd = pidfd_getfd(pidfd, number, 0);
        if (fd < 0)
                return error_errno(err, errno, "take descriptor %d of process %d", number,
                                   (int)pid);
        *ret = (struct io_stream){.use = fd, .keep = -1, .late = -1};
        return 0;
}

void io_stream_close(struct io_stream *stream)
{
        stream->use = fd_close(stream->use);
        stream->keep = fd_close(stream->keep);
        stream->late = fd_close(stream->late);
}
