/* SPDX-License-Identifier: Apache-2.0
 *
 * A log on its way to a client (belay.v1's Logs). The files are read by a process of its own
 * (pkg/log), whose frames are packed into the stream of responses. A message of that process leaves
 * its socket only when all of it has been sent, so a client that is slow makes the reader wait, and
 * what this holds besides is a number.
 *
 * A stream belongs to its call. It does not need the process to go on: a log is read to its end
 * also when the container is deleted meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/log/log.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"
#include "pkg/ttrpc/ttrpc.h"

#include "belay/v1/belay.pb-c.h"

struct process;
struct shim_server;

enum { LOG_STREAM_ENTRIES = 128 }; /* of one response at most */

struct log_stream {
        struct list node; /* in its process, while the log may grow */
        struct shim_server *server;
        struct ttrpc_call *call;
        struct reaper_watch *watch;
        pid_t pid; /* 0: it was reaped */
        int fd;
        int hold;
        struct loop_io *io;

        /* The message that is being sent, which is also still in the socket. */
        size_t n;    /* 0: none has been looked at */
        size_t sent; /* bytes of it */
        uint8_t input[LOG_MESSAGE_MAX];

        Belay__V1__LogEntry entries[LOG_STREAM_ENTRIES];
        Belay__V1__Output outputs[LOG_STREAM_ENTRIES];
        Google__Protobuf__Timestamp times[LOG_STREAM_ENTRIES];
        Belay__V1__LogEntry *list[LOG_STREAM_ENTRIES];
};

/* Counted by the server. NULL without memory. */
struct log_stream *log_stream_new(struct ttrpc_call *call, struct shim_server *server);
struct log_stream *log_stream_free(struct log_stream *s);

/* Its reader, socket and hold are there: goes on from the loop. p: the log may grow until its
 * output has ended; NULL: it has its end. */
int log_stream_begin(struct log_stream *s, struct process *p, struct error *err);

/* What is there goes on its way, as far as there is room. s may be gone afterwards. */
void log_stream_pump(struct log_stream *s);

/*
 * What has to be known to go on in another process image, as a message of belay.state.v1.Logs in
 * `note`: its length, or 0 when it has no room. And there, for a new one whose call has that note;
 * p is as above.
 */
size_t log_stream_note(const struct log_stream *s, void *note, size_t room);
int log_stream_resume(struct log_stream *s, struct process *p, const void *note, size_t len,
                      struct error *err);

/* The log of a process has ended, or the process is forgotten: those who follow it get what is
 * left, and come to their end. */
void log_streams_end(struct process *p);

/* The shim ends, and the log goes on without it: those who follow it are told. */
void log_streams_stop(struct process *p);
