/* SPDX-License-Identifier: Apache-2.0
 *
 * What of the service outlives the process: it is written into the vault (pkg/state) at every
 * transition, before anybody is told, and taken over by the process that comes after an upgrade or
 * a crash. Connections are not in it: pkg/ttrpc keeps those in a region of their own.
 *
 * A commit writes what has changed. The server, the container and its init are looked at each time;
 * an exec is one of thousands, and whoever changes what is saved of it says so with state_touch().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/cgroup/oom.h"
#include "pkg/loop/loop.h"

struct Belay__State__V1__Shim;
struct container;
struct process;
struct shim_server;
struct vault;

/* What was read by state_restore() for state_resume(). */
struct state_rest {
        struct cgroup_oom_past oom;
        bool stopping;
};

/* In struct process: the form of it that was written last. */
struct state_entry {
        struct list node; /* among the touched */
        uint64_t key;     /* for life, counted up; 0: it was forgotten */
        uint64_t sum;
        size_t len; /* 0: never written */
};

/* In struct shim_server. */
struct state {
        struct list touched; /* execs */
        uint64_t last_key;
        uint64_t gone;                     /* key of an exec that was forgotten; 0: none */
        const struct container *container; /* of which all that is written tells */
        uint64_t shim_sum;                 /* of what is written of all but the processes */
        size_t shim_len;
        size_t processes_len; /* of what is written of them, without what is out of date */
        bool is_stale;        /* to be written as a whole */
        bool has_failed;      /* the present failure is in the log */
        struct loop_deferred late;
};

void state_init(struct state *state);

/* A process is made: it gets its key. */
void state_entry_init(struct state *state, struct state_entry *entry);

/* A process of an earlier process image keeps the one that it had. */
void state_entry_restore(struct state *state, struct state_entry *entry, uint64_t key);

/* The process has changed: the next commit writes it. */
void state_touch(struct process *process);

/* The process is no more: the next commit writes that. */
void state_forget(struct process *process);

/* Writes what has changed. A failure is logged, and costs nothing as long as the process lives: the
 * next commit writes everything. Without a vault it does nothing. */
void state_commit(struct shim_server *server);

/* Writes everything, whatever has changed. */
void state_commit_all(struct shim_server *server);

/* A commit at the end of the round, for what happens by itself; also of a process that is touched.
 */
void state_commit_late(struct shim_server *server);
void state_touch_late(struct process *process);

/* The state as it is in the vault, processes included, in the order in which they were made; the
 * caller's to free. NOT_FOUND: none was written. */
int state_read(const struct vault *vault, struct Belay__State__V1__Shim **ret, struct error *err);

/*
 * Makes what the vault's state tells of, without an effect: see shim_server_restore(). The server
 * is new. On failure some of the descriptors that were taken over may be closed.
 */
int state_restore(struct shim_server *server, struct error *err);

/* Lets it go on, settles what was under way, and writes the state as this image's. */
void state_resume(struct shim_server *server);
