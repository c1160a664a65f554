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

/* The descriptors of the outputs, or -1, for another process of this shim; and there: the client is
 * gone, as exec_stream_abandon() has it. They are taken in any case. */
void exec_stream_save(const struct exec_stream *s, int fds[static EXEC_STREAM_OUTPUTS]);
int exec_stream_resume(struct process *p, const int fds[static EXEC_STREAM_OUTPUTS],
                       struct error *err);

/* For every process, also one that has none: it has ended; it is about to be forgotten. */
void exec_stream_advance(struct process *p);
void exec_stream_end(struct process *p);
