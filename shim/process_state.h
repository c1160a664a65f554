/* SPDX-License-Identifier: Apache-2.0
 *
 * What may be done to a process in which state, and where that leads: one pure table. Handlers ask
 * it; nobody compares states by hand. Where the stock shim answers UNKNOWN for a wrong state, the
 * table has a code that says what is wrong.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"

enum process_kind { PROCESS_INIT, PROCESS_EXEC, _PROCESS_KIND_MAX };

enum process_state {
        PROCESS_CREATED,  /* an init waits at its gate; of an exec there is only the request */
        PROCESS_STARTING, /* Start is under way */
        PROCESS_RUNNING,  /* its program was executed */
        PROCESS_PAUSING,  /* the rest of a pause is the init's only: an exec has its init's */
        PROCESS_PAUSED,
        PROCESS_RESUMING,
        PROCESS_DISCARDED, /* a created init, killed by Delete, whose exit is awaited */
        PROCESS_STOPPED,   /* its exit is known to all, or it could not be started (exec) */
        PROCESS_DELETING,  /* Delete is under way */
        _PROCESS_STATE_MAX
};

enum process_verb {
        /* Asked by clients. */
        VERB_START,
        VERB_KILL,
        VERB_KILL_ALL,    /* init only */
        VERB_EXEC,        /* init only: add or start an exec beside it */
        VERB_EXEC_PAUSED, /* the same, whether init stands still or not */
        VERB_RESIZE,
        VERB_CLOSE_IO,
        VERB_DELETE,
        VERB_PAUSE, /* this and the next two: init only */
        VERB_RESUME,
        VERB_UPDATE,
        /* What happens to it. */
        VERB_STARTED,
        VERB_START_FAILED,
        VERB_PAUSED,
        VERB_PAUSE_FAILED,
        VERB_RESUMED,
        VERB_RESUME_FAILED,
        VERB_EXIT,
        VERB_DELETE_FAILED,
        _PROCESS_VERB_MAX
};

/* The request is in order but too early: to be asked again when the state has changed. */
enum { PROCESS_WAIT = 1 };

/* 0 and the next state, which may be the same; PROCESS_WAIT; or -1 and the refusal. */
int process_next(enum process_kind kind, enum process_state state, enum process_verb verb,
                 enum process_state *ret, struct error *err);

const char *process_state_name(enum process_state state);
