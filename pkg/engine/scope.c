/* SPDX-License-Identifier: Apache-2.0
 *
 * See scope.h. The helper gets its request from a memfd and answers into a pipe; it has half a
 * minute for each step that systemd takes, and is killed when it needs longer than all of them.
 */
#include "pkg/engine/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include "pkg/base/str.h"
#include "pkg/engine/stage.h"

enum {
        ANSWER_MAX = 4096,
        EXIT_NOT_STARTED = 127,
};

static void wait_for(pid_t pid)
{
        siginfo_t info;

        while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
                ;
}

/* ---- the helper ---- */

static _Noreturn void helper_child(const char *helper, int in, int out)
{
        char *const argv[] = {(char *)"belay-systemd", NULL};
        char *const env[] = {NULL};

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        child_reset_signals();
        if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0)
                (void)execve(helper, argv, env);
        (void)dprintf(out, "error %s\n", strerror(errno));
        _exit(EXIT_NOT_STARTED);
}

/* What it writes until it closes the pipe; 0 or a negative errno. */
static int answer_read(int fd, int timeout_ms, char answer[ANSWER_MAX])
{
        uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
        size_t len = 0;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                uint64_t now = clock_monotonic_ns();
                ssize_t n;

                if (now >= deadline)
                        return -ETIMEDOUT;
                n = poll(&p, 1, (int)((deadline - now) / NSEC_PER_MSEC) + 1);
                if (n == 0 || (n < 0 && errno == EINTR))
                        continue;
                n = read(fd, answer + len, ANSWER_MAX - 1 - len);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        break;
                len += n > 0 ? (size_t)n : 0;
        }
        answer[len] = '\0';
        answer[strcspn(answer, "\n")] = '\0';
        return 0;
}

static int answer_check(const char *answer, struct error *err)
{
        if (strcmp(answer, "ok") == 0 || str_has_prefix(answer, "ok "))
                return 0;
        if (str_has_prefix(answer, "exists "))
                return error_set(err, STATUS_ALREADY_EXISTS, "systemd: %s", answer + 7);
        if (str_has_prefix(answer, "error "))
                return error_set(err, STATUS_UNKNOWN, "systemd: %s", answer + 6);
        return error_set(err, STATUS_UNKNOWN, "systemd: belay-systemd ended without an answer");
}

static int helper_run(const char *helper, const char *request, int timeout_ms,
                      char answer[ANSWER_MAX], struct error *err)
{
        _cleanup_close_ int in = -1;
        _cleanup_close_ int out_read = -1;
        _cleanup_close_ int out_write = -1;
        int pipe_fds[2];
        pid_t pid;
        int r;

        if (!helper || access(helper, X_OK) < 0)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "the systemd cgroup driver needs belay-systemd beside the shim: "
                                 "'%s' cannot be executed",
                                 helper ? helper : "belay-systemd");
        in = stage_memfd("belay-request", request, strlen(request), err);
        if (in < 0)
                return -1;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "systemd: pipe");
        out_read = pipe_fds[0];
        out_write = pipe_fds[1];
        pid = fork();
        if (pid < 0)
                return error_errno(err, errno, "systemd: fork");
        if (pid == 0)
                helper_child(helper, in, out_write);
        out_write = fd_close(out_write);
        r = answer_read(out_read, timeout_ms, answer);
        if (r < 0)
                (void)kill(pid, SIGKILL);
        wait_for(pid);
        if (r < 0)
                return error_errno(err, -r, "systemd: the answer of '%s'", helper);
        return answer_check(answer, err);
}

/* ---- the keeper ---- */

static _Noreturn void keeper_child(int pipe)
{
        char byte;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)prctl(PR_SET_NAME, "belay:scope");
        child_reset_signals();
        stage_close_others(&pipe, 1);
        while (read(pipe, &byte, 1) < 0 && errno == EINTR)
                ;
        _exit(EXIT_SUCCESS);
}

