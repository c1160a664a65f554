/* SPDX-License-Identifier: Apache-2.0
 *
 * The record of a process on disk: what must be known of it when the shim is gone. One small flat
 * JSON object per process in the bundle, `init.json` or `exec-<exec id>.json`, replaced by rename.
 * It is written when the process is there and again when it has ended, before anyone is told; that
 * of an init once more when Delete has waited for its output.
 *
 * The reader accepts exactly what the writer writes, in any order of keys, and refuses all else:
 * a bundle is not a place to be generous in.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "pkg/base/error.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/oom.h"

enum record_reason {
        RECORD_EXITED,        /* by itself */
        RECORD_SIGNAL,        /* killed by a signal */
        RECORD_OOM_KILLED,    /* SIGKILL, and the cgroup counted an OOM kill */
        RECORD_RUNTIME_ERROR, /* its program was never executed */
        RECORD_UNKNOWN,       /* its shim was killed, and the kernel could not tell */
        _RECORD_REASON_MAX
};

struct shim_record {
        char id[LIMIT_ID_LENGTH + 1];
        char exec_id[LIMIT_ID_LENGTH + 1]; /* "" for the init */
        pid_t pid;                         /* 0: there never was one */
        uint64_t start_ticks;              /* field 22 of /proc/PID/stat; 0: unknown */
        struct timespec started_at;        /* CLOCK_REALTIME */

        bool paused; /* of an init that has not ended */

        /* The rest holds only when exited. */
        bool exited;
        uint32_t exit_status; /* 128 + signal for a signal */
        int signal;           /* 0: none */
        bool core_dumped;
        bool oom_killed;
        enum cgroup_oom_level oom_level; /* if oom_killed: whose limit was hit */
        unsigned oom_up;                 /* an ancestor's: how many levels up; else 0 */
        enum record_reason reason;
        struct timespec exited_at; /* CLOCK_REALTIME */

        bool drain_known; /* a Delete has waited for the output */
        bool drained;     /* if so: all of it has reached its place */
};

/* "exited", "signal", "oom_killed", "runtime_error", "unknown". */
const char *record_reason_name(enum record_reason reason);

/* Writes the record of its process below the bundle's descriptor. */
int shim_record_write(int bundle_fd, const struct shim_record *record, struct error *err);

/*
 * Reads the record of the init (exec_id "" or NULL) or of an exec. STATUS_NOT_FOUND when there is
 * none, STATUS_DATA_LOSS when the file is not a record.
 */
int shim_record_read(int bundle_fd, const char *exec_id, struct shim_record *ret,
                     struct error *err);

/* The pure part of it: false when the text is not a record; ret is then undefined. */
bool shim_record_parse(const char *text, size_t len, struct shim_record *ret);

/* Removes an exec's record; that there is none is fine. */
void shim_record_remove(int bundle_fd, const char *exec_id);

/* Removes the init's record, which only a Create that failed does. */
void shim_record_unlink_init(int bundle_fd);

/* The start time of a living process as in start_ticks, or 0. Together with the pid it names a
 * process, since a reused pid has another one. */
uint64_t process_start_ticks(pid_t pid);
