/* SPDX-License-Identifier: Apache-2.0
 *
 * Running hooks: see hooks.h. A hook gets its state from a memfd, which it can read to the end
 * without anybody at the other side; what it writes goes into a pipe of which the last part is kept
 * for the error text. It is the leader of a process group, so that a time-out ends its children,
 * too, and it dies with the process that runs it.
 */
#include "pkg/engine/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/engine/stage.h"

enum {
        TAIL_MAX = 200, /* bytes of a hook's output that go into the error text */
        EXIT_NOT_STARTED = 127,
        SLICE_MS = 20, /* between looks at a hook where there is no pidfd */
        END_MS = 250,  /* for one that was killed; in uninterruptible sleep it does not end */
};

struct hook_process {
        pid_t pid;
        int pidfd;            /* -1: pidfd_open is forbidden by a filter */
        int out;              /* reading end of its stdout and stderr; -1 at EOF */
        uint64_t deadline_ns; /* 0: none */
        bool own_timeout;     /* the deadline is the hook's own */
        bool is_left; /* it was killed and has not ended: whoever is its parent then reaps it */
        char tail[2 * TAIL_MAX];
        size_t tail_len;
};

static _Noreturn void hook_child(const struct oci_hook *hook, const struct hook_context *context,
                                 int in, int out)
{
        int errnum;

        (void)setpgid(0, 0);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Before the hook does anything: its parent may be killed before it has told it. */
        if (context->on_group)
                context->on_group(getpid(), context->userdata);
        child_reset_signals();
        /* dup2 clears CLOEXEC; in and out are above 2, since 0 to 2 are always open here. */
        if (dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0 &&
            dup2(in, STDIN_FILENO) >= 0 && (!context->cwd || chdir(context->cwd) == 0))
                (void)execve(hook->path, hook->args.items,
                             hook->has_env ? hook->env.items : context->default_env);
        errnum = errno;
        (void)dprintf(STDERR_FILENO, "cannot execute: %s", strerror(errnum));
        _exit(EXIT_NOT_STARTED);
}

static int hook_spawn(const struct oci_hook *hook, const struct hook_context *context,
                      struct hook_process *ret, struct error *err)
{
        _cleanup_close_ int in = -1;
        _cleanup_close_ int out_read = -1;
        _cleanup_close_ int out_write = -1;
        int pipe_fds[2];

        in = stage_memfd("state", context->state_json, strlen(context->state_json), err);
        if (in < 0)
                return -1;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "pipe");
        out_read = pipe_fds[0];
        out_write = pipe_fds[1];
        (void)fd_set_nonblock(out_read, 1);
        ret->pid = fork();
        if (ret->pid < 0)
                return error_errno(err, errno, "fork");
        if (ret->pid == 0)
                hook_child(hook, context, in, out_write);
        (void)setpgid(ret->pid, ret->pid); /* whoever is first; EACCES after its execve */
        ret->pidfd = pidfd_open(ret->pid, 0);
        ret->out = TAKE_FD(out_read);
        return 0;
}

/* Reads what is there and keeps its end. */
static void hook_read_output(struct hook_process *p)
{
        char buf[1024];

        while (p->out >= 0) {
                ssize_t n = read(p->out, buf, sizeof(buf));
                const char *from = buf;
                size_t len;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return;
                if (n == 0) {
                        p->out = fd_close(p->out);
                        return;
                }
                len = (size_t)n;
                if (len > TAIL_MAX) {
                        from = buf + len - TAIL_MAX;
                        len = TAIL_MAX;
                }
                if (p->tail_len > TAIL_MAX) {
                        memmove(p->tail, p->tail + p->tail_len - TAIL_MAX, TAIL_MAX);
                        p->tail_len = TAIL_MAX;
                }
                memcpy(p->tail + p->tail_len, from, len);
                p->tail_len += len;
        }
}

static int hook_poll_timeout(const struct hook_process *p)
{
        uint64_t now = clock_monotonic_ns();
        uint64_t left_ms;

        if (p->deadline_ns == 0)
                return p->pidfd < 0 ? SLICE_MS : -1;
        if (now >= p->deadline_ns)
                return 0;
        left_ms = (p->deadline_ns - now) / NSEC_PER_MSEC + 1;
        if (p->pidfd < 0 && left_ms > SLICE_MS)
                return SLICE_MS;
        return left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
}

static bool hook_has_ended(const struct hook_process *p)
{
        siginfo_t info = {0};

        return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == p->pid;
}

static void hook_kill(struct hook_process *p)
{
        uint64_t until = clock_monotonic_ns() + END_MS * NSEC_PER_MSEC;

        (void)kill(-p->pid, SIGKILL);
        (void)kill(p->pid, SIGKILL); /* should it have left its group */
        while (!hook_has_ended(p)) {
                struct pollfd pidfd = {.fd = p->pidfd, .events = POLLIN};

                if (clock_monotonic_ns() >= until) {
                        p->is_left = true;
                        return;
                }
                (void)poll(&pidfd, 1, SLICE_MS);
        }
}

