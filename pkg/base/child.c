/* SPDX-License-Identifier: Apache-2.0
 *
 * See child.h.
 */
#include "pkg/base/child.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

void child_default_signals(void)
{
        struct sigaction action = {.sa_handler = SIG_DFL};

        for (int signo = 1; signo < NSIG; signo++)
                (void)sigaction(signo, &action, NULL); /* EINVAL: not to be changed */
}

void child_reset_signals(void)
{
        sigset_t none;

        child_default_signals();
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Through copies above all of the targets, so that none overwrites one that is still needed. */
int child_set_fds(const int *sources, size_t n)
{
        int copies[CHILD_FDS_MAX];

        assert(n <= CHILD_FDS_MAX);
        for (size_t i = 0; i < n; i++) {
                copies[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, (int)n);
                if (copies[i] < 0)
                        return -1;
        }
        for (size_t i = 0; i < n; i++) {
                if (dup2(copies[i], (int)i) < 0)
                        return -1;
        }
        return 0;
}
