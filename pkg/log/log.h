/* SPDX-License-Identifier: Apache-2.0
 *
 * A container's log as a file: lines with time and stream, rotated by size. What is here runs in
 * processes of its own, forks of the shim, and may block on a disk as long as that takes: the
 * writer reads a container's output from two pipes, and the reader gives entries of the log to
 * whoever has asked.
 *
 * The policy says what a slow or full disk costs. block: the container waits, for its pipe fills.
 * drop: what finds no room is thrown away, counted, and marked in the log by a line of its own.
 * spill: it is kept in memory up to a bound, and then the container waits.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"

enum { LOG_STDOUT = 1, LOG_STDERR = 2 };

enum log_format {
        LOG_FORMAT_CRI,  /* "2006-01-02T15:04:05.000000000Z stdout F text", of Kubernetes' CRI */
        LOG_FORMAT_JSON, /* {"log":"text\n","stream":"stdout","time":"..."}, Docker's json-file */
        LOG_FORMAT_RAW,  /* the bytes as they come */
};

enum log_policy { LOG_POLICY_BLOCK, LOG_POLICY_DROP, LOG_POLICY_SPILL };

struct log_config {
        const char *path; /* absolute; borrowed */
        enum log_format format;
        enum log_policy policy;
        uint64_t max_size;  /* bytes; 0: no rotation */
        uint64_t max_files; /* the one that is written and those that were rotated away */
        uint64_t spill_max; /* bytes in memory with LOG_POLICY_SPILL */
        uint64_t ring_size; /* bytes of output to be kept for those who attach; 0: none. One read of
                             * the writer's is 64 KiB: in less, it leaves nothing of what was before
                             */
};

/* The defaults, for a path. */
void log_config_init(struct log_config *config, const char *path);

/* One parameter of a log:// URI. INVALID_ARGUMENT names the key, or the key and its value. */
int log_config_set(struct log_config *config, const char *key, const char *value,
                   struct error *err);

/* What the writer counts; shared memory, which the shim reads. */
struct log_counters {
        _Atomic uint64_t bytes; /* of the container's output, on disk or waiting for it */
        _Atomic uint64_t bytes_dropped;
        _Atomic uint64_t bytes_waiting; /* formatted, in memory, with drop and spill */
        _Atomic uint64_t rotations;
        _Atomic uint64_t write_errors;
        _Atomic int last_errno;
};

/* 0, -ENOMEM and so on. The mapping lives until it is unmapped, and in every fork. */
int log_counters_new(struct log_counters **ret);

/* The same in two steps, for counters that go through an execve(2): a memfd, or a negative errno,
 * and its mapping. */
int log_counters_memory(void);
int log_counters_map(struct log_counters **ret, int fd);
void log_counters_free(struct log_counters *counters);

struct log_writer {
        struct log_config config;
        struct log_counters *counters;
        int out; /* reading ends of the container's pipes; blocking or not */
        int err;

        /* Every piece of output, as soon as it was read; may be NULL. time_ns: CLOCK_REALTIME. */
        void (*on_output)(int stream, uint64_t time_ns, const void *data, size_t len,
                          void *userdata);
        void *userdata;
};

/*
 * Opens the log: what can fail at once. Then runs until both pipes have ended and all is on disk,
 * or after SIGTERM until what was written by then is. SIGTERM may be blocked before it runs, and is
 * not by then. The exit status for the process.
 */
int log_writer_open(struct log_writer *writer, struct error *err);
int log_writer_run(struct log_writer *writer);

/*
 * ---- Reading ----
 *
 * The lines of all files of a log, from the oldest to the one that is written, each once. A line
 * that is not of the format is given as it is, of stdout and without a time: for since and until it
 * has that of the line before it. A last line without its end is being written, and is given when
 * it has that, or as a part when the log has ended.
 */
struct log_query {
        bool follow;
        bool has_ended;    /* it is not written any more; else the hold tells when that comes */
        int64_t tail;      /* from the last so many lines of those asked for; 0: all; -1: none */
        uint64_t since_ns; /* CLOCK_REALTIME, of entries at that time and later; 0: all */
        uint64_t until_ns; /* before that time; 0: all */
        bool out;          /* neither of the two: both */
        bool err;
        const struct log_counters *counters; /* its writer's, to see what was missed; or NULL */
};

/* FAILED_PRECONDITION for what a log of that format cannot tell: raw has neither times nor streams.
 */
int log_query_check(const struct log_query *query, enum log_format format, struct error *err);

/*
 * A reader is a process: a fork, with no descriptor but its own. It writes messages to *ret_fd (a
 * SOCK_SEQPACKET, non-blocking at our end), each of whole frames, waits while that is full, and
 * dies when it is closed. *ret_hold is kept open as long as the log may grow: a reader that follows
 * it ends some time after that was closed. The pid, or -1; it is to be reaped by the caller, and
 * may be killed.
 *
 * Caller and reader may be of different versions, when the caller has gone through an execve(2):
 * what changes struct log_frame changes LOG_FRAMES_FORMAT.
 */
pid_t log_reader_start(const struct log_config *config, const struct log_query *query, int *ret_fd,
                       int *ret_hold, struct error *err);

enum { LOG_MESSAGE_MAX = 64 << 10, LOG_FRAMES_FORMAT = 1 };

/* The message that comes first, which stays: its length; 0 when the reader has gone; or a negative
 * errno, -EAGAIN when there is none yet. data has room for LOG_MESSAGE_MAX bytes. */
ssize_t log_message_look(int fd, void *data);

/* It goes, once it has been looked at; 0, or a negative errno: it is still there. */
int log_message_drop(int fd);

/* Of one entry, with its newline; a longer one comes in parts. */
enum { LOG_READ_TEXT_MAX = 16384 + 1 };

enum log_frame_kind {
        LOG_FRAME_ENTRY = 1,
        LOG_FRAME_END,     /* all was read */
        LOG_FRAME_FAILURE, /* the text says why; nothing follows, as after an end */
};

struct log_frame {
        uint32_t n; /* bytes of text behind it */
        uint8_t kind;
        uint8_t stream; /* as in struct log_entry */
        uint8_t is_partial;
        uint8_t code;     /* of a failure: enum status */
        uint64_t time_ns; /* 0: none */
};

enum { LOG_FRAME_MAX = sizeof(struct log_frame) + LOG_READ_TEXT_MAX };

/* The frame at the beginning of some bytes: its size with the text, 0 when it is not all there, or
 * -EPROTO. */
ssize_t log_frame_parse(const void *data, size_t len, struct log_frame *ret, const char **ret_text);
