/* SPDX-License-Identifier: Apache-2.0
 *
 * The name under which this program runs: it may be installed as containerd-shim-runc-v2 or
 * anything else.
 */
#pragma once

/* Its absolute path, on the heap; "containerd-shim-belay-v2" where /proc does not tell, as in a
 * sealed daemon. NULL without memory. */
char *self_path(void);

/* The path of a program in the same directory, on the heap; NULL if that is not known. argv0: of a
 * sealed daemon, to which `start` has given its own path. */
char *self_sibling(const char *argv0, const char *name);

/* The last component of a path; points into it. */
const char *path_basename(const char *path);
