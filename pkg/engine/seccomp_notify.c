/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.seccomp.listenerPath (runtime-spec, config-linux.md): for each filter that is loaded, the
 * listener gets one connection with the state of the container process and the descriptor beside
 * it. The process itself could not send it: from the moment that it has the descriptor, sendmsg may
 * be one of the calls that wait for an answer. It only says a number, by write(2), which no profile
 * may hand over, and the stage takes the descriptor out of it (pidfd_getfd(2), Linux 5.6).
 */
#include "pkg/engine/seccomp_notify.h"

#include <errno.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

enum { TIMEOUT_S = 10 }; /* for a listener that does not accept, or does not read */

static int connect_to(const char *path, struct error *err)
{
        _cleanup_close_ int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const struct timeval timeout = {.tv_sec = TIMEOUT_S};
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        if (strlen(path) >= sizeof(address.sun_path))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.seccomp.listenerPath: '%s': too long for a socket", path);
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
            connect(sock, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return error_errno(err, errno, "linux.seccomp.listenerPath: connect to '%s'", path);
        return TAKE_FD(sock);
}

int seccomp_notify_send(const struct seccomp_notify *notify, struct arena *arena, struct error *err)
{
        const char *path = notify->profile->listener_path;
        _cleanup_close_ int listener = -1;
        _cleanup_close_ int sock = -1;
        char *json;
        int r;

        if (hook_process_state_format(notify->state, notify->pid,
                                      notify->profile->listener_metadata, arena, &json, err) < 0)
                return -1;
        sock = connect_to(path, err);
        if (sock < 0)
                return -1;
        listener = pidfd_getfd(notify->pidfd, notify->listener, 0);
        if (listener < 0)
                return error_errno(err, errno, "take the seccomp listener from the process");
        r = fd_send(sock, json, strlen(json), &listener, 1);
        if (r < 0)
                return error_errno(err, -r, "linux.seccomp.listenerPath: send to '%s'", path);
        return 0;
}
