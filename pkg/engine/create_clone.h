/* SPDX-License-Identifier: Apache-2.0
 *
 * The birth of a container's init. Usually it is one clone3 by the stage. Two things are not so
 * simple: a pid namespace that is joined takes in only children, and namespaces of the host that a
 * container with a user namespace joins have to be joined before that is made, by a process that
 * will not need the host's any more.
 */
#pragma once

#include "pkg/base/error.h"
#include "pkg/engine/init.h"
#include "pkg/engine/stage.h"

/* Runs init_main(args) in the new process, a child of the shim. v2_dir: see stage_clone(). */
int create_clone(const struct init_args *args, int v2_dir, pid_t *ret_pid, int *ret_pidfd,
                 struct error *err);