/* Returns true if it had to be killed. The process is left a zombie, so that its group's number
 * stays taken. */
static bool hook_wait(struct hook_process *p)
{
        while (!hook_has_ended(p)) {
                struct pollfd fds[2] = {
                        {.fd = p->out, .events = POLLIN},
                        {.fd = p->pidfd, .events = POLLIN},
                };
                int timeout = hook_poll_timeout(p);

                if (timeout == 0) {
                        hook_kill(p);
                        return true;
                }
                (void)poll(fds, 2, timeout);
                hook_read_output(p);
        }
        return false;
}

/* The output's end on one line, without control characters; "" if there was none. */
static const char *hook_tail(struct hook_process *p)
{
        size_t from = p->tail_len > TAIL_MAX ? p->tail_len - TAIL_MAX : 0;
        size_t to = p->tail_len;

        while (to > from && (unsigned char)p->tail[to - 1] <= ' ')
                to--;
        while (from < to && (unsigned char)p->tail[from] <= ' ')
                from++;
        p->tail[to < sizeof(p->tail) ? to : sizeof(p->tail) - 1] = '\0';
        for (size_t i = from; i < to; i++) {
                if ((unsigned char)p->tail[i] < ' ')
                        p->tail[i] = ' ';
        }
        str_make_utf8(p->tail + from);
        return p->tail + from;
}

static int hook_report(const struct oci_hook *hook, const struct hook_context *context,
                       struct hook_process *p, bool timed_out, const siginfo_t *info,
                       struct error *err)
{
        const char *left = p->is_left ? ", but SIGKILL has not ended it so far" : "";
        const char *tail;

        if (!timed_out && info->si_code == CLD_EXITED && info->si_status == 0)
                return 0;
        tail = hook_tail(p);
        if (timed_out && p->own_timeout)
                (void)error_set(err, STATUS_UNKNOWN, "timed out after %u s%s%s%s", hook->timeout_s,
                                left, *tail ? ": " : "", tail);
        else if (timed_out)
                (void)error_set(err, STATUS_UNKNOWN, "%swas ended when time was up%s%s%s",
                                hook->has_timeout ? "" : "has no timeout of its own and ", left,
                                *tail ? ": " : "", tail);
        else if (info->si_code != CLD_EXITED)
                (void)error_set(err, STATUS_UNKNOWN, "killed by signal %d%s%s", info->si_status,
                                *tail ? ": " : "", tail);
        else if (info->si_status == EXIT_NOT_STARTED && str_has_prefix(tail, "cannot execute: "))
                (void)error_set(err, STATUS_UNKNOWN, "%s", tail);
        else
                (void)error_set(err, STATUS_UNKNOWN, "exit status %d%s%s", info->si_status,
                                *tail ? ": " : "", tail);
        return error_prefix(err, "%s hook '%s'", context->kind, hook->path);
}

static void hook_set_deadline(struct hook_process *p, const struct oci_hook *hook,
                              const struct hook_context *context, uint64_t now_ns)
{
        p->own_timeout = hook->has_timeout;
        p->deadline_ns =
                hook->has_timeout ? now_ns + hook->timeout_s * NSEC_PER_SEC : context->deadline_ns;
        if (context->final_ns > 0 && (p->deadline_ns == 0 || p->deadline_ns > context->final_ns)) {
                p->own_timeout = false;
                p->deadline_ns = context->final_ns;
        }
}

int hook_run(const struct oci_hook *hook, const struct hook_context *context, struct error *err)
{
        uint64_t now = clock_monotonic_ns();
        struct hook_process p = {.pid = -1, .pidfd = -1, .out = -1};
        siginfo_t info = {0};
        bool timed_out;
        int r;

        if (context->final_ns > 0 && now >= context->final_ns)
                return error_set(err, STATUS_DEADLINE_EXCEEDED,
                                 "%s hook '%s': was not run, since time was up", context->kind,
                                 hook->path);
        if (hook_spawn(hook, context, &p, err) < 0)
                return error_prefix(err, "%s hook '%s'", context->kind, hook->path);
        hook_set_deadline(&p, hook, context, now);
        if (context->on_group)
                context->on_group(p.pid, context->userdata);
        timed_out = hook_wait(&p);
        hook_read_output(&p);
        if (context->on_group)
                context->on_group(0, context->userdata);
        if (!p.is_left)
                (void)waitid(P_PID, (id_t)p.pid, &info, WEXITED);
        r = hook_report(hook, context, &p, timed_out, &info, err);
        fd_close(p.pidfd);
        fd_close(p.out);
        return r;
}

int hooks_run(const struct oci_hook_list *hooks, const struct hook_context *context,
              struct error *err)
{
        for (size_t i = 0; i < hooks->n; i++) {
                if (hook_run(&hooks->items[i], context, err) < 0)
                        return -1;
        }
        return 0;
}
