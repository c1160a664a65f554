/* SPDX-License-Identifier: Apache-2.0
 *
 * Who looks at a process's output while it runs (belay.v1's Attach). One watch on the process's
 * ring feeds them all, each from a place of its own. Nothing that one of them does or leaves undone
 * is felt by the process or by another: who falls behind what the ring keeps, or takes nothing for
 * LIMIT_ATTACH_STALL_S, is dropped with a text.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/loop/loop.h"
#include "pkg/ttrpc/ttrpc.h"

#include "shim/stdin_grants.h"

struct process;
struct shim_server;

struct attachment {
        struct list node;
        struct shim_server *server;
        struct process *process; /* NULL before it has been added */
        struct ttrpc_call *call;
        struct stdin_grants stdin;
        bool wants_stdout;
        bool wants_stderr;
        bool leaving;   /* the client detaches: no more output, what it typed is still written */
        uint64_t place; /* in the ring */
        size_t sent;    /* of the chunk at that place */
        struct loop_timer *stall; /* of one that is leaving: it may go */
};

/* For a call whose callbacks are set. NULL without memory. */
struct attachment *attachment_new(struct ttrpc_call *call, struct shim_server *server);

/* The call is gone, or was never answered by an attachment. */
struct attachment *attachment_free(struct attachment *a);

/*
 * Begins: the next thing that a gets is the last replay_bytes of output, once attachments_advance()
 * is called. FAILED_PRECONDITION when the process has not been started or keeps no output to look
 * at, and says why.
 */
int attachment_add(struct attachment *a, struct process *p, uint64_t replay_bytes,
                   struct error *err);

/* Sends what there is and what there is room for; ends the stream when it is over: a is gone then.
 */
void attachment_advance(struct attachment *a);

/* The client has taken something, after it had not. */
void attachment_on_room(struct attachment *a);

/* Ends with a failure; a is gone. */
void attachment_fail(struct attachment *a, const struct error *err);

/* Something has happened to the process that they may wait for: its exit, the end of its output. */
void attachments_advance(struct process *p);

/* stdin ends for all of them. */
void attachments_end_stdin(struct process *p);

/* The process is about to be forgotten: all streams end. */
void attachments_end(struct process *p);
