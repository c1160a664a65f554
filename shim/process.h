/* SPDX-License-Identifier: Apache-2.0
 *
 * A process of the container: its init, or an exec. It holds what the client asked for, what the
 * executor made of it, how it ended, and who waits for that.
 *
 * An exit goes through two stations. It is *known* as soon as the process was reaped (or could not
 * be started), and is on disk then. It is *told* when the state, the event and the waiters have it;
 * that may be a little later, since a Start under way and the exits of execs come first (exits.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/io/stdio.h"
#include "pkg/ttrpc/ttrpc.h"

#include "belay/state/v1/io.pb-c.h"
#include "shim/events.h"
#include "shim/exec_options.h"
#include "shim/executor.h"
#include "shim/passed.h"
#include "shim/process_state.h"
#include "shim/record.h"
#include "shim/state.h"

struct attachments;
struct container;
struct exec_stream;

struct process_exit {
        bool known;
        bool told;
        uint32_t status; /* 128 + signal for a signal */
        int signal;
        bool core_dumped;
        bool oom_killed;
        enum cgroup_oom_level oom_level; /* whose limit it was, if oom_killed */
        unsigned oom_up;
        enum record_reason reason;
        struct timespec at;
};

struct process {
        struct container *container;
        struct list node; /* in the container's execs, or in the server's graveyard */
        struct state_entry saved;
        enum process_kind kind;
        enum process_state state; /* changed by process_do() only */
        bool stdin_closed;        /* CloseIO came */
        bool terminal;
        bool carried; /* its streams are those of an ExecStream */
        bool start_failed;
        uint16_t width; /* the last ResizePty; 0: none yet */
        uint16_t height;
        char *exec_id; /* "" for the init */
        char *stdin_path;
        char *stdout_path;
        char *stderr_path;

        struct passed passed;
        struct exec_options options; /* an exec's */
        char *spec;                  /* an exec's process as JSON, until it is started */
        size_t spec_len;

        struct executor_process *impl;                                /* NULL before it exists */
        struct io_stdio *stdio;                                       /* likewise */
        void (*stdio_fn)(const struct error *err, struct process *p); /* waits until it is ready */
        pid_t pid; /* 0 before it exists; kept after its end */
        uint64_t start_ticks;
        struct timespec started_at;
        struct process_exit exit;
        struct task_event *exit_event; /* reserved, so that an exit needs no memory */

        struct list waiters;             /* pending calls, until the exit is told */
        struct list parked;              /* pending calls, until the state changes */
        struct list logs;                /* those who read its log: log_stream.h */
        struct ttrpc_call *start;        /* the Start under way; it is answered whoever waits */
        struct executor_job *start_job;  /* the executor's part of it; NULL: none */
        bool start_aborted;              /* what it fails with is of no matter */
        struct attachments *attachments; /* who looks at its output; NULL: nobody */
        struct exec_stream *stream;      /* the ExecStream that it belongs to */
        struct ttrpc_call *delete_;      /* the Delete under way, likewise */
        struct loop_timer *drain;        /* Delete waits for stdio */
        bool drain_stopping;             /* a logging program has been told to end */
        bool drain_over;                 /* no more of that */
        bool is_gone;                    /* an exec that was deleted, and is not freed yet */
        bool drain_waited;               /* Delete has: the record says with what success */
};

struct process_request {
        const char *exec_id;
        const char *stdin_path;
        const char *stdout_path;
        const char *stderr_path;
        bool terminal;
        bool carried;
};

/* Copies the request. An exec enters the container's list. NULL without memory. */
struct process *process_new(struct container *container, enum process_kind kind,
                            const struct process_request *request);

/* Answers whoever still waits with Unavailable, closes the stdio and forgets the executor's
 * process. */
struct process *process_free(struct process *process);

/* Asks the table and goes to the next state; the same results as process_next(). */
int process_do(struct process *process, enum process_verb verb, struct error *err);

/* For what cannot be refused: a refusal is our own bug. */
void process_must(struct process *process, enum process_verb verb);

/* Asks without a change. */
int process_may(const struct process *process, enum process_verb verb, struct error *err);

/* Whether an init stands still. */
bool process_is_paused(const struct process *process);

/* Opens the stdio as requested, STDIN closed if CloseIO came before. */
int process_open_stdio(struct process *process, struct error *err);

/* Takes over that of an earlier process of this shim. */
int process_restore_stdio(struct process *process, const Belay__State__V1__Stdio *message,
                          struct error *err);

/*
 * False when the stdio is ready. Else a logging program is being started, and fn runs later, from
 * the loop: with err when that has failed, or was given up by process_abort_stdio().
 */
typedef void (*process_stdio_fn)(const struct error *err, struct process *process);
bool process_await_stdio(struct process *process, process_stdio_fn fn);
void process_abort_stdio(struct process *process);

/* What ResizePty and CloseIO do; also before it has a terminal, or a stdin. */
int process_resize(struct process *process, uint32_t width, uint32_t height, struct error *err);
int process_close_stdin(struct process *process, struct error *err);

/* Ends its streams of belay.v1; it goes on. */
void process_end_streams(struct process *process);

/* What is known of it as soon as it is there: its pid, and since when. */
void process_set_pid(struct process *process, pid_t pid);

/* The executor has made it: keeps its handle, and its pid if that is not set, and starts the
 * terminal's relay. */
int process_attach_take(struct process *process, struct executor_process *impl, int terminal_fd,
                        struct error *err);

/* Writes its record; a failure is logged, and costs nothing but the record. */
void process_write_record(const struct process *process);
