/* SPDX-License-Identifier: Apache-2.0
 *
 * The cgroup of a container that is being created: where it is to be, its directories or its scope,
 * its limits. Part of the stage of a Create, which has filled in the first half of the struct.
 *
 * The shim and the file in the bundle know of each directory before it is made (`text`, and
 * state->cgroup), so that either can remove it should the stage die.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/cgroup/systemd.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/scope.h"
#include "pkg/engine/stage.h"
#include "pkg/engine/state.h"
#include "pkg/oci/spec.h"

struct plan;

struct create_cgroup {
        struct stage *stage;
        const struct engine_container *container;
        const struct oci_spec *spec;
        bool is_systemds; /* which then makes a scope */
        struct engine_state *state;
        int state_fd;

        struct cgroup cgroup;
        struct cgroup_join join;
        char *text; /* of what there is to be removed; NULL: nothing */
        struct systemd_unit unit;
        struct scope_keeper keeper;
};

/* With the limits in it, but for device rules, and given to whom the plan says. After a failure
 * `text` and the keeper are what the caller has to end. */
int create_cgroup_make(struct create_cgroup *cc, const struct plan *plan, struct error *err);

/* Device rules, which only a program could break: before init is let go, but it may have been
 * cloned, and then what it has to do in the meantime is not kept back. */
int create_cgroup_set_devices(const struct create_cgroup *cc, struct error *err);

/* True if create_cgroup_release() has something to do. */
bool create_cgroup_has_keeper(const struct create_cgroup *cc);

/* Once init is in the cgroup: ends the keeper, and sets the limits that were wider because of it.
 */
int create_cgroup_release(struct create_cgroup *cc, struct error *err);
