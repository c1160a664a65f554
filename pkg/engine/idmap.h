/* SPDX-License-Identifier: Apache-2.0
 *
 * Maps of ids for user namespaces and idmapped mounts. The kernel takes the map of a mount as a
 * user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP, Linux 5.12); where there is none, a child
 * that lives for a moment makes one. For stages: it forks and waits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/oci/spec.h"

/* As in user_namespaces(7): an id of the file system (container_id) appears as host_id. */
struct idmap {
        const struct oci_id_mapping *uids;
        size_t n_uids;
        const struct oci_id_mapping *gids;
        size_t n_gids;
};

bool idmap_is_equal(const struct idmap *a, const struct idmap *b);

/* Writes uid_map and gid_map of a process that is alone in its new user namespace. */
int idmap_write(pid_t pid, const struct idmap *map, struct error *err);

/* A user namespace with these maps and without a process; its descriptor, or -1 with err. */
int idmap_open(const struct idmap *map, struct error *err);

/* Gives a mount that is not attached yet the map of a user namespace. -1 with err. */
int idmap_apply(int tree_fd, int userns_fd, bool recursive, struct error *err);
