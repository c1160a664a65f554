/* SPDX-License-Identifier: Apache-2.0
 *
 * Cloning init: see create_clone.h. Both the process in between and init are cloned with
 * CLONE_PARENT, so both are children of the shim, which reaps the former without a word.
 */
#include "pkg/engine/create_clone.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/message.h"

static int join_pid_namespace(const struct plan *plan, struct error *err)
{
        int fd = plan->join_fds[OCI_NS_PID];

        if (fd >= 0 && setns(fd, CLONE_NEWPID) < 0)
                return error_errno(err, errno, "join pid namespace '%s'",
                                   plan->spec->linux_.namespaces[OCI_NS_PID].path);
        return 0;
}

static int clone_init(const struct init_args *args, int v2_dir, pid_t *ret_pid, int *ret_pidfd,
                      struct error *err)
{
        pid_t pid = stage_clone(args->plan->clone_flags, args->orphan, v2_dir, ret_pidfd);

        if (pid < 0)
                return error_errno(err, errno, "clone the container's init");
        if (pid == 0)
                init_main(args);
        *ret_pid = pid;
        return 0;
}

/* The process in between. It is in the host's pid namespace, so the pid that it gets is the host's.
 */
static _Noreturn void go_between(const struct init_args *args, int v2_dir, int sock)
{
        struct message msg = {.type = MESSAGE_CLONED};
        struct error err = ERROR_INIT;
        int own_time_ns = -1;
        int pidfd = -1;
        pid_t pid = -1;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (plan_make_time_namespace(args->plan, &own_time_ns, &err) < 0 ||
            join_pid_namespace(args->plan, &err) < 0 || child_join(args->plan, &err) < 0 ||
            clone_init(args, v2_dir, &pid, &pidfd, &err) < 0) {
                (void)message_send_error(sock, MESSAGE_ERROR, &err);
                _exit(EXIT_FAILURE);
        }
        msg.value = pid;
        _exit(message_send(sock, &msg, &pidfd, 1) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static int clone_by_go_between(const struct init_args *args, int v2_dir, pid_t *ret_pid,
                               int *ret_pidfd, struct error *err)
{
        _cleanup_close_ int ours = -1;
        _cleanup_close_ int theirs = -1;
        _cleanup_close_ int pidfd = -1;
        struct message msg;
        size_t n_fds = 1;
        int socks[2];
        pid_t pid;
        int r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return error_errno(err, errno, "clone the container's init: socketpair");
        ours = socks[0];
        theirs = socks[1];
        pid = stage_clone(0, false, -1, &pidfd);
        if (pid < 0)
                return error_errno(err, errno, "clone the container's init");
        if (pid == 0)
                go_between(args, v2_dir, theirs);
        theirs = fd_close(theirs);
        pidfd = fd_close(pidfd);
        r = message_recv(ours, &msg, &pidfd, &n_fds);
        if (r > 0 && msg.type == MESSAGE_ERROR) {
                message_get_error(&msg, err);
                return -1;
        }
        if (r <= 0 || msg.type != MESSAGE_CLONED || pidfd < 0)
                return error_set(err, STATUS_INTERNAL,
                                 "clone the container's init: the process in between has failed");
        *ret_pid = msg.value;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}

int create_clone(const struct init_args *args, int v2_dir, pid_t *ret_pid, int *ret_pidfd,
                 struct error *err)
{
        _cleanup_close_ int own_pid_ns = -1;
        _cleanup_close_ int own_time_ns = -1;

        if (plan_joins_early(args->plan))
                return clone_by_go_between(args, v2_dir, ret_pid, ret_pidfd, err);
        if (args->plan->join_fds[OCI_NS_PID] >= 0) {
                own_pid_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
                if (own_pid_ns < 0)
                        return error_errno(err, errno, "open /proc/self/ns/pid");
                if (join_pid_namespace(args->plan, err) < 0)
                        return -1;
        }
        if (plan_make_time_namespace(args->plan, &own_time_ns, err) < 0 ||
            clone_init(args, v2_dir, ret_pid, ret_pidfd, err) < 0)
                return -1;
        /* Hooks are children of the stage, too, and at home here, by the host's clocks. */
        if (own_pid_ns >= 0 && setns(own_pid_ns, CLONE_NEWPID) < 0)
                return error_errno(err, errno, "return to the pid namespace");
        if (own_time_ns >= 0 && setns(own_time_ns, CLONE_NEWTIME) < 0)
                return error_errno(err, errno, "return to the time namespace");
        return 0;
}
