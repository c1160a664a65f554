/* SPDX-License-Identifier: Apache-2.0
 *
 * The container: its init, its execs, and the executor's side of it. It exists from the moment a
 * Create is accepted; clients see it (server->container) only once the Create has succeeded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/list.h"
#include "pkg/loop/loop.h"

#include "shim/process.h"

struct oom;
struct shim_server;

struct container {
        struct shim_server *server;
        struct list node; /* in the server's graveyard */
        char *id;
        char *bundle;
        const struct executor *executor; /* the engine, or the runtime that the Create names */
        struct executor_container *impl;
        uint32_t io_uid; /* who gets the FIFOs of its processes; both 0: nobody is to */
        uint32_t io_gid;
        struct process *init;
        struct list execs;
        size_t n_execs;
        size_t n_live_execs; /* being started, or started and their exit not told */

        bool init_reaped;     /* no exec is started any more */
        bool rest_is_due;     /* what init has left is to be killed, or is being killed */
        bool is_unwanted;     /* killed, or to be deleted, while it was being started */
        bool execs_wait_over; /* init's exit waits for those of execs no longer */
        struct loop_timer *execs_wait;
        struct oom *oom; /* NULL: OOM kills are not seen */

        struct cgroup_stats_reader *stats; /* made by the first Stats */
        struct pids *pids;                 /* made by the first Pids that needs a stage */

        size_t n_jobs; /* calls of the executor that have not completed */

        /* A Pause or a Resume under way. */
        struct ttrpc_call *freeze;
        struct executor_job *freeze_job; /* the executor's part of it; NULL: none */
        bool freeze_aborted;             /* what it fails with is of no matter */

        /* An Update under way. */
        struct ttrpc_call *update;
        struct executor_job *update_job;

        /* Create under way. */
        struct ttrpc_call *create;
        const Containerd__Task__V2__CreateTaskRequest *create_request; /* lives with the call */
        const struct create_options *create_options;                   /* likewise */
        struct executor_job *create_job;
        bool has_files; /* init.pid and the record are written; a failure takes them away */
        struct error create_error;  /* what undoing it is for */
        struct loop_timer *readers; /* looks whether clients have opened their FIFOs */
        uint64_t readers_until_ns;
};

/* bundle: where config.json lies. NULL and err on failure. */
struct container *container_new(struct shim_server *server, const char *id, const char *bundle,
                                struct error *err);

/* Frees all processes, too. With jobs under way the executor's container is left alone. */
struct container *container_free(struct container *container);

/* Ends the streams of belay.v1 that look at its processes; the processes go on. */
void container_end_streams(struct container *container);

/* A borrowed exec, or NULL. */
struct process *container_find_exec(const struct container *container, const char *exec_id);

/* The same, or the init without an exec_id (NULL or ""). */
struct process *container_find_process(const struct container *container, const char *exec_id);

/* Every call of the executor that completes later is counted, since its container must outlive it.
 */
void container_job_begin(struct container *container);
void container_job_end(struct container *container);
