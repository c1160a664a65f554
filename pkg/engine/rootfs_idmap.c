/* SPDX-License-Identifier: Apache-2.0
 *
 * Mapped ids of rootfs mounts: see rootfs_idmap.h. An overlay takes mapped lower directories only
 * from a mount that is attached somewhere; the rootfs itself is the one place that is the
 * container's own already.
 */
#include "pkg/engine/rootfs_idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

enum { MAPPINGS_MAX = 340 }; /* user_namespaces(7) */

/* Cuts "1:2:3" off the text, at a comma or the end. */
static int parse_triple(char **text, struct oci_id_mapping *ret)
{
        uint32_t *const fields[] = {&ret->container_id, &ret->host_id, &ret->size};

        for (size_t i = 0; i < 3; i++) {
                size_t n = strcspn(*text, i < 2 ? ":" : ",");
                char *number = *text;
                uint64_t value = 0;
                bool is_last = number[n] == '\0';

                if (is_last && i < 2)
                        return -EINVAL;
                number[n] = '\0';
                *text = number + n + (is_last ? 0 : 1);
                if (str_to_u64(number, &value) < 0 || value >= UINT32_MAX)
                        return -EINVAL;
                *fields[i] = (uint32_t)value;
        }
        /* neither range may reach (uid_t)-1 */
        return ret->size == 0 || ret->size > UINT32_MAX - ret->container_id ||
                               ret->size > UINT32_MAX - ret->host_id
                       ? -EINVAL
                       : 0;
}

static int parse_list(const char *option, struct arena *arena, struct oci_id_mapping **ret,
                      size_t *ret_n, struct error *err)
{
        char *text = arena_strdup(arena, strchr(option, '=') + 1);
        struct oci_id_mapping *maps = NULL;
        size_t n = 1;

        for (const char *s = option; *s; s++)
                n += *s == ',';
        if (n <= MAPPINGS_MAX)
                maps = arena_calloc(arena, n, sizeof(*maps));
        if (n > MAPPINGS_MAX || (text && maps && *text == '\0'))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mount option '%s': not a list of mappings", option);
        if (!text || !maps)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "mount options: no memory");
        for (size_t i = 0; i < n; i++) {
                if (parse_triple(&text, &maps[i]) < 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "mount option '%s': mapping %zu is not id:id:size", option,
                                         i);
        }
        *ret = maps;
        *ret_n = n;
        return 0;
}

int rootfs_idmap_option(const char *option, struct arena *arena, struct idmap *map,
                        struct error *err)
{
        struct oci_id_mapping *maps = NULL;
        bool is_uid = str_has_prefix(option, "uidmap=");
        size_t n = 0;

        if (!is_uid && !str_has_prefix(option, "gidmap="))
                return 0;
        if (parse_list(option, arena, &maps, &n, err) < 0)
                return -1;
        if (is_uid) {
                map->uids = maps;
                map->n_uids = n;
        } else {
                map->gids = maps;
                map->n_gids = n;
        }
        return 1;
}

int rootfs_idmap_apply(const struct idmap *map, int tree, bool recursive, struct error *err)
{
        _cleanup_close_ int userns = -1;

        if (map->n_uids == 0)
                return 0;
        userns = idmap_open(map, err);
        return userns < 0 ? -1 : idmap_apply(tree, userns, recursive, err);
}

int rootfs_idmap_overlay(int target, struct arena *arena, struct rootfs_mount_options *o,
                         struct error *err)
{
        _cleanup_close_ int tree = -1;
        char *dir = NULL;

        if (o->idmap.n_uids == 0)
                return 0;
        if (rootfs_overlay_shorten(o->data, arena, &dir, &o->data, err) < 0)
                return -1;
        if (!dir)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "uidmap= is not supported for lower directories without a common "
                                 "parent");
        tree = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (tree < 0)
                return error_errno(err, errno, "open '%s'", dir);
        if (mount_setattr(tree, "", AT_EMPTY_PATH, &(struct mount_attr){.propagation = MS_PRIVATE},
                          sizeof(struct mount_attr)) < 0)
                return error_errno(err, errno, "make '%s' private", dir);
        if (rootfs_idmap_apply(&o->idmap, tree, false, err) < 0)
                return error_prefix(err, "lower directories below '%s'", dir);
        if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return error_errno(err, errno, "mount '%s'", dir);
        if (fchdir(tree) < 0)
                return error_errno(err, errno, "change to directory '%s'", dir);
        return 0;
}
