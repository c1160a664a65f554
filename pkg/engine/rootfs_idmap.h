/* SPDX-License-Identifier: Apache-2.0
 *
 * `uidmap=` and `gidmap=` among the options of a rootfs mount: containerd's way to share the layers
 * of an image between containers whose user namespaces differ.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/engine/rootfs_mounts.h"

/* 1: the option was one of the two and is in map now; 0: it is another one; -1 with err. Pure. */
int rootfs_idmap_option(const char *option, struct arena *arena, struct idmap *map,
                        struct error *err);

/* Maps the ids of a tree that is not attached yet; nothing to do for an empty map. */
int rootfs_idmap_apply(const struct idmap *map, int tree, bool recursive, struct error *err);

/*
 * For an overlay with a map: mounts the parent of its lower directories, mapped, on target, makes
 * it the working directory and the lower directories relative to it. The overlay itself is to be
 * mounted over it; it stays below, out of reach, and goes when the rootfs is unmounted.
 */
int rootfs_idmap_overlay(int target, struct arena *arena, struct rootfs_mount_options *o,
                         struct error *err);
