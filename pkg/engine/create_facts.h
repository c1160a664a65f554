/* SPDX-License-Identifier: Apache-2.0
 *
 * What the stage of a Create tells the shim of the container, for what the shim will do with it
 * later: which namespaces an exec has to join, the seccomp filter, and config.json where hooks or a
 * listener will need it again.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/engine/stage.h"
#include "pkg/oci/spec.h"

struct plan;

struct create_facts {
        const struct oci_spec *spec;
        const struct plan *plan;
        const char *config; /* the document as it was read */
        size_t config_len;
};

/* *ret_namespaces: CLONE_NEW*, as the shim has been told. */
int create_facts_send(const struct create_facts *of, struct stage *stage, uint64_t *ret_namespaces,
                      struct error *err);
