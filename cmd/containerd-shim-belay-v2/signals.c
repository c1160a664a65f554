/* SPDX-License-Identifier: Apache-2.0
 *
 * See signals.h.
 */
#include "cmd/containerd-shim-belay-v2/signals.h"

#include <stddef.h>

const struct fatal_signal fatal_signals[N_FATAL_SIGNALS] = {
        {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"}, {SIGFPE, "SIGFPE"},
        {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"},
};

void signals_mask_fatal(int how, sigset_t *ret_before)
{
        sigset_t set;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < N_FATAL_SIGNALS; i++)
                (void)sigaddset(&set, fatal_signals[i].signo);
        (void)sigprocmask(how, &set, ret_before);
}

void signal_ignore(int signo)
{
        struct sigaction sa = {.sa_handler = SIG_IGN};

        (void)sigaction(signo, &sa, NULL);
}

void signals_ignore_others(void)
{
        sigset_t blocked;

        (void)sigprocmask(SIG_SETMASK, NULL, &blocked);
        for (int signo = 1; signo <= SIGRTMAX; signo++) {
                if (sigismember(&blocked, signo) == 0)
                        signal_ignore(signo); /* EINVAL: not to be changed */
        }
}
