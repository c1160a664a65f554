/* SPDX-License-Identifier: Apache-2.0
 *
 * See clean_up.h. The runtime's own forced delete comes first; a runtime that was killed while it
 * made the container may know of no cgroup, though it has made one.
 */
#include "shim/clean_up.h"

#include "pkg/engine/engine.h"
#include "pkg/runc/runc.h"

enum { CGROUP_MS = 250 }; /* who is still in it is ending */

int shim_clean_up_runtime(const char *dir, const char *runtime_namespace, const char *id,
                          uint64_t deadline_ns, struct error *err)
{
        int r = runc_cleanup(dir, runtime_namespace, id, deadline_ns, err);

        /* After a failure it is the runtime that has to be asked again, and may need its cgroup. */
        return r > 0 ? engine_foreign_cleanup(dir, CGROUP_MS, err) : r;
}

bool shim_clean_up_is_due(int dir_fd)
{
        return engine_has_state(dir_fd) || runc_has_files(dir_fd);
}
