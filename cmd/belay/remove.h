/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a container, in the order in which containerd does it: Delete, Shutdown, the shim's
 * delete action, the bundle.
 */
#pragma once

#include "pkg/base/error.h"

#include "cmd/belay/args.h"
#include "cmd/belay/container.h"

/* Asks the shim to delete the container, and to end. A running one is an error. */
int container_remove(struct container *c, const struct args *args, struct error *err);

/* For a container that could not be created or started: whatever is left of it, without complaint.
 * task may be NULL. */
void container_discard(struct task *task, const struct args *args, const char *bundle);
