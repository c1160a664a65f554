/* SPDX-License-Identifier: Apache-2.0
 *
 * What a cloned process of the container runs until its execve: the child_* calls of child.h,
 * strung together with the messages.
 *
 *   init                                     the other end of its socket
 *   join cgroups            <- GO            stage: pid is known to the shim, id maps are written
 *   child_prepare           -> TREES         (for each row of binds)
 *                           <- TREES         stage, with descriptors
 *                           -> PREPARED      (only if the stage has work: hooks, network devices, a
 * scope)
 *                           <- GO            stage, when it is done with them
 *   child_enter             -> TERMINAL      (only with a terminal)
 *                           -> ENTERED       (only with something that the stage must do then)
 *                           <- GO            stage, when rlimits and scheduling are in place
 *   child_drop              -> LISTENER      (only with a seccomp listener; from here on, by write)
 *                           <- GO            stage, when it has handed the listener over
 *                           -> READY         to the stage, or, if that has gone, to the shim
 *                           <- GO            shim: Start
 *   child_exec              -> EXECUTING, EOF
 *
 * Instead of any message of init's there may be ERROR, which is its last.
 *
 * There is one socket, the gate, whose other end the stage shares with the shim: when both are
 * gone, init reads EOF and ends. PR_SET_PDEATHSIG does the same while init is busy. It is cleared
 * right before execve: a container outlives its shim.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/arena.h"
#include "pkg/engine/child.h"

struct init_args {
        const struct plan *plan;
        struct arena *arena;
        int gate;          /* init's end */
        const int *others; /* the stage's descriptors, to be closed at once */
        size_t n_others;
        const int *stdio; /* three, all above 2; NULL with a terminal */
        const int *tasks; /* of the v1 cgroups */
        size_t n_tasks;
        bool orphan; /* see engine_set_orphans() */

        /* Only for an init. */
        bool wait_hooks;  /* PREPARED is said, and waited for its GO */
        bool wait_limits; /* ENTERED, likewise */

        /* Only for an exec: the container's init, and what to join of it. */
        int join_pidfd;
        int join_flags; /* CLONE_NEW* */
};

_Noreturn void init_main(const struct init_args *args);

/* Steps that an exec has done for it by the process in between (exec_clone.h). */
int init_join_cgroups(const struct init_args *args, struct error *err);
int init_set_stdio(const struct init_args *args, struct error *err);

/*
 * The same for an exec, which was born into the container's namespaces and cgroups, with its stdio
 * and no other descriptor but the gate:
 *
 *   child_enter_exec        -> TERMINAL, ENTERED
 *                           <- GO            stage: pid is known to the shim, rlimits are in place
 *   child_drop              -> LISTENER      as above, and GO
 *   child_exec              -> EXECUTING, EOF
 */
_Noreturn void init_exec_main(const struct init_args *args);
