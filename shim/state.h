/* SPDX-License-Identifier: Apache-2.0
 *
 * What of the service outlives the process: it is written into the vault (pkg/state) at every
 * transition, before anybody is told, and taken over by the process that comes after an upgrade or
 * a crash. Connections are not in it: pkg/ttrpc keeps those in a region of their own.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

struct shim_server;

/* Writes the present state. A failure is logged, and costs nothing as long as the process lives.
 * Without a vault it does nothing. */
void state_commit(struct shim_server *server);

/* The same at the end of the round, for what happens by itself. */
void state_commit_late(struct shim_server *server);
void state_on_commit_late(struct loop_deferred *deferred);

/*
 * Makes what the vault's state tells of. The server is new. On failure it is to be freed; the
 * descriptors that were taken over until then are closed.
 */
int state_restore(struct shim_server *server, struct error *err);
