/* SPDX-License-Identifier: Apache-2.0
 *
 * The birth of an exec'd process. It is seen in the container from its first moment, and a
 * container with CAP_SYS_PTRACE may look into it, dumpable or not: through /proc/PID/root, cwd and
 * fd it would have the host's files (CVE-2016-9962). So a process in between, which the container
 * cannot see, joins everything and closes everything first.
 */
#pragma once

#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/engine/init.h"

/* What a process in between does: sock is its end of a socket to the stage, which hears CLONED from
 * it, with the pidfd, or ERROR. */
_Noreturn void exec_go_between(const struct init_args *args, int sock);

/* The stage's end of that. */
int exec_hear_cloned(int sock, pid_t *ret_pid, int *ret_pidfd, struct error *err);
