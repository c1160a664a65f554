/* SPDX-License-Identifier: Apache-2.0
 *
 * The mounts of a Create request, onto <bundle>/rootfs in the shim's own mount namespace. Their
 * options are containerd's, which are fewer and partly other words than the runtime-spec's (see
 * pkg/oci/mount_options.h). `uidmap=` and `gidmap=` map the ids of a bind's source or of an
 * overlay's lower directories. What containerd knows and belay does not support yet is refused by
 * name: `loop`, id maps for other types, and types that begin with `fuse.` or `fuse3.`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/engine/engine.h"
#include "pkg/engine/idmap.h"

struct rootfs_mount_options {
        unsigned long flags; /* MS_* */
        char *data;          /* "" if nothing is left */
        struct idmap idmap;  /* of uidmap= and gidmap=; n_uids == 0: none */
};

/* Pure. */
int rootfs_mount_options_parse(const struct engine_mount *mount, struct arena *arena,
                               struct rootfs_mount_options *ret, struct error *err);

/*
 * The same data with lower directories relative to their common parent, which is *ret_dir; for
 * overlays whose options do not fit into a page. *ret_dir is NULL if they have no common parent but
 * "/". Pure.
 */
int rootfs_overlay_shorten(const char *data, struct arena *arena, char **ret_dir, char **ret_data,
                           struct error *err);

/*
 * Mounts all in order. Changes the working directory. After a failure the mounts before it are
 * there still: rootfs_unmount() takes them away.
 */
int rootfs_mount(const char *rootfs, const struct engine_mount *mounts, size_t n,
                 struct arena *arena, struct error *err);

/* True if a mount has a target below the rootfs. */
bool rootfs_mounts_are_nested(const struct engine_mount *mounts, size_t n);

enum rootfs_unmount_how {
        /* The rootfs itself; what is below it, too, if that turns out to be in the way. */
        ROOTFS_UNMOUNT_SIMPLE,
        /* Everything at or below it. */
        ROOTFS_UNMOUNT_NESTED,
        /* The same, and what stays busy is detached. */
        ROOTFS_UNMOUNT_LAZY,
};

/*
 * Takes away every mount on the path, however many lie on top of each other. EBUSY is retried for
 * 2.5 s (50 times). A path that does not exist or is no mount point is a success; symbolic links
 * are not followed.
 */
int rootfs_unmount(const char *rootfs, enum rootfs_unmount_how how, struct error *err);
