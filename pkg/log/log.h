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
        uint64_t ring_size; /* bytes of output to be kept for those who attach; 0: none */
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
 * or after SIGTERM until what was written by then is. The exit status for the process.
 */
int log_writer_open(struct log_writer *writer, struct error *err);
int log_writer_run(struct log_writer *writer);
