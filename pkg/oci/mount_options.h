/* SPDX-License-Identifier: Apache-2.0
 *
 * Options of mounts, as mount(8) names them, into flags. Pure. Used for the mounts of config.json
 * and for the rootfs mounts of a Create request, which know fewer words.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"

struct oci_mount_options {
        unsigned long flags;   /* MS_*: to be set; MS_BIND and MS_REC among them */
        unsigned long cleared; /* MS_* that were turned off by name ("rw", "suid", "exec", "dev") */
        unsigned long propagation; /* one of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, with
                                      MS_REC; 0: none given */
        uint64_t attr_rec_set;     /* MOUNT_ATTR_* of "rro", "rnosuid", … */
        uint64_t attr_rec_clear;
        bool is_bind;
        bool tmpcopyup; /* a tmpfs begins with what it covers */
        bool idmap;     /* "idmap" or "ridmap" */
        bool idmap_recursive;
        char *data; /* what is left, joined by commas: the file system's own options; "" if nothing
                     */
};

/* The ~45 names of the runtime-spec. data longer than a page (4095 bytes) is
 * STATUS_INVALID_ARGUMENT. */
int oci_mount_options_parse(const char *const *options, size_t n, struct arena *arena,
                            struct oci_mount_options *ret, struct error *err);

/* The names that are known, in the order of a table; NULL past the last one. */
const char *oci_mount_option_name(size_t index);
