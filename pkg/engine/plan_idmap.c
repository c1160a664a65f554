/* SPDX-License-Identifier: Apache-2.0
 *
 * Which ids a bind mount shows (mounts[].uidMappings and gidMappings, options "idmap" and
 * "ridmap"). Without mappings of its own it shows those of the container's user namespace; where
 * there is none either, the entry makes no sense and is refused.
 */
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/engine/plan_private.h"

static int open_cached(struct plan_private *p, const struct idmap *map, struct error *err)
{
        if (p->idmap_fd >= 0 && idmap_is_equal(&p->idmap, map))
                return p->idmap_fd;
        p->idmap_fd = fd_close(p->idmap_fd);
        p->idmap = *map;
        p->idmap_fd = idmap_open(map, err);
        return p->idmap_fd;
}

static struct idmap map_of(const struct oci_mount *in)
{
        return (struct idmap){
                .uids = in->uid_mappings,
                .n_uids = in->n_uid_mappings,
                .gids = in->gid_mappings,
                .n_gids = in->n_gid_mappings,
        };
}

static bool is_wanted(const struct plan *plan, const struct plan_mount *m, size_t index)
{
        return m->options.idmap || plan->spec->mounts[index].n_uid_mappings > 0;
}

int plan_check_idmap(const struct plan *plan, const struct plan_mount *m, size_t index,
                     struct error *err)
{
        if (!is_wanted(plan, m, index))
                return 0;
        if (m->kind != PLAN_MOUNT_BIND)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mounts[%zu]: only a bind mount can be idmapped", index);
        if (plan->spec->mounts[index].n_uid_mappings == 0 && plan->join_fds[OCI_NS_USER] < 0 &&
            !plan_has_new_userns(plan))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mounts[%zu].options: 'idmap' needs uidMappings and gidMappings, "
                                 "or a user namespace",
                                 index);
        return 0;
}

/* A descriptor that stays the plan's, or -1 with err. */
static int find_userns(const struct plan *plan, size_t index, struct error *err)
{
        struct idmap map = map_of(&plan->spec->mounts[index]);

        if (map.n_uids == 0 && plan->join_fds[OCI_NS_USER] >= 0)
                return plan->join_fds[OCI_NS_USER];
        if (map.n_uids == 0)
                map = plan_own_idmap(plan);
        if (open_cached(plan->private_, &map, err) < 0)
                return error_prefix(err, "mounts[%zu].uidMappings", index);
        return plan->private_->idmap_fd;
}

int plan_idmap_tree(const struct plan *plan, const struct plan_mount *m, int tree_fd, size_t index,
                    struct error *err)
{
        int userns;

        if (!is_wanted(plan, m, index))
                return 0;
        userns = find_userns(plan, index, err);
        if (userns < 0)
                return -1;
        if (idmap_apply(tree_fd, userns, m->options.idmap_recursive, err) < 0)
                return error_prefix(err, "mounts[%zu]: bind '%s'", index, m->source);
        return 0;
}
