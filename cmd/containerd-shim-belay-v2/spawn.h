/* SPDX-License-Identifier: Apache-2.0
 *
 * From the start helper to the daemon: one fork, one execve of the sealed binary.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/error.h"

#include "cmd/containerd-shim-belay-v2/options.h"

/* The daemon finds its listening socket here, as the stock shim does. */
enum { SPAWN_SOCKET_FD = 3 };

/*
 * Starts the daemon in our working directory, in a process group of its own, with our environment.
 * Returns when its execve has succeeded, or with the reason why not. socket_fd is borrowed.
 * *ret_pid is our child; nobody needs to wait for it, since we end before it does.
 */
int daemon_spawn(const struct options *options, bool debug, int socket_fd, pid_t *ret_pid,
                 struct error *err);

/* The daemon's command line; the number of its words. */
enum { DAEMON_ARGS_MAX = 10 };
size_t daemon_argv(const struct options *options, const char *self, bool debug,
                   const char *argv[static DAEMON_ARGS_MAX]);

/* In the daemon: takes what daemon_spawn() added for it out of the environment, which hooks and
 * runtimes get from here. */
void daemon_clean_environment(void);