static int keeper_new(struct scope_keeper *ret, struct error *err)
{
        int pipe_fds[2];
        pid_t pid;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "systemd: pipe");
        pid = fork();
        if (pid == 0)
                keeper_child(pipe_fds[0]);
        fd_close(pipe_fds[0]);
        if (pid < 0) {
                fd_close(pipe_fds[1]);
                return error_errno(err, errno, "systemd: fork");
        }
        *ret = (struct scope_keeper){.pid = pid, .pipe = pipe_fds[1]};
        return 0;
}

void scope_keeper_end(struct scope_keeper *keeper)
{
        if (keeper->pid == 0)
                return;
        keeper->pipe = fd_close(keeper->pipe);
        /* The pipe would do, but for a container that is frozen from outside. */
        (void)kill(keeper->pid, SIGKILL);
        wait_for(keeper->pid);
        keeper->pid = 0;
}

bool scope_widen(const struct oci_resources *r, struct oci_resources *ret)
{
        *ret = *r;
        if (!r->has_pids || r->pids_limit < 0 || r->pids_limit > 1)
                return false;
        ret->pids_limit = 2;
        return true;
}

/* ---- the unit ---- */

/* Only what systemd answers can say where the scope is: it may not have the root of the hierarchy
 * that we see. */
static int check_group(const char *answer, const struct systemd_unit *unit, struct error *err)
{
        const char *group = answer + strlen("ok");

        group += *group == ' ';
        if (strcmp(group, unit->control_group) == 0)
                return 0;
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "systemd has the scope '%.100s' in cgroup '%.160s', not in '%.160s'",
                         unit->name, group, unit->control_group);
}

int scope_start(const struct scope_start *start, struct arena *arena, struct scope_keeper *ret,
                struct error *err)
{
        const struct oci_linux *l = &start->spec->linux_;
        struct oci_resources resources = {0};
        struct systemd_start request = {
                .unit = start->unit,
                .cgroup = start->cgroup,
                .resources = l->has_resources ? &resources : NULL,
                .annotations = start->spec->annotations,
                .n_annotations = start->spec->n_annotations,
        };
        struct scope_keeper keeper = {0};
        char answer[ANSWER_MAX];
        char *text;

        if (l->has_resources)
                (void)scope_widen(&l->resources, &resources);
        if (keeper_new(&keeper, err) < 0)
                return -1;
        request.pid = keeper.pid;
        if (systemd_request_start(&request, arena, &text, err) < 0 ||
            helper_run(start->helper, text, SCOPE_TIMEOUT_MS, answer, err) < 0) {
                scope_keeper_end(&keeper);
                return -1;
        }
        if (check_group(answer, start->unit, err) < 0) {
                scope_keeper_end(&keeper);
                (void)scope_stop(start->helper, start->cgroup, SCOPE_TIMEOUT_MS, arena, NULL);
                return -1;
        }
        *ret = keeper;
        return 0;
}

struct update {
        const char *helper;
        const struct cgroup *cgroup;
        const struct oci_resources *resources;
        struct arena *arena;
};

static int tell_systemd(void *userdata, struct error *err)
{
        const struct update *u = userdata;
        char answer[ANSWER_MAX];
        char *text;

        if (systemd_request_update(u->cgroup, u->resources, u->arena, &text, err) < 0)
                return -1;
        if (!text)
                return 0;
        return helper_run(u->helper, text, SCOPE_TIMEOUT_MS, answer, err) < 0 ? -1 : 1;
}

int scope_update(const char *helper, const struct cgroup *cg, const struct oci_resources *r,
                 struct arena *arena, struct error *err)
{
        struct update update = {.helper = helper, .cgroup = cg, .resources = r, .arena = arena};

        return cgroup_update_with(cg, r, cg->unit ? tell_systemd : NULL, &update, err);
}

int scope_stop(const char *helper, const struct cgroup *cg, int timeout_ms, struct arena *arena,
               struct error *err)
{
        char answer[ANSWER_MAX];
        char *text;

        if (systemd_request_stop(cg, arena, &text, err) < 0)
                return -1;
        return helper_run(helper, text, timeout_ms, answer, err);
}
