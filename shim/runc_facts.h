/* SPDX-License-Identifier: Apache-2.0
 *
 * What the shim must know at once about a container that a runtime binary has made: asked of the
 * kernel, since a run of the binary takes too long, and config.json is not for the shim to read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/cgroup/cgroup.h"

struct runc_facts {
        struct arena *arena; /* holds what follows; NULL: that is not known */
        struct cgroup cgroup;
        bool has_private_pid;
};

/* Of the init, when it has just been made. A cgroup that cannot be found is a warning in the log.
 */
void runc_facts_read(struct runc_facts *facts, pid_t pid);

/* As they were saved in another image of this process: text is that of cgroup_format(), or "". */
int runc_facts_restore(struct runc_facts *facts, const char *text, bool has_private_pid,
                       struct error *err);
void runc_facts_deinit(struct runc_facts *facts);

/* As in executor_ops. */
const struct cgroup *runc_facts_cgroup(const struct runc_facts *facts);

/* Of a pause that has failed. */
void runc_facts_thaw(const struct runc_facts *facts);
