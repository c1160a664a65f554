/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the compiler of filters in a child process, within a limit of CPU time, and takes what it
 * made.
 */
#pragma once

#include "pkg/engine/seccomp_cache.h"

typedef int (*seccomp_compile_fn)(const struct seccomp_input *input, struct arena *arena,
                                  struct sock_fprog *ret, struct error *err);

/* Blocking, for a stage: it waits for a child of its own. The filter is from the arena; errors are
 * fn's, or tell that it did not come to an end. */
int seccomp_apart(seccomp_compile_fn fn, const struct seccomp_input *input, struct arena *arena,
                  struct sock_fprog *ret, struct error *err);
