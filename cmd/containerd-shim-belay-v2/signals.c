/* SPDX-License-Identifier: Apache-2.0
 *
 * See signals.h.
 */
#include "cmd/containerd-shim-belay-v2/signals.h"

#include <signal.h>
#include <stddef.h>

void signal_ignore(int signo)
{
        struct sigaction sa = {.sa_handler = SIG_IGN};

        (void)sigaction(signo, &sa, NULL);
}

void signals_reset(void)
{
        struct sigaction sa = {.sa_handler = SIG_DFL};
        sigset_t none;

        /* Numbers that cannot be set (SIGKILL, those of libc) fail, which is fine. */
        for (int signo = 1; signo < NSIG; signo++)
                (void)sigaction(signo, &sa, NULL);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}
