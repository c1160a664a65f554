/* SPDX-License-Identifier: Apache-2.0
 *
 * Console sockets: see console.h. Their paths are the caller's and may be longer than a socket's
 * address; /proc/self/fd makes every one short enough.
 */
#include "pkg/io/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

/* Receivers take it for the terminal's name. */
static const char payload[] = "/dev/ptmx";

static int console_connect(int sock, const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);

        if (fd < 0)
                return -1;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", fd);
        return connect(sock, (struct sockaddr *)&address, sizeof(address));
}

int io_console_send(const char *path, int master, struct error *err)
{
        _cleanup_close_ int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec iov = {.iov_base = (void *)payload, .iov_len = strlen(payload)};
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

        if (sock < 0 || console_connect(sock, path) < 0)
                return error_errno(err, errno, "console socket '%s'", path);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &master, sizeof(int));
        if (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0)
                return error_errno(err, errno, "send the terminal to '%s'", path);
        return 0;
}
