/* SPDX-License-Identifier: Apache-2.0
 *
 * An exec whose streams are those of one call (belay.v1's ExecStream). The shim reads the exec's
 * output only while the call has room for it, so nothing is lost and the exec waits for its own
 * client, and for nobody else's. A client that goes away leaves an exec whose stdin ends and whose
 * output is thrown away; in both cases it is deleted when it is over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/io/pump.h"
#include "pkg/loop/loop.h"
#include "pkg/ttrpc/ttrpc.h"

#include "shim/stdin_grants.h"

struct container;
struct process;
struct shim_server;

enum { EXEC_STREAM_OUTPUTS = 2 };

struct exec_output {
        struct exec_stream *stream;
        struct io_source *source; /* NULL: there is none */
        uint8_t number;           /* LOG_STDOUT or LOG_STDERR */
};

struct exec_stream {
        struct shim_server *server;
        struct process *process; /* NULL before it is added */
        struct ttrpc_call *call; /* NULL: the client is gone */
        struct stdin_grants stdin;
        struct exec_output outputs[EXEC_STREAM_OUTPUTS];
        struct loop_timer *drain;
        bool may_resume; /* taken over from another process image, and its call may be, too */
        bool started;    /* and the client was told so */
        bool has_stdin;
        bool stdin_ended;
        int signal;       /* that came while it was being started; 0: none */
        struct error why; /* it could not be started */
};

/* For a call whose callbacks are set. NULL without memory. */
struct exec_stream *exec_stream_new(struct ttrpc_call *call, struct shim_server *server);
struct exec_stream *exec_stream_free(struct exec_stream *s);

/* The call is gone: nobody reads, and nobody writes any more. s may be gone. */
void exec_stream_abandon(struct exec_stream *s);

/* The client sends no more stdin. */
void exec_stream_end_stdin(struct exec_stream *s);

/* The client has taken something, after it had not. s may be gone. */
void exec_stream_on_room(struct exec_stream *s);

/* What happens to a process that has one. */
void exec_stream_started(struct process *p);
void exec_stream_not_started(struct process *p, const struct error *why);

/*
 * ---- In another process image ----
 *
 * The descriptors of the outputs, or -1, are a part of the process's state. Restoring takes them in
 * any case; nothing happens to the stream before it is resumed or settled.
 */
void exec_stream_save(const struct exec_stream *s, int fds[static EXEC_STREAM_OUTPUTS]);
int exec_stream_restore(struct process *p, const int fds[static EXEC_STREAM_OUTPUTS],
                        struct error *err);

/* What its call has to know beside that, as a message of belay.state.v1.ExecStream in `note`: its
 * length, or 0 when it has no room. */
size_t exec_stream_note(const struct exec_stream *s, void *note, size_t room);

/* For a call that has that note: *ret is its stream, or NULL when that had not been started by a
 * request. exec_stream_go_on() is to be called when the call's callbacks are set. */
int exec_stream_resume(struct exec_stream **ret, struct shim_server *server,
                       struct ttrpc_call *call, const void *note, size_t len, struct error *err);
void exec_stream_go_on(struct exec_stream *s);

/* All calls have been resumed that will be: without one, the client is gone. */
void exec_streams_settle(struct container *c);

/* ---- Shared by exec_stream.c and exec_stream_note.c ---- */

extern const struct stdin_grants_ops exec_stream_stdin_ops;

/* -1 without memory. */
int exec_stream_make_drain(struct exec_stream *s);
int exec_stream_open_output_take(struct exec_stream *s, int i, int fd, struct error *err);

/* ---- The end ---- */

/* For every process, also one that has none: it has ended; it is about to be forgotten. */
void exec_stream_advance(struct process *p);
void exec_stream_end(struct process *p);
