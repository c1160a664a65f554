/* SPDX-License-Identifier: Apache-2.0
 *
 * Running a binary: fork and execve, with nothing of this process in it but what is given. Its
 * environment is ours without NOTIFY_SOCKET, which is between systemd and whoever started us.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

/* For one that was killed; in uninterruptible sleep it does not end. */
enum { END_MS = 250 };

extern char **environ;

/* ---- In the child ---- */

static _Noreturn void child_main(const struct args *args, char **env, const int stdio[3],
                                 pid_t parent, int status_fd)
{
        int errnum;

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        child_reset_signals();
        if (child_set_fds(stdio, 3) == 0)
                (void)execve(args->items[0], (char *const *)args->items, env);
        errnum = errno;
        (void)fd_write_all(status_fd, &errnum, sizeof(errnum));
        _exit(EXIT_FAILURE);
}

/* ---- In the parent ---- */

/* An array of borrowed strings. */
static char **make_environment(void)
{
        size_t n = 0;
        char **env;

        while (environ[n])
                n++;
        env = calloc(n + 1, sizeof(*env));
        if (!env)
                return NULL;
        n = 0;
        for (char **e = environ; *e; e++) {
                if (!str_has_prefix(*e, "NOTIFY_SOCKET="))
                        env[n++] = *e;
        }
        return env;
}

pid_t spawn(const struct args *args, const int stdio[3], int *ret_status, struct error *err)
{
        _cleanup_free_ char **env = make_environment();
        _cleanup_close_ int status = -1;
        _cleanup_close_ int theirs = -1;
        pid_t parent = getpid();
        int ends[2];
        pid_t pid;

        if (!env)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "run '%s': no memory",
                                 args->items[0]);
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(err, errno, "run '%s': pipe", args->items[0]);
        status = ends[0];
        theirs = ends[1];
        (void)fd_set_nonblock(status, 1);
        pid = fork();
        if (pid < 0)
                return error_errno(err, errno, "run '%s': fork", args->items[0]);
        if (pid == 0)
                child_main(args, env, stdio, parent, theirs);
        *ret_status = TAKE_FD(status);
        return pid;
}

int spawn_errno(int status_fd)
{
        int errnum = 0;

        return read(status_fd, &errnum, sizeof(errnum)) == (ssize_t)sizeof(errnum) ? errnum : 0;
}

void spawn_describe(int code, int status, char *ret, size_t ret_size)
{
        (void)snprintf(ret, ret_size, "%s %d", code == CLD_EXITED ? "exit status" : "signal",
                       status);
}

/* Until EOF or the deadline; false at the deadline. */
static bool read_output(int fd, uint64_t deadline_ns, char *text, size_t max, size_t *len)
{
        for (;;) {
                uint64_t now = clock_monotonic_ns();
                struct pollfd p = {.fd = fd, .events = POLLIN};
                char dropped[256];
                ssize_t n;

                if (now >= deadline_ns)
                        return false;
                if (poll(&p, 1, (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1) <= 0)
                        continue;
                n = *len < max ? read(fd, text + *len, max - *len)
                               : read(fd, dropped, sizeof(dropped));
                if (n <= 0)
                        return true;
                if (*len < max)
                        *len += (size_t)n;
        }
}

/* False if it has not ended: whoever is its parent then reaps it. */
static bool kill_and_reap(pid_t pid, siginfo_t *ret)
{
        _cleanup_close_ int pidfd = pidfd_open(pid, 0);
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        (void)kill(pid, SIGKILL);
        (void)poll(&p, 1, END_MS);
        return waitid(P_PID, (id_t)pid, ret, WEXITED | WNOHANG) == 0 && ret->si_pid == pid;
}

static bool reap(pid_t pid, siginfo_t *ret)
{
        while (waitid(P_PID, (id_t)pid, ret, WEXITED) < 0 && errno == EINTR)
                ;
        return true;
}

int spawn_wait(const struct args *args, uint64_t deadline_ns, size_t max, char **ret_output,
               struct error *err)
{
        _cleanup_free_ char *output = malloc(max + 1);
        _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        _cleanup_close_ int ours = -1;
        _cleanup_close_ int theirs = -1;
        _cleanup_close_ int status = -1;
        int stdio[3] = {null, -1, -1};
        siginfo_t info = {0};
        char how[32];
        bool timed_out;
        bool has_ended;
        size_t len = 0;
        int ends[2];
        int errnum;
        pid_t pid;

        if (!output || null < 0 || pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(err, errno, "run '%s'", args->items[0]);
        ours = ends[0];
        theirs = ends[1];
        stdio[1] = theirs;
        stdio[2] = theirs;
        pid = spawn(args, stdio, &status, err);
        if (pid < 0)
                return -1;
        theirs = fd_close(theirs);
        timed_out = !read_output(ours, deadline_ns, output, max, &len);
        has_ended = timed_out ? kill_and_reap(pid, &info) : reap(pid, &info);
        output[len] = '\0';
        errnum = spawn_errno(status);
        if (errnum)
                return error_errno(err, errnum, "exec '%s'", args->items[0]);
        /* One that had ended already is judged by how; somebody else has its output, then. */
        if (timed_out && info.si_code != CLD_EXITED)
                return error_set(err, STATUS_DEADLINE_EXCEEDED,
                                 "'%s' was ended when time was up%s: %s", args->items[0],
                                 has_ended ? "" : ", but SIGKILL has not ended it so far", output);
        if (info.si_code != CLD_EXITED || info.si_status != 0) {
                spawn_describe(info.si_code, info.si_status, how, sizeof(how));
                return error_set(err, STATUS_UNKNOWN, "'%s' ended with %s: %s", args->items[0], how,
                                 output);
        }
        *ret_output = TAKE_PTR(output);
        return 0;
}
