/* SPDX-License-Identifier: Apache-2.0
 *
 * A fatal signal does not end the shim: it executes its own binary again, with what the vault
 * holds. A fault of its own does so at once, from the handler. A signal that somebody has sent is
 * no reason to be in a hurry: it waits for the end of the present round.
 *
 * It gives up when that happens VAULT_REEXECS_MAX times within VAULT_REEXECS_SPAN_S: then the
 * signal kills it as it would any program, and what is on disk is what `delete` goes by.
 */
#pragma once

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"
#include "pkg/state/vault.h"

#include "cmd/containerd-shim-belay-v2/reexec.h"

/* From now on; both outlive the process. For the process that calls it, not for its forks. The
 * vault may come later: until then a signal ends the process, unless this image is on trial. */
int crash_arm(struct reexec *reexec, struct vault *const *vault, struct error *err);

/* An image on trial that takes longer than this is left as at a crash; 0: there is no trial (any
 * more). What an image before has set goes through an execve, and is overridden. */
enum { CRASH_TRIAL_SECONDS = 30 };
int crash_watch_trial(unsigned seconds, struct error *err);

/* From now on a signal that was sent waits for the end of the round; before, for nothing. */
int crash_watch(struct loop *loop, struct error *err);
void crash_disarm(void);
