/* SPDX-License-Identifier: Apache-2.0
 *
 * See upgrade.h. First the binary says what it is, with no descriptor of ours; so a program of
 * another kind never sees one. The second child has copies of all descriptors, so that what it
 * finds in the copied state is there; it takes them over. Either tells by its exit status how that
 * went, and by its stdout what it is or why not.
 *
 * A child ends with the shim, and when its time is up, also if this image is not there to see to
 * it.
 */
#include "cmd/containerd-shim-belay-v2/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/seal.h"

enum { REPORT_MAX = 400, CHILD_SECONDS = 10 };

/* What `-v` says of every shim. */
#define VERSION_WORD "Version:"

void upgrader_init(struct upgrader *u)
{
        u->image_fd = -1;
        u->report_fd = -1;
}

/* With what it has made, if it is a script. It has not been reaped, so its number is its own. */
static void end_child(const struct upgrader *u)
{
        (void)kill(-u->pid, SIGKILL);
        (void)kill(u->pid, SIGKILL);
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
                end_child(u);
        check_over(u);
        u->image_fd = fd_close(u->image_fd);
}

static int start_child(struct upgrader *u, enum upgrader_step step, struct error *err);

/* A program that only ends with success is not one that could go on. */
static void judge(struct upgrader *u, const struct reaper_exit *exit, struct error *err)
{
        char text[REPORT_MAX + 1];
        ssize_t n = read(u->report_fd, text, REPORT_MAX);
        bool succeeded = exit->code == CLD_EXITED && exit->status == EXIT_SUCCESS;
        const char *what =
                u->step == UPGRADER_ASKS ? "what version it is" : "that it can take over";

        text[n > 0 ? n : 0] = '\0';
        if (succeeded && u->step == UPGRADER_ASKS && strstr(text, VERSION_WORD))
                return;
        if (succeeded && u->step == UPGRADER_TRIES && str_has_prefix(text, CHECK_STATE_PASSED))
                return;
        text[strcspn(text, "\n")] = '\0';
        if (u->is_over_time)
                (void)error_set(err, STATUS_FAILED_PRECONDITION,
                                "the binary did not say within %d s %s", CHILD_SECONDS, what);
        else if (exit->code == CLD_EXITED && *text)
                (void)error_set(err, STATUS_FAILED_PRECONDITION, "the binary says: %s", text);
        else if (succeeded)
                (void)error_set(err, STATUS_FAILED_PRECONDITION,
                                "the binary did not say %s: it is no shim", what);
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
        check_over(u);
        if (!err.code && u->step == UPGRADER_ASKS && start_child(u, UPGRADER_TRIES, &err) == 0)
                return;
        check_over(u);
        if (err.code)
                u->image_fd = fd_close(u->image_fd);
        u->fn(err.code ? &err : NULL, u->userdata);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        struct upgrader *u = userdata;

        (void)timer;
        u->is_over_time = true;
        end_child(u);
}

/* The alarm goes along into the binary: it is for the image that comes after a crash of this one
 * and knows of no child. */
static void run_child(struct upgrader *u, pid_t parent, int copy_fd, int out_fd)
{
        const int stdio[] = {STDIN_FILENO, out_fd, STDERR_FILENO};

        child_reset_signals();
        (void)setpgid(0, 0);
        (void)alarm(CHILD_SECONDS + 1);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        if (child_set_fds(stdio, 3) == 0) {
                if (u->step == UPGRADER_ASKS)
                        (void)reexec_ask_version(u->reexec, u->image_fd);
                else
                        (void)reexec_check(u->reexec, u->image_fd, copy_fd);
        }
        dprintf(STDOUT_FILENO, "execute it: %s\n", strerror(errno));
        _exit(EXIT_FAILURE);
}

static int start_child(struct upgrader *u, enum upgrader_step step, struct error *err)
{
        pid_t parent = getpid();
        _cleanup_close_ int copy_fd = -1;
        _cleanup_close_ int out_fd = -1;
        int out[2];

        u->step = step;
        u->is_over_time = false;
        if (step == UPGRADER_TRIES && vault_copy(u->vault, &copy_fd, err) < 0)
                return -1;
        if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_errno(err, errno, "make a pipe");
        u->report_fd = out[0];
        out_fd = out[1];
        u->timer = loop_timer_new(u->loop, on_timer, u);
        if (!u->timer || loop_timer_set(u->timer, CHILD_SECONDS * NSEC_PER_SEC) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        u->pid = fork();
        if (u->pid < 0) {
                u->pid = 0;
                return error_errno(err, errno, "fork");
        }
        if (u->pid == 0)
                run_child(u, parent, copy_fd, out_fd);
        (void)setpgid(u->pid, u->pid); /* whoever comes first */
        u->watch = reaper_watch_new(u->reaper, u->pid, on_check_exit, u);
        if (u->watch)
                return 0;
        end_child(u);
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
        if (seal_open(path, &u->image_fd, err) == 0 && start_child(u, UPGRADER_ASKS, err) == 0)
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
