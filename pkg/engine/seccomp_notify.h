/* SPDX-License-Identifier: Apache-2.0
 *
 * Handing a seccomp listener to whoever answers for it: see seccomp_notify.c. For the stage.
 */
#pragma once

#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/engine/hooks.h"
#include "pkg/oci/spec.h"

struct seccomp_notify {
        const struct oci_seccomp *profile; /* has listener_path */
        const struct hook_state *state;    /* of the container */
        pid_t pid;                         /* the process that has loaded the filter */
        int pidfd;
        int listener; /* its number there */
};

/* Takes the descriptor from the process and sends it, on a connection of its own. Bounded in time.
 * Errors name the listener's path. */
int seccomp_notify_send(const struct seccomp_notify *notify, struct arena *arena,
                        struct error *err);
