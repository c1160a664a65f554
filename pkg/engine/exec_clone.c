/* SPDX-License-Identifier: Apache-2.0
 *
 * The process between the stage and an exec'd process: see exec_clone.h. It stays in the pid
 * namespace of the host (setns(2) with CLONE_NEWPID concerns children only), and both it and its
 * child are cloned with CLONE_PARENT, as children of the shim.
 */
#include "pkg/engine/exec_clone.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/engine/message.h"
#include "pkg/engine/passed.h"
#include "pkg/engine/stage.h"

/*
 * All at once by init's pidfd (setns(2), Linux 5.8). The user namespace comes last: from within it
 * there would be no right to join a namespace that the host owns. The cgroup namespace is joined
 * after the cgroup, as cgroup_namespaces(7) wants it.
 */
static int join_namespaces(const struct init_args *args, struct error *err)
{
        int first = args->join_flags & ~CLONE_NEWUSER;

        if (first != 0 && setns(args->join_pidfd, first) < 0)
                return error_errno(err, errno, "exec: join the container's namespaces");
        if ((args->join_flags & CLONE_NEWUSER) && setns(args->join_pidfd, CLONE_NEWUSER) < 0)
                return error_errno(err, errno, "exec: join the container's user namespace");
        return 0;
}

static int prepare(const struct init_args *args, int sock, struct error *err)
{
        const struct passed *passed = args->plan->options.passed;
        int keep[4 + LIMIT_PASSED_FDS] = {args->gate, args->join_pidfd, args->plan->proc_fd, sock};

        if (init_join_cgroups(args, err) < 0 || child_set_cpus(args->plan, true, err) < 0 ||
            init_set_stdio(args, err) < 0)
                return -1;
        memcpy(keep + 4, passed->fds, passed->n * sizeof(keep[0]));
        stage_close_others(keep, 4 + passed->n);
        if (join_namespaces(args, err) < 0)
                return -1;
        fd_close(args->join_pidfd);
        return 0;
}

_Noreturn void exec_go_between(const struct init_args *args, int sock)
{
        struct message msg = {.type = MESSAGE_CLONED};
        struct error err = ERROR_INIT;
        int pidfd = -1;
        pid_t pid;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (prepare(args, sock, &err) == 0) {
                pid = stage_clone(0, args->orphan, -1, &pidfd);
                if (pid == 0) {
                        fd_close(sock);
                        init_exec_main(args);
                }
                if (pid > 0) {
                        msg.value = pid;
                        _exit(message_send(sock, &msg, &pidfd, 1) < 0 ? EXIT_FAILURE
                                                                      : EXIT_SUCCESS);
                }
                (void)error_errno(&err, errno, "exec: clone");
        }
        (void)message_send_error(sock, MESSAGE_ERROR, &err);
        _exit(EXIT_FAILURE);
}

int exec_hear_cloned(int sock, pid_t *ret_pid, int *ret_pidfd, struct error *err)
{
        _cleanup_close_ int pidfd = -1;
        struct message msg;
        size_t n_fds = 1;
        int r = message_recv(sock, &msg, &pidfd, &n_fds);

        if (r > 0 && msg.type == MESSAGE_ERROR) {
                message_get_error(&msg, err);
                return -1;
        }
        if (r <= 0 || msg.type != MESSAGE_CLONED || pidfd < 0)
                return error_set(err, STATUS_INTERNAL,
                                 "exec: the process in between has failed to clone");
        *ret_pid = msg.value;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}
