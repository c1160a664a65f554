/* SPDX-License-Identifier: Apache-2.0
 *
 * What an exec may be asked for beyond the fields of the task API. Exec takes it as metadata of the
 * call:
 *
 *   belay-cgroup: [CONTROLLERS:]PATH   a cgroup below the container's; several, one a line
 *   belay-ignore-paused: 1             the container may be paused: Start answers when it goes on
 *   belay-own-child: 1                 the caller awaits its end by Wait, and not as its parent
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/ttrpc/ttrpc.h"

#include "shim/process_state.h"

#define EXEC_CGROUP_KEY        "belay-cgroup"
#define EXEC_IGNORE_PAUSED_KEY "belay-ignore-paused"
#define EXEC_OWN_CHILD_KEY     "belay-own-child"

struct exec_options {
        char *cgroup; /* on the heap; NULL: the container's own. The executor looks at it */
        bool ignore_paused;
        bool own_child; /* as executor_exec has it */
};

int exec_options_of_call(struct exec_options *ret, const struct ttrpc_call *call,
                         struct error *err);

/* The same for a cgroup alone. */
int exec_options_set_cgroup(struct exec_options *options, const char *text, struct error *err);

/* What is asked of the container's init: VERB_EXEC or VERB_EXEC_PAUSED. */
enum process_verb exec_options_verb(const struct exec_options *options);

void exec_options_deinit(struct exec_options *options);
