/* SPDX-License-Identifier: Apache-2.0
 *
 * A logging program: a child process that reads a container's stdout and stderr from pipes. It is
 * somebody's binary, or for log:// a fork of the shim that keeps a log file (pkg/log). No byte
 * passes through the shim, which keeps a reading end of each pipe: so a program that dies costs the
 * container nothing, and its successor goes on where it has stopped reading. What it had read and
 * not yet stored is lost with it.
 *
 * The contract (containerd, core/runtime/v2, "logging"): descriptor 3 is stdout, 4 is stderr, and 5
 * is closed or written to when the program is ready.
 *
 * It has ended well when it exits after the pipes have ended: nobody has their writing ends open,
 * and nothing is left in them. Any other exit is a death, and it is started again, within limits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/io/ring.h"
#include "pkg/io/uri.h"
#include "pkg/log/log.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"

#include "belay/state/v1/io.pb-c.h"

struct io_logger;

enum { IO_LOGGER_OUT, IO_LOGGER_ERR, IO_LOGGER_STREAMS };

struct io_logger_events {
        /* It runs, or (err) it could not be started; once. Never from inside of io_logger_new(). */
        void (*on_ready)(const struct error *err, void *userdata);

        /* It has ended and is not started again; once. */
        void (*on_end)(void *userdata);

        /* For the log: a death, a restart, the end of restarts. */
        void (*on_report)(const char *text, void *userdata);

        /* io_logger_save() would say something else. */
        void (*on_change)(void *userdata);
        void *userdata;
};

struct io_logger_config {
        struct loop *loop;
        struct reaper *reaper;
        const struct io_uri *uri; /* of binary://, binary-v2:// or log:// */
        const char *id;           /* CONTAINER_ID: the container's or the exec's */
        const char *runtime_namespace;
        struct io_logger_events events;
};

/* Starts it. An executable that cannot be executed is an error of on_ready. */
int io_logger_new(struct io_logger **ret, const struct io_logger_config *config, struct error *err);

/* For another image of this process, with the same configuration. One that was not ready yet is
 * not awaited there: nobody waits for it. */
int io_logger_save(const struct io_logger *logger, struct arena *arena,
                   Belay__State__V1__Logger **ret, struct error *err);
int io_logger_restore(struct io_logger **ret, const struct io_logger_config *config,
                      const Belay__State__V1__Logger *m, struct error *err);

/* A program that still runs is killed, and reaped without notice; or it is left alone, to live as
 * long as the container does. */
struct io_logger *io_logger_free(struct io_logger *logger);
struct io_logger *io_logger_abandon(struct io_logger *logger);

/* The pipe's writing end for the container; taken: -1 when it was taken before. */
int io_logger_take_fd(struct io_logger *logger, int stream);

/* SIGTERM, and SIGKILL after LIMIT_LOGGER_GRACE_S; no restart from now on. on_end follows. */
void io_logger_stop(struct io_logger *logger);

bool io_logger_has_ended(const struct io_logger *logger);

struct io_logger_status {
        pid_t pid; /* 0: none at present */
        unsigned n_restarts;
        uint64_t bytes_dropped; /* thrown away after the last restart */
        bool has_all;           /* it has ended, after it had read all output */
};
struct io_logger_status io_logger_status(const struct io_logger *logger);

/* Of log://: the last output, what its writer counts, and the log itself; NULL for a binary. They
 * are the logger's. */
struct io_ring *io_logger_ring(const struct io_logger *logger);
const struct log_counters *io_logger_counters(const struct io_logger *logger);
const struct log_config *io_logger_log(const struct io_logger *logger);
