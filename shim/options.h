/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of a Create request: containerd.runc.v1.Options, or, from older clients, the
 * containerd.linux.runc.CreateOptions of before.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"

#include "google/protobuf/any.pb-c.h"

struct create_options {
        bool no_pivot_root;
        bool no_new_keyring;
        bool systemd_cgroup;
        uint32_t io_uid;
        uint32_t io_gid;
        const char *binary; /* absolute path of the OCI runtime to use; NULL: the engine */
        const char *root;   /* "" when not given */
};

/*
 * any may be NULL; no value means defaults. Scratch memory comes from the arena. INVALID_ARGUMENT
 * for a type that is not known, by name; an error in Docker's words for a binary that is not there.
 */
int create_options_parse(const Google__Protobuf__Any *any, struct arena *arena,
                         struct create_options *ret, struct error *err);
