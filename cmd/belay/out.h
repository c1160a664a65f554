/* SPDX-License-Identifier: Apache-2.0
 *
 * What belay prints: tables for people, JSON for programs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "cmd/belay/container.h"

/* RFC 3339 in UTC with milliseconds; "" for a time that is none. */
enum { OUT_TIME_BYTES = 40 };
void out_format_time(char buf[static OUT_TIME_BYTES], int64_t seconds, int32_t nanos);

/* For people; programs get oci_state_format(). */
void out_state(const struct view *view);

/* The answer of wait. */
void out_exit(const struct task_state *state, bool json);

/* One line of a list; pid 0 is none. */
struct out_row {
        const char *id;
        const char *status;
        const char *bundle;
        uint32_t pid;
        bool exited;
        uint32_t exit_status;
        struct timespec created_at;
};
void out_list(const struct out_row *rows, size_t n, bool json);

/* What has become of one upgrade. */
enum out_result {
        OUT_UPGRADED,
        OUT_FAILED,
        OUT_SKIPPED, /* it was not meant */
};

struct out_upgrade {
        char *id;
        char *runtime_namespace;
        enum out_result result;
        char *previous; /* versions; NULL unless it was upgraded */
        char *version;
        struct error why; /* unless it was upgraded */
};
void out_upgrade(const struct out_upgrade *row); /* a line, at once */
void out_upgrades_json(const struct out_upgrade *rows, size_t n);

/* A line of level error to the end of the log that the command line names; a log that cannot be
 * written is passed over, since the error itself is told elsewhere, too. format: "json" or text. */
void out_log_error(const char *path, const char *format, const char *msg);

/* One id, for run -d and exec -d. key: its name in JSON. */
void out_id(const char *key, const char *id, bool json);
