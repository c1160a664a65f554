/* SPDX-License-Identifier: Apache-2.0
 *
 * Stage and init: see stage_init.h.
 */
#include "pkg/engine/stage_init.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "pkg/base/fd.h"

int stage_raise_stdio(int *stdio, struct error *err)
{
        for (int i = 0; i < 3; i++) {
                if (stdio[i] > STDERR_FILENO)
                        continue;
                stdio[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
                if (stdio[i] < 0)
                        return error_errno(err, errno, "set up stdio %d", i);
        }
        return 0;
}

int stage_send_cloned(const struct stage *stage, pid_t pid, int pidfd, struct error *err)
{
        struct message msg = {.type = MESSAGE_CLONED, .value = pid};
        int r = message_send(stage->sock, &msg, &pidfd, 1);

        if (r < 0)
                return error_errno(err, -r, "tell the shim about process %d", (int)pid);
        return 0;
}

int stage_set_ended(struct error *err)
{
        (void)error_set(err, STATUS_UNKNOWN, "the container's process has ended during its set-up");
        err->errnum = ECHILD;
        return -1;
}

int stage_send_go(int gate, struct error *err)
{
        int r = message_send_simple(gate, MESSAGE_GO, 0);

        if (r == -EPIPE || r == -ECONNRESET)
                return stage_set_ended(err);
        if (r < 0)
                return error_errno(err, -r, "let the container's process go on");
        return 0;
}

static int forward_terminal(const struct stage *stage, const struct message *msg, int fd,
                            struct error *err)
{
        int r = message_send(stage->sock, msg, &fd, 1);

        if (r < 0)
                return error_errno(err, -r, "tell the shim about the terminal");
        return 0;
}

static int send_some_trees(int gate, const struct plan *plan, size_t first, struct error *err)
{
        const struct message msg = {.type = MESSAGE_TREES};
        size_t n = plan_count_trees(plan, first);
        int fds[FD_PASS_MAX];
        int r;

        if (plan_clone_trees(plan, first, fds, err) < 0)
                return -1;
        r = message_send(gate, &msg, fds, n);
        for (size_t i = 0; i < n; i++)
                fd_close(fds[i]);
        /* If it has ended, it may have said why: that is still to be heard. */
        if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                return error_errno(err, -r, "hand mounts to the container's process");
        return 0;
}

/* *ret_end: the index behind those that it has been given then. */
static int send_trees(int gate, const struct plan *plan, int asked, size_t *ret_end,
                      struct error *err)
{
        size_t first = (size_t)asked;
        bool follow;

        if (asked < 0 || first >= plan_count_mounts(plan))
                return error_set(err, STATUS_INTERNAL, "the container's process asks for mount %d",
                                 asked);
        do {
                if (send_some_trees(gate, plan, first, err) < 0)
                        return -1;
                follow = plan_trees_follow(plan, first);
                first = plan_end_of_trees(plan, first);
        } while (follow);
        *ret_end = first;
        return 0;
}

/* The next message that is not a terminal, which is passed on, nor an error, which is one. */
static int hear(const struct stage *stage, int gate, struct message *ret, struct error *err)
{
        for (;;) {
                int fd = -1;
                size_t n_fds = 1;
                int r = message_recv(gate, ret, &fd, &n_fds);

                if (r == 0 || r == -ECONNRESET)
                        return stage_set_ended(err);
                if (r < 0)
                        return error_errno(err, -r, "hear from the container's process");
                if (ret->type == MESSAGE_TERMINAL && fd >= 0) {
                        r = forward_terminal(stage, ret, fd, err);
                        fd_close(fd);
                        if (r < 0)
                                return -1;
                        continue;
                }
                fd_close(fd);
                if (ret->type != MESSAGE_ERROR)
                        return 0;
                message_get_error(ret, err);
                return -1;
        }
}

static int said_else(const struct message *msg, enum message_type type, struct error *err)
{
        return error_set(err, STATUS_INTERNAL, "the container's process said %u instead of %u",
                         msg->type, type);
}

/* plan: NULL where no trees can be asked for. */
static int await(const struct stage *stage, int gate, enum message_type type,
                 const struct plan *plan, int *ret_value, struct error *err)
{
        for (;;) {
                struct message msg;
                size_t end;

                if (hear(stage, gate, &msg, err) < 0)
                        return -1;
                if (msg.type == MESSAGE_TREES && plan) {
                        if (send_trees(gate, plan, msg.value, &end, err) < 0)
                                return -1;
                        continue;
                }
                if (msg.type != (uint32_t)type)
                        return said_else(&msg, type, err);
                if (ret_value)
                        *ret_value = msg.value;
                return 0;
        }
}

int stage_serve_trees(const struct stage *stage, int gate, const struct plan *plan,
                      struct error *err)
{
        size_t from = 0;

        while (plan_may_want_trees(plan, from)) {
                struct message msg;

                if (hear(stage, gate, &msg, err) < 0)
                        return -1;
                if (msg.type == MESSAGE_READY) /* a cgroup mount that needed none */
                        return 0;
                if (msg.type != MESSAGE_TREES)
                        return said_else(&msg, MESSAGE_TREES, err);
                if (send_trees(gate, plan, msg.value, &from, err) < 0)
                        return -1;
        }
        return 1;
}

int stage_await(const struct stage *stage, int gate, enum message_type type, struct error *err)
{
        return await(stage, gate, type, NULL, NULL, err);
}

int stage_await_value(const struct stage *stage, int gate, enum message_type type, int *ret_value,
                      struct error *err)
{
        return await(stage, gate, type, NULL, ret_value, err);
}

int stage_await_mounting(const struct stage *stage, int gate, enum message_type type,
                         const struct plan *plan, struct error *err)
{
        return await(stage, gate, type, plan, NULL, err);
}

int stage_hand_listener_over(const struct stage *stage, int gate, struct seccomp_notify *notify,
                             struct error *err)
{
        if (stage_await_value(stage, gate, MESSAGE_LISTENER, &notify->listener, err) < 0 ||
            seccomp_notify_send(notify, stage->arena, err) < 0)
                return -1;
        return stage_send_go(gate, err);
}
