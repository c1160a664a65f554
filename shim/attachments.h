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

struct io_ring;
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
        bool leaving; /* the client detaches: no more output, what it typed is still written */
        struct io_ring *replay;   /* what it has asked for of the past; NULL: it has that */
        uint64_t place;           /* in the ring, and in the replay */
        size_t sent;              /* of the chunk at that place */
        struct loop_timer *stall; /* of one that is leaving: it may go */
};

/* For a call whose callbacks are set. NULL without memory. */
struct attachment *attachment_new(struct ttrpc_call *call, struct shim_server *server);

/* The call is gone, or was never answered by an attachment. */
struct attachment *attachment_free(struct attachment *a);

/*
 * Begins: the next thing that a gets is the last replay_bytes of output, once attachment_advance()
 * is called. That is copied, so whoever takes it does not fall behind by it. FAILED_PRECONDITION
 * when the process has not been started or keeps no output to look at, and says why.
 */
int attachment_add(struct attachment *a, struct process *p, uint64_t replay_bytes,
                   struct error *err);

/*
 * What has to be known to go on in another process image, as a message of
 * belay.state.v1.Attach in `note`: its length, or 0 when it has no room. And there, for a new one
 * whose call has that note: 1 when it is attached again, 0 when it had not been yet.
 */
size_t attachment_note(const struct attachment *a, void *note, size_t room);
int attachment_resume(struct attachment *a, const void *note, size_t len, struct error *err);

/* rpc/attach.c: what the client types, in another process image. */
int attachment_restore_stdin(struct attachment *a, const Belay__State__V1__StdinGrants *m,
                             struct error *err);

/* The first half of attachment_add(): it is one of the process's, and has no place yet. */
int attachment_join(struct attachment *a, struct process *p, struct error *err);

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
