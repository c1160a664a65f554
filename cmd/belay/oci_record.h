/* SPDX-License-Identifier: Apache-2.0
 *
 * What belay notes of a container when it makes it, and the state document of the runtime-spec
 * (runtime.md, "State") that comes of this note and of what the shim says.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"

#include "cmd/belay/container.h"

/* Writes the note into dir; config_json is the container's config.json. */
int oci_record_write(const char *dir, const char *bundle, const char *config_json,
                     struct error *err);

/*
 * The state document, on the heap. dir: where the note lies; without one (a container of
 * containerd's) the bundle's config.json is read. Members of belay's own follow those of the
 * runtime-spec and of runc. status: in place of view's when not NULL.
 */
int oci_state_format(const char *dir, const struct view *view, char **ret, struct error *err);
