/* SPDX-License-Identifier: Apache-2.0
 *
 * What a hook is told of its container, and a seccomp listener's receiver of a process.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/oci/spec.h"

/* What goes into a hook's stdin (runtime.md, "State"). */
struct hook_state {
        const char *oci_version;
        const char *id;
        const char *status; /* "creating", "created", "running" or "stopped" */
        pid_t pid;          /* as the hook's own pid namespace sees it; 0: left out */
        const char *bundle;
        const struct oci_key_value *annotations;
        size_t n_annotations;
};

/* The state as JSON, from the arena. Strings are taken to be UTF-8, as the parser leaves them. */
int hook_state_format(const struct hook_state *state, struct arena *arena, char **ret_json,
                      struct error *err);

/* The state of one process of the container, for a seccomp listener (runtime-spec, "Container
 * Process State"). pid: the process as we see it; metadata may be NULL. */
int hook_process_state_format(const struct hook_state *state, pid_t pid, const char *metadata,
                              struct arena *arena, char **ret_json, struct error *err);
