/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors and small files: see fd.h.
 */
#include "pkg/base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/kept.h"

enum { READ_CHUNK = 4096 };

int fd_close(int fd)
{
        int saved = errno;

        if (fd >= 0 && !kept_late_close(fd))
                (void)close(fd);
        errno = saved;
        return -1;
}

int fd_set_nonblock(int fd, int on)
{
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return -errno;
        flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
        if (fcntl(fd, F_SETFL, flags) < 0)
                return -errno;
        return 0;
}

bool fd_is_pollable(int fd)
{
        _cleanup_close_ int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {.events = 0};

        return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

int fd_write_all(int fd, const void *buf, size_t len)
{
        const char *p = buf;

        while (len > 0) {
                ssize_t n = write(fd, p, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                len -= (size_t)n;
        }
        return 0;
}

int fd_read_all(int fd, size_t max, char **ret_text, size_t *ret_len)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        size_t room = 0;

        for (;;) {
                ssize_t n;

                if (len == room) {
                        char *grown;

                        room = room ? room * 2 : READ_CHUNK;
                        grown = realloc(text, room + 1);
                        if (!grown)
                                return -ENOMEM;
                        text = grown;
                }
                n = read(fd, text + len, room - len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len += (size_t)n;
                if (len > max)
                        return -EFBIG;
        }
        text[len] = '\0';
        *ret_text = TAKE_PTR(text);
        if (ret_len)
                *ret_len = len;
        return 0;
}

int file_read(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len)
{
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        return fd_read_all(fd, max, ret_text, ret_len);
}

int file_write(int dirfd, const char *path, const char *text)
{
        _cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        size_t len = strlen(text);
        ssize_t n;

        if (fd < 0)
                return -errno;
        do {
                n = write(fd, text, len);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t)n == len ? 0 : -EIO;
}

int file_write_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
        char temp[NAME_MAX + 1];
        _cleanup_close_ int fd = -1;
        int r = snprintf(temp, sizeof(temp), FD_TEMP_FORMAT, name, (int)getpid());

        if (r < 0 || (size_t)r >= sizeof(temp))
                return -ENAMETOOLONG;
        fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        r = fd_write_all(fd, data, len);
        CHAOS_POINT("file-written");
        if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
                r = -errno;
        CHAOS_POINT("file-renamed");
        if (r < 0)
                (void)unlinkat(dirfd, temp, 0);
        return r;
}

int fd_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds)
{
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)] = {0};
        struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        assert(n_fds <= FD_PASS_MAX);
        if (n_fds > 0) {
                struct cmsghdr *cmsg;

                msg.msg_control = control;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                cmsg = CMSG_FIRSTHDR(&msg);
                cmsg->cmsg_level = SOL_SOCKET;
                cmsg->cmsg_type = SCM_RIGHTS;
                cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
        }
        do {
                n = sendmsg(sock, &msg, MSG_NOSIGNAL);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t)n == len ? 0 : -EIO;
}

/* Moves the descriptors of one received message into fds; closes what does not fit. */
static int recv_take_fds(struct msghdr *msg, int *fds, size_t room, size_t *ret_n)
{
        size_t n_taken = 0;
        bool surplus = (msg->msg_flags & MSG_CTRUNC) != 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (n_taken < room) {
                                fds[n_taken++] = fd;
                        } else {
                                surplus = true;
                                fd_close(fd);
                        }
                }
        }
        if (surplus) {
                while (n_taken > 0)
                        fd_close(fds[--n_taken]);
                return -EMSGSIZE;
        }
        *ret_n = n_taken;
        return 0;
}

ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, size_t *n_fds)
{
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)] = {0};
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof(control),
        };
        size_t n_taken = 0;
        ssize_t n;
        int r;

        do {
                n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        r = recv_take_fds(&msg, fds, n_fds ? *n_fds : 0, &n_taken);
        if (r < 0)
                return r;
        if (n_fds)
                *n_fds = n_taken;
        return n;
}
