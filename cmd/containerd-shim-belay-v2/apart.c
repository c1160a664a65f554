/* SPDX-License-Identifier: Apache-2.0
 *
 * See apart.h. Its words come by a pipe, since whoever has started us waits until nobody has our
 * standard output and error any more. Its end is known by a pidfd: others may have the pipe.
 */
#include "cmd/containerd-shim-belay-v2/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

enum { END_MS = 100 }; /* for one that was killed; in uninterruptible sleep it does not end */

struct apart {
        pid_t pid;
        int pidfd;
        int words; /* the reading end of its standard output and error; non-blocking */
        int *result;
};

static void apart_deinit(struct apart *a)
{
        fd_close(a->pidfd);
        fd_close(a->words);
        if (a->result)
                (void)munmap(a->result, sizeof(*a->result));
}

static _Noreturn void child_main(int (*fn)(void *userdata), void *userdata, int *result, int words,
                                 pid_t parent)
{
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
            dup2(words, STDOUT_FILENO) < 0 || dup2(words, STDERR_FILENO) < 0)
                _exit(EXIT_FAILURE);
        fd_close(words);
        *result = fn(userdata);
        _exit(EXIT_SUCCESS);
}

/* False where there can be no child. */
static bool apart_init(struct apart *a, int (*fn)(void *userdata), void *userdata)
{
        _cleanup_close_ int theirs = -1;
        pid_t parent = getpid();
        int ends[2];

        *a = (struct apart){.pid = -1, .pidfd = -1, .words = -1};
        a->result = mmap(NULL, sizeof(*a->result), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (a->result == MAP_FAILED) {
                a->result = NULL;
                return false;
        }
        if (pipe2(ends, O_CLOEXEC) < 0)
                return false;
        a->words = ends[0];
        theirs = ends[1];
        if (fd_set_nonblock(a->words, 1) < 0)
                return false;
        a->pid = fork();
        if (a->pid == 0)
                child_main(fn, userdata, a->result, theirs, parent);
        a->pidfd = a->pid > 0 ? pidfd_open(a->pid, 0) : -1;
        return a->pid > 0;
}

/* What there is of its words. */
static void relay(struct apart *a)
{
        char text[1024];
        ssize_t n;

        while (a->words >= 0 && (n = read(a->words, text, sizeof(text))) != 0) {
                if (n < 0)
                        return;
                (void)fd_write_all(STDERR_FILENO, text, (size_t)n);
        }
        a->words = fd_close(a->words);
}

/* Relays until then; true if it has ended. */
static bool await_end(struct apart *a, uint64_t deadline_ns)
{
        for (;;) {
                struct pollfd fds[2] = {
                        {.fd = a->pidfd, .events = POLLIN},
                        {.fd = a->words, .events = POLLIN},
                };
                uint64_t now = clock_monotonic_ns();
                int left = now < deadline_ns ? (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1 : 0;
                int n = poll(fds, 2, left);

                relay(a);
                if (n > 0 && fds[0].revents)
                        return true;
                if (left == 0)
                        return false;
        }
}

int apart_run(int (*fn)(void *userdata), void *userdata, uint64_t deadline_ns, int *ret,
              struct error *err)
{
        _cleanup_(apart_deinit) struct apart a = {.pid = -1};
        siginfo_t info = {0};

        if (!apart_init(&a, fn, userdata)) {
                *ret = fn(userdata);
                return 0;
        }
        if (!await_end(&a, deadline_ns)) {
                (void)kill(a.pid, SIGKILL);
                (void)await_end(&a, clock_monotonic_ns() + END_MS * NSEC_PER_MSEC);
        }
        (void)waitid(P_PID, (id_t)a.pid, &info, WEXITED | WNOHANG);
        if (info.si_pid != a.pid || info.si_code != CLD_EXITED || info.si_status != EXIT_SUCCESS)
                return error_set(err, STATUS_DEADLINE_EXCEEDED, "was ended when time was up");
        *ret = *a.result;
        return 0;
}
