/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program does for each action word. Each function returns 0 or -1 with a text; main()
 * prints that and chooses the exit status.
 */
#pragma once

#include "pkg/base/error.h"

#include "cmd/containerd-shim-belay-v2/options.h"

/* `start`: binds the socket, starts the daemon, prints its address. cwd is the bundle. */
int action_start(const struct options *options, struct error *err);

/* The daemon: serves until there is nothing left to serve. cwd is the bundle. */
int action_serve(const struct options *options, struct error *err);

/* `check-state`: what `serve` would do first with the state, without an effect; see reexec.h. */
int action_check_state(const struct options *options, struct error *err);

/* `delete`: cleans up behind a container whose shim is gone; prints a DeleteResponse. */
int action_delete(const struct options *options, struct error *err);

/* `-info`: prints a RuntimeInfo; reads options from standard input. */
int action_info(const struct options *options, struct error *err);

/* `-v` and `-version`. */
int action_version(const struct options *options, struct error *err);
