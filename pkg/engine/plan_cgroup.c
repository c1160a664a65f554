/* SPDX-License-Identifier: Apache-2.0
 *
 * The container's own control groups for a mount of type cgroup: cloned as detached trees from the
 * directories that the stage has made, so that nothing above them can be reached. On v2 alone, a
 * container in the host's cgroup namespace gets the host's tree instead, as runc and crun have it:
 * its /proc/self/cgroup names paths of that tree. (Privileged pods are made so.)
 */
#include <string.h>
#include <sys/mount.h>

#include "pkg/base/str.h"
#include "pkg/engine/plan_private.h"

void plan_set_cgroup(struct plan *plan, const struct cgroup *cg)
{
        struct plan_private *p = plan->private_;
        bool has_v1 = false;

        if (!p->wants_cgroup)
                return;
        for (size_t i = 0; i < cg->n_dirs; i++) {
                const struct cgroup_dir *dir = &cg->dirs[i];
                struct plan_cgroup_dir *out = &p->cgroup_dirs[p->n_cgroup_dirs++];

                out->path = dir->path;
                out->tree_fd = -1;
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
        /* A clone, and no new mount of cgroup2, which would reset the host's nsdelegate and
         * memory_recursiveprot. */
        if (p->cgroup_is_unified && !p->has_cgroup_namespace && !p->has_user_namespace)
                p->cgroup_dirs[0].path = "/sys/fs/cgroup";
}

static bool has_writable_cgroup(const struct plan_private *p)
{
        for (size_t i = 0; i < p->n_mounts; i++) {
                if (p->mounts[i].kind == PLAN_MOUNT_CGROUP &&
                    !(p->mounts[i].attr_set & MOUNT_ATTR_RDONLY))
                        return true;
        }
        return false;
}

bool plan_owns_cgroup(const struct plan *plan, uid_t *ret)
{
        const struct oci_linux *l = &plan->spec->linux_;
        const struct oci_namespace *ns = &l->namespaces[OCI_NS_CGROUP];
        uint32_t uid = plan->spec->process.user.uid;

        if (!plan_has_new_userns(plan) || !ns->present || ns->path ||
            !has_writable_cgroup(plan->private_))
                return false;
        for (size_t i = 0; i < l->n_uid_mappings; i++) {
                const struct oci_id_mapping *m = &l->uid_mappings[i];

                if (uid >= m->container_id && uid - m->container_id < m->size) {
                        *ret = m->host_id + (uid - m->container_id);
                        return true;
                }
        }
        return false;
}
