/* SPDX-License-Identifier: Apache-2.0
 *
 * What of the service outlives the process: it is written into the vault (pkg/state) at every
 * transition, before anybody is told, and taken over by the process that comes after an upgrade or
 * a crash. Connections are not in it: pkg/ttrpc keeps those in a region of their own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

struct Belay__State__V1__Shim;
struct shim_server;
struct vault;

/* What was read by state_restore() for state_resume(). */
struct state_rest {
        uint64_t next_event_seq;
        uint64_t oom_kills;
        bool stopping;
};

/* Writes the present state. A failure is logged, and costs nothing as long as the process lives.
 * Without a vault it does nothing. */
void state_commit(struct shim_server *server);

/* The same at the end of the round, for what happens by itself. */
void state_commit_late(struct shim_server *server);
void state_on_commit_late(struct loop_deferred *deferred);

/* The state as it is in the vault; the caller's to free. NOT_FOUND: none was written. */
int state_read(const struct vault *vault, struct Belay__State__V1__Shim **ret, struct error *err);

/*
 * Makes what the vault's state tells of, without an effect: see shim_server_restore(). The server
 * is new. On failure some of the descriptors that were taken over may be closed.
 */
int state_restore(struct shim_server *server, struct error *err);

/* Lets it go on, settles what was under way, and writes the state as this image's. */
void state_resume(struct shim_server *server);
