/* SPDX-License-Identifier: Apache-2.0
 *
 * The stdio of one process, as the client of the task API asked for it.
 *
 * - nothing: /dev/null, opened read-write.
 *
 * - A FIFO: the container gets the FIFO itself and no byte passes through the shim. The shim keeps
 *   the reading end of stdout and stderr open, so that a client that goes away costs the container
 *   no SIGPIPE, and no writing end: EOF arrives at the client when the last writer of the container
 *   is gone. Only for a client that had not opened the FIFO when the process was made, and would
 *   wait for ever to open it when the process has ended, is a writing end held until it has. Of
 *   stdin it keeps a writing end until CloseIO.
 *
 * - A regular file: opened for appending. file://: made if it is missing, and for both outputs.
 *
 * - A terminal: the shim relays between the pty's master and the FIFOs; stderr is not used. When
 * the input has ended (CloseIO, and no writer left), the terminal's end-of-file character is typed;
 *   output goes on. The stock shim hangs the terminal up instead.
 *
 * - fd:///PID/N: that descriptor of another process, be it a pipe, a file, a socket or a terminal
 * of its own; the container inherits it, and the shim keeps nothing. Not for the container's
 * terminal.
 *
 * - binary://, binary-v2://, in stdout: a logging program (logger.h) reads both outputs.
 *
 * - log://, in stdout: both outputs go into a file that the shim's own log writer keeps (pkg/log).
 *
 * - attach:///, in stdin: a pipe whose writing end the shim holds until CloseIO; what is written
 *   there comes through io_stdio_stdin_fd() alone.
 *
 * - console:///PATH, in stdout and with a terminal: the pty's master is sent to that socket
 *   (console.h), and the shim relays nothing.
 *
 * No open here ever waits for a peer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/io/ring.h"
#include "pkg/log/log.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"

#include "belay/state/v1/io.pb-c.h"

struct io_stdio;

struct io_stdio_config {
        struct loop *loop;
        struct reaper *reaper;
        const char *in; /* path or URI as in the request; "" or NULL: none */
        const char *out;
        const char *err;
        bool terminal;
        bool carried;   /* out and err are ignored: pipes instead; see io_stdio_take_output() */
        const char *id; /* of the container or the exec, for a logging program */
        const char *runtime_namespace;
        void (*on_report)(const char *text, void *userdata); /* what a log should have; or NULL */
        void (*on_change)(void *userdata); /* io_stdio_save() would say something else; or NULL */
        void *userdata;
};

/*
 * Opens everything. An unknown scheme gives STATUS_INVALID_ARGUMENT and its name; a path that does
 * not exist or is neither FIFO nor regular file is an error that names stream and path.
 */
int io_stdio_open(struct io_stdio **ret, const struct io_stdio_config *config, struct error *err);

/*
 * True when the process may be made; else a logging program is starting, and fn runs once it is
 * ready, or has failed. It does not run for what was true before. Clear with NULL.
 */
bool io_stdio_is_ready(const struct io_stdio *s);
void io_stdio_on_ready(struct io_stdio *s, void (*fn)(const struct error *err, void *userdata),
                       void *userdata);

/*
 * For another image of this process, which has the same request. The message lies in the arena and
 * borrows from s. Restoring takes the descriptors over: those that it could not take are an error,
 * and the others are closed then. A stdio whose logging program was not ready yet is not restored
 * as such: its process was not made.
 */
int io_stdio_save(const struct io_stdio *s, struct arena *arena, Belay__State__V1__Stdio **ret,
                  struct error *err);
int io_stdio_restore(struct io_stdio **ret, const struct io_stdio_config *config,
                     const Belay__State__V1__Stdio *m, struct error *err);

/* Closes all, drained or not. A logging program is killed, unless the process still runs. */
struct io_stdio *io_stdio_free(struct io_stdio *s);

/* What the container's process gets as 0, 1 and 2; borrowed, blocking. All -1 with a terminal. */
const int *io_stdio_child_fds(const struct io_stdio *s);

/* To be called when the child has them: from then on only the container holds the streams' other
 * ends. */
void io_stdio_close_child_fds(struct io_stdio *s);

/* The pty's master, from now on owned by s (on failure it is still the caller's). Starts the relay.
 */
int io_stdio_attach_terminal_take(struct io_stdio *s, int master, struct error *err);

/* A no-op without a terminal, as in the stock shim. */
int io_stdio_resize(struct io_stdio *s, uint16_t width, uint16_t height, struct error *err);

/* Whether every client has opened its output's FIFO by now. To be asked only as long as the process
 * cannot have written anything. */
bool io_stdio_readers_have_come(struct io_stdio *s);

/* Lets go of the shim's own writing end of stdin. Idempotent, also before the process exists. With
 * a terminal: end of the relay's input when the last writer of the FIFO is gone. */
void io_stdio_close_stdin(struct io_stdio *s);

/*
 * A descriptor of the caller's own for writing to the process's stdin, nonblocking; while it is
 * open, stdin does not end. -1 where the shim cannot write to it: there is none or it has been
 * closed, it is a file, or another process's descriptor.
 */
int io_stdio_stdin_fd(const struct io_stdio *s, struct error *err);

/* Of stdio that is carried: the reading end of stdout (1) or stderr (2), nonblocking; the caller's
 * from now on, who reads until its end. -1: there is none, as with a terminal's stderr. */
int io_stdio_take_output(struct io_stdio *s, int stream);

/* The process has ended: a terminal's relay reads what is left, then lets go of the FIFOs' writing
 * ends. */
void io_stdio_process_exited(struct io_stdio *s);

/*
 * True when nothing is left to be waited for: of a terminal all has been relayed, and a logging
 * program has read all and has ended. fn runs once, when it becomes true, from the end of the
 * round: it may free s. It does not run for what was true before. Clear with NULL.
 */
bool io_stdio_is_drained(const struct io_stdio *s);
void io_stdio_on_drained(struct io_stdio *s, void (*fn)(void *userdata), void *userdata);

/* Waits no longer for the streams' end: a logging program is told to end, and killed after a grace.
 * False when there is nothing that this would bring to an end. */
bool io_stdio_stop(struct io_stdio *s);

struct io_stdio_status {
        const char *kind;    /* of stdout: "none", "path", "file", "fd", "console", "logger",
                              * "log", "stream" (carried) */
        bool is_complete;    /* all output is where it should be, as far as the shim knows */
        pid_t logger_pid;    /* of a logging program; 0: none, or it has ended */
        unsigned n_restarts; /* of a logging program */
        uint64_t bytes_dropped;
        uint64_t n_write_errors; /* of a terminal's output */
        int last_errno;
        const struct log_counters *log; /* of log://; else NULL. Valid as long as the stdio. */
};
struct io_stdio_status io_stdio_status(const struct io_stdio *s);

/* The log that is kept of it; NULL: none. It is the stdio's. */
const struct log_config *io_stdio_log(const struct io_stdio *s);

/* The last output, for those who look at it: of a terminal that is relayed, and of log://. NULL
 * without. It is the stdio's. */
struct io_ring *io_stdio_ring(const struct io_stdio *s);
