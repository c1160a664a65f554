/* SPDX-License-Identifier: Apache-2.0
 *
 * See upgrade.h. The child has copies of all descriptors, so that what it finds in the copied state
 * is there; it takes them over, tells by its exit status how that went, and by its stdout why not.
 */
#include "cmd/containerd-shim-belay-v2/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/seal.h"

#define CHECK_NS (10 * NSEC_PER_SEC)

enum { REPORT_MAX = 400 };

void upgrader_init(struct upgrader *u)
{
        u->image_fd = -1;
        u->report_fd = -1;
}

static void check_over(struct upgrader *u)
{
        u->watch = reaper_watch_free(u->watch);
        u->timer = loop_timer_free(u->timer);
        u->report_fd = fd_close(u->report_fd);
        u->pid = 0;
}

void upgrader_deinit(struct upgrader *u)
{
        if (u->pid > 0)
                (void)kill(u->pid, SIGKILL);
        check_over(u);
        u->image_fd = fd_close(u->image_fd);
}

/* A program that only ends with success is not one that could go on. */
static void judge(struct upgrader *u, const struct reaper_exit *exit, struct error *err)
{
        char text[REPORT_MAX + 1];
        ssize_t n = read(u->report_fd, text, REPORT_MAX);
        bool succeeded = exit->code == CLD_EXITED && exit->status == EXIT_SUCCESS;

        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        if (succeeded && str_has_prefix(text, CHECK_STATE_PASSED))
                return;
        if (exit->code == CLD_EXITED && *text)
                (void)error_set(err, STATUS_FAILED_PRECONDITION, "the binary says: %s", text);
        else if (succeeded)
                (void)error_set(err, STATUS_FAILED_PRECONDITION,
                                "the binary did not say that it can take over: it is no shim");
        else
                (void)error_set(err, STATUS_FAILED_PRECONDITION,
                                "the binary cannot take over: %s %d when it was tried out",
                                exit->code == CLD_EXITED ? "exit status" : "signal", exit->status);
}

static void on_check_exit(const struct reaper_exit *exit, void *userdata)
{
        struct upgrader *u = userdata;
        struct error err = ERROR_INIT;

        u->watch = NULL;
        judge(u, exit, &err);
        if (err.code)
                u->image_fd = fd_close(u->image_fd);
        check_over(u);
        u->fn(err.code ? &err : NULL, u->userdata);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        const struct upgrader *u = userdata;

        (void)timer;
        (void)kill(u->pid, SIGKILL);
}

static void run_child(struct upgrader *u, int copy_fd, int out_fd)
{
        const int stdio[] = {STDIN_FILENO, out_fd, STDERR_FILENO};

        child_reset_signals();
        if (child_set_fds(stdio, 3) == 0)
                (void)reexec_check(u->reexec, u->image_fd, copy_fd);
        dprintf(STDOUT_FILENO, "execute it: %s\n", strerror(errno));
        _exit(EXIT_FAILURE);
}

static int start_child(struct upgrader *u, struct error *err)
{
        _cleanup_close_ int copy_fd = -1;
        _cleanup_close_ int out_fd = -1;
        int out[2];

        if (vault_copy(u->vault, &copy_fd, err) < 0)
                return -1;
        if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_errno(err, errno, "make a pipe");
        u->report_fd = out[0];
        out_fd = out[1];
        u->timer = loop_timer_new(u->loop, on_timer, u);
        if (!u->timer || loop_timer_set(u->timer, CHECK_NS) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        u->pid = fork();
        if (u->pid < 0) {
                u->pid = 0;
                return error_errno(err, errno, "fork");
        }
        if (u->pid == 0)
                run_child(u, copy_fd, out_fd);
        u->watch = reaper_watch_new(u->reaper, u->pid, on_check_exit, u);
        if (u->watch)
                return 0;
        (void)kill(u->pid, SIGKILL);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
}

int upgrader_check(struct upgrader *u, const char *path,
                   void (*fn)(const struct error *err, void *userdata), void *userdata,
                   struct error *err)
{
        if (!path)
                path = u->installed;
        u->fn = fn;
        u->userdata = userdata;
        u->image_fd = fd_close(u->image_fd);
        if (seal_open(path, &u->image_fd, err) == 0 && start_child(u, err) == 0)
                return 0;
        check_over(u);
        u->image_fd = fd_close(u->image_fd);
        return error_prefix(err, "try '%s' out", path);
}

void upgrader_execute(struct upgrader *u, struct error *err)
{
        int errnum;

        /* What holds unless the next image says otherwise. */
        vault_set_reason(u->vault, "the binary has not taken over, and left no reason");
        errnum = reexec_try(u->reexec, u->image_fd);
        (void)error_errno(err, errnum, "execute the binary");
}
