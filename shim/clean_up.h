/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking away what a runtime binary has made, or half made, for a container of which no process
 * knows any more: for the `delete` action, and after a crash that has interrupted a Create. What
 * the engine has made, and the mounts of both, are engine_cleanup()'s.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"

/*
 * Nothing to do, and a success, where the files in the shim's directory name no runtime. Blocks
 * until deadline_ns (CLOCK_MONOTONIC), and a moment longer. A runtime that has not ended then is
 * killed, and what it keeps stays.
 */
int shim_clean_up_runtime(const char *dir, const char *runtime_namespace, const char *id,
                          uint64_t deadline_ns, struct error *err);

/* False if there is nothing more to take away than mounts, by the files in the shim's directory. */
bool shim_clean_up_is_due(int dir_fd);
