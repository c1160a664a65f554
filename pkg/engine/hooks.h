/* SPDX-License-Identifier: Apache-2.0
 *
 * OCI hooks (runtime-spec config.md, "POSIX-platform Hooks"): a program with exactly the arguments
 * that the configuration gives it, and the environment if it gives one, the container's state on
 * its stdin, and a time limit. Blocking: hooks run in a stage or in the container's init, never in
 * the shim.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/engine/hook_state.h"
#include "pkg/oci/spec.h"

struct hook_context {
        const char *kind; /* "prestart" and so on, for messages */
        const char *state_json;
        const char *cwd; /* NULL: where the caller is */

        /*
         * Of hooks whose configuration does not say: the runtime's own for the host's programs, the
         * process's for startContainer. Never the process's for one of the host's (an image could
         * name its LD_PRELOAD: CVE-2025-23266). NULL: empty.
         */
        char *const *default_env;

        /* CLOCK_MONOTONIC: when a hook that has no timeout of its own is ended; 0: never. */
        uint64_t deadline_ns;

        /* The same for any: it is ended then, and none is begun; 0: never. */
        uint64_t final_ns;

        /* Called with the hook's process group, by the hook's process before it executes its
         * program and by the caller of hooks_run(), and with 0 when it has ended; NULL: not wanted.
         */
        void (*on_group)(pid_t group, void *userdata);
        void *userdata;
};

/*
 * Runs one hook to its end. A hook that fails, is killed or takes too long (then its process group
 * is killed) is an error that tells its path, how it ended and the end of what it wrote.
 */
int hook_run(const struct oci_hook *hook, const struct hook_context *context, struct error *err);

/* Runs them in order, until one fails. */
int hooks_run(const struct oci_hook_list *hooks, const struct hook_context *context,
              struct error *err);
