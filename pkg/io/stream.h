/* SPDX-License-Identifier: Apache-2.0
 *
 * One stream's descriptors: what the process (or the relay) gets, and what the shim keeps so that a
 * peer that goes away is not felt. Opening never waits: a FIFO's reading end is opened with
 * O_NONBLOCK, which never blocks, and gives its writing end a reader.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"

struct io_stream {
        int use;  /* for the process or the relay */
        int keep; /* the FIFO's other end; -1 if it is no FIFO */
        int late; /* of output, a writing end if nobody had opened the FIFO for reading; else -1 */
};

#define IO_STREAM_INIT ((struct io_stream){.use = -1, .keep = -1, .late = -1})

/* nonblock: `use` is for the relay, and then stdin must be a FIFO. */
int io_stream_open_null(struct io_stream *ret, struct error *err);
int io_stream_open_input(struct io_stream *ret, const char *path, bool nonblock, struct error *err);
int io_stream_open_output(struct io_stream *ret, const char *path, bool nonblock,
                          struct error *err);

/* A pipe, of which the shim keeps the other end, nonblocking. nonblock: as above. */
int io_stream_open_pipe(struct io_stream *ret, bool is_input, bool nonblock, struct error *err);

/* Makes the directories (0755) and the file (0644) if they are missing. */
int io_stream_open_file(struct io_stream *ret, const char *path, struct error *err);

/* A reading end of a FIFO of which a descriptor is given; -1 and errno. */
int io_stream_open_keep(int fifo_fd);

/*
 * A copy of another process's descriptor (pidfd_getfd(2), Linux 5.6; it takes the right to trace
 * that process). location is "/PID/N". Nothing is kept: the stream is the other side's and the
 * container's alone.
 */
int io_stream_open_fd(struct io_stream *ret, const char *location, struct error *err);

void io_stream_close(struct io_stream *stream);
