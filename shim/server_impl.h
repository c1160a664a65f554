/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of the server, for the files of shim/ only.
 */
#pragma once

#include "pkg/loop/loop.h"
#include "pkg/ttrpc/ttrpc.h"

#include "shim/container.h"
#include "shim/publisher.h"
#include "shim/server.h"
#include "shim/service.h"
#include "shim/state.h"
#include "shim/upgrade.h"

struct shim_server {
        struct loop *loop;
        struct reaper *reaper;
        const struct executor *executor;
        const struct executor *binary_executor;
        char *runtime_namespace;
        char *id;
        char *bundle;
        int bundle_fd; /* records and events survive a rename of the directory */
        struct shim_times times;
        void (*on_closing)(void *userdata);
        void (*on_finished)(void *userdata);
        void *userdata;

        struct ttrpc_server *ttrpc;
        ttrpc_handler handlers[SERVICE_METHODS_MAX];
        ttrpc_handler belay_handlers[SERVICE_BELAY_METHODS_MAX];
        enum ttrpc_kind belay_kinds[SERVICE_BELAY_METHODS_MAX];
        struct vault *vault;    /* NULL: nothing is kept for another process */
        int listen_fd;          /* the last one; it is the ttrpc server's. -1: none */
        bool was_upgraded;      /* see server.h */
        bool restoring;         /* the vault's state is being taken over: none is written */
        struct state_rest rest; /* between restore and resume */
        struct state state;     /* what of it the vault has */
        const char *version;
        char *previous; /* that of the image before; NULL: there was none */
        const struct shim_upgrade_ops *upgrade_ops;
        struct upgrade upgrade;
        size_t n_logs; /* readers of logs, each a process */
        struct publisher *publisher;

        struct container *creating;  /* a Create is under way; not seen by clients */
        struct container *container; /* the one that clients see */

        /* What is freed at the end of the round, since a callback of it may be on the stack. */
        struct list dead_processes;
        struct list dead_containers;
        struct loop_deferred bury;

        struct loop_timer *lifetime; /* runs while there is nothing to serve */
        uint64_t events_until_ns; /* so long it waits for containerd to take events; 0: there were
                                   * none when it was over */
        bool had_container;

        bool stopping;
        bool stop_time_over;
        bool closed;   /* no listener any more */
        bool finished; /* on_finished has run, or will at the end of the round */
        struct loop_timer *stop_timer;
        struct loop_deferred finish;
        int retired_fd; /* of the last OOM watch, closed at the end (oom.c); -1 */
};

/* To be freed at the end of the round. The process must not be its container's any more. */
void server_bury_process(struct shim_server *server, struct process *process);
void server_bury_container(struct shim_server *server, struct container *container);

/* Looks whether a stop that is under way has come to its end. */
void server_advance_stop(struct shim_server *server);

/* Something has happened: the time without anything to serve begins anew, or ends. */
void lifetime_touch(struct shim_server *server);
void lifetime_on_timer(struct loop_timer *timer, void *userdata);
