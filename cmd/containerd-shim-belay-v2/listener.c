/* SPDX-License-Identifier: Apache-2.0
 *
 * See listener.h. The kernel tells the inode of a socket by its path, who has that inode open by
 * the links of procfs, and who listens by the socket itself, which is borrowed for that.
 */
#include "cmd/containerd-shim-belay-v2/listener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

/* More than so much of /proc/net/unix (some 100,000 sockets) is not looked at. */
enum { SOCKETS_BYTES_MAX = 16 << 20 };

bool listener_is_alive(int fd)
{
        struct ucred peer = {.pid = 0};
        socklen_t len = sizeof(peer);
        _cleanup_close_ int pidfd = -1;
        struct pollfd p;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 0)
                return true;
        pidfd = pidfd_open(peer.pid, 0);
        if (pidfd < 0) /* EINVAL, ENOENT: the number is a thread's by now */
                return errno != ESRCH && errno != EINVAL && errno != ENOENT;
        p = (struct pollfd){.fd = pidfd, .events = POLLIN};
        return poll(&p, 1, 0) == 0;
}

/* The inode of a line of /proc/net/unix, if that is of a socket that listens at path; else 0. */
static uint64_t inode_of_line(char *line, const char *path)
{
        enum { FLAGS = 3, INODE = 6, PATH = 7, ACCEPTS = 1 << 16 };
        char *rest = line;
        char *fields[PATH] = {NULL};
        uint64_t inode = 0;

        for (int i = 0; i < PATH; i++) {
                rest += strspn(rest, " ");
                fields[i] = strsep(&rest, " ");
                if (!rest)
                        return 0;
        }
        if (!(strtoul(fields[FLAGS], NULL, 16) & ACCEPTS) || !str_equal(rest, path))
                return 0;
        return str_to_u64(fields[INODE], &inode) == 0 ? inode : 0;
}

/* By the link's text: stat(2) would ask the file system behind it, which may not answer. */
static bool is_link_to(int dir, const char *name, uint64_t inode)
{
        char wanted[40];
        char link[40];
        ssize_t n = readlinkat(dir, name, link, sizeof(link));

        (void)snprintf(wanted, sizeof(wanted), "socket:[%" PRIu64 "]", inode);
        return n > 0 && (size_t)n == strlen(wanted) && memcmp(link, wanted, (size_t)n) == 0;
}

/* A copy of the socket, if that is what a process has under this number; else -1. */
static int borrow(int dir, const char *name, int pidfd, uint64_t inode)
{
        _cleanup_close_ int fd = -1;
        struct stat st;
        uint64_t number;

        if (str_to_u64(name, &number) < 0 || !is_link_to(dir, name, inode))
                return -1;
        fd = pidfd_getfd(pidfd, (int)number, 0);
        /* By now it may be another one. */
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_ino != inode)
                return -1;
        return TAKE_FD(fd);
}

/* One process that may have the socket: whether it has, and makes it live. */
static enum listener look_at(int proc, const char *pid_text, uint64_t inode)
{
        _cleanup_free_ char *path = str_printf("%s/fd", pid_text);
        enum listener found = LISTENER_UNKNOWN;
        _cleanup_closedir_ DIR *dir = NULL;
        _cleanup_close_ int pidfd = -1;
        uint64_t pid;
        int list = -1;

        if (!path || str_to_u64(pid_text, &pid) < 0)
                return LISTENER_UNKNOWN;
        list = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (list >= 0)
                dir = fdopendir(list);
        if (!dir) {
                fd_close(list);
                return LISTENER_UNKNOWN;
        }
        pidfd = pidfd_open((pid_t)pid, 0);
        for (struct dirent *e; pidfd >= 0 && found == LISTENER_UNKNOWN && (e = readdir(dir));) {
                _cleanup_close_ int fd = borrow(dirfd(dir), e->d_name, pidfd, inode);

                if (fd >= 0)
                        found = getpgid((pid_t)pid) == (pid_t)pid || listener_is_alive(fd)
                                        ? LISTENER_ALIVE
                                        : LISTENER_DEAD;
        }
        return found;
}

static enum listener listener_of_inode(uint64_t inode, uint64_t deadline_ns)
{
        _cleanup_closedir_ DIR *proc = opendir("/proc");
        enum listener found = LISTENER_UNKNOWN;

        for (struct dirent *e; proc && found != LISTENER_ALIVE && (e = readdir(proc));) {
                enum listener one;

                if (clock_monotonic_ns() >= deadline_ns)
                        return LISTENER_UNKNOWN; /* a shim may be among the rest */
                one = look_at(dirfd(proc), e->d_name, inode);
                if (one != LISTENER_UNKNOWN)
                        found = one;
        }
        return found;
}

enum listener listener_of_path(const char *path, uint64_t deadline_ns)
{
        _cleanup_free_ char *text = NULL;
        enum listener found = LISTENER_UNKNOWN;
        char *rest;

        if (file_read(AT_FDCWD, "/proc/net/unix", SOCKETS_BYTES_MAX, &text, NULL) < 0)
                return LISTENER_UNKNOWN;
        rest = text;
        for (char *line; found != LISTENER_ALIVE && (line = strsep(&rest, "\n"));) {
                uint64_t inode = inode_of_line(line, path);
                enum listener one =
                        inode ? listener_of_inode(inode, deadline_ns) : LISTENER_UNKNOWN;

                if (one != LISTENER_UNKNOWN)
                        found = one;
        }
        return found;
}
