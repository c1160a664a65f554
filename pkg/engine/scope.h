/* SPDX-License-Identifier: Apache-2.0
 *
 * A container's scope: asking systemd for it, from a stage. systemd is not spoken to in here; each
 * request is one run of belay-systemd, which lies beside the shim.
 *
 * A scope is born with a process in it and ends when it is empty. The container's init is cloned
 * into a cgroup that is there, so somebody must hold the scope until init is in it: the keeper, a
 * child of the stage that does nothing but wait for a pipe's end. It is nobody else's child, and it
 * dies with the stage.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/cgroup/systemd.h"
#include "pkg/oci/spec.h"

struct scope_keeper {
        pid_t pid; /* 0: none */
        int pipe;  /* it ends when this is closed */
};

/*
 * Starts the unit with a keeper in it, and says no if systemd has put it elsewhere than cg has it.
 * After a failure there is neither keeper nor unit. helper: the path of belay-systemd. The keeper
 * counts as a task: a limit of one is widened for as long as it is there.
 */
struct scope_start {
        const char *helper; /* NULL: nobody knows where it is */
        const struct systemd_unit *unit;
        const struct cgroup *cgroup;
        const struct oci_spec *spec;
};
int scope_start(const struct scope_start *start, struct arena *arena, struct scope_keeper *ret,
                struct error *err);

/* The limits that are to be set while the keeper is there; true if they are not those of r. */
bool scope_widen(const struct oci_resources *r, struct oci_resources *ret);

/* Waits for its end. Nothing if there is none (any more). */
void scope_keeper_end(struct scope_keeper *keeper);

/* Writes changed limits and tells systemd of them; what one of the two refuses is set back. */
int scope_update(const char *helper, const struct cgroup *cg, const struct oci_resources *r,
                 struct arena *arena, struct error *err);

/* Ends the unit, whatever is left of it. timeout_ms: of systemd's answer. */
enum { SCOPE_TIMEOUT_MS = 90000 };
int scope_stop(const char *helper, const struct cgroup *cg, int timeout_ms, struct arena *arena,
               struct error *err);
