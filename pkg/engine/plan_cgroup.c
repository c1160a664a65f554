/* SPDX-License-Identifier: Apache-2.0
 *
 * The container's own control groups for a mount of type cgroup: cloned as detached trees from the
 * directories that the stage has made, so that nothing above them can be reached.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/plan_private.h"

int plan_set_cgroup(struct plan *plan, const struct cgroup *cg, struct error *err)
{
        struct plan_private *p = plan->private_;
        bool has_v1 = false;

        if (!p->wants_cgroup)
                return 0;
        for (size_t i = 0; i < cg->n_dirs; i++) {
                const struct cgroup_dir *dir = &cg->dirs[i];
                struct plan_cgroup_dir *out = &p->cgroup_dirs[p->n_cgroup_dirs];

                out->tree_fd = open_tree(AT_FDCWD, dir->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
                if (out->tree_fd < 0)
                        return error_errno(err, errno, "open cgroup '%s'", dir->path);
                p->n_cgroup_dirs++;
                out->links = "";
                if (dir->is_v2) {
                        out->name = "unified";
                } else if (str_has_prefix(dir->controllers, "name=")) {
                        out->name = dir->controllers + 5;
                        has_v1 = true;
                } else {
                        out->name = dir->controllers;
                        has_v1 = true;
                        if (strchr(dir->controllers, ','))
                                out->links = dir->controllers;
                }
        }
        p->cgroup_is_unified = !has_v1;
        return 0;
}
