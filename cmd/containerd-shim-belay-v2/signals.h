/* SPDX-License-Identifier: Apache-2.0
 *
 * Dispositions and masks of this process. What has to be acted upon goes through a signalfd of
 * pkg/loop; no handler is ever installed here.
 */
#pragma once

#include <signal.h>

enum { N_FATAL_SIGNALS = 7 };

/* Those by which a process ends that has a fault: what the shim goes on after as another image. */
extern const struct fatal_signal {
        int signo;
        const char *name;
} fatal_signals[N_FATAL_SIGNALS];

/* how: SIG_BLOCK or SIG_UNBLOCK, for all of them; ret_before may be NULL. May be called from a
 * signal handler. */
void signals_mask_fatal(int how, sigset_t *ret_before);

void signal_ignore(int signo);

/* Whatever is not blocked now, and not handled later: no signal shall end the shim by its default
 * of which nobody has thought. A limit of containerd's that the shim has inherited may send some
 * (SIGXFSZ, where the write fails with EFBIG then; SIGXCPU). */
void signals_ignore_others(void);
