/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a log's reader, for the files of pkg/log only. It runs in a process of its own: it
 * may block on a disk, and waits for whoever takes its frames.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/log/entry.h"
#include "pkg/log/format.h"
#include "pkg/log/log.h"
#include "pkg/log/read_files.h"

enum {
        /* What is read at once. A line that is longer comes in parts, whatever its format. */
        LOG_READ_ROOM = 256 << 10,

        LOG_READ_OUT_ROOM = LOG_MESSAGE_MAX,
};

/* How far the times of entries may be out of order: an entry has the time of its beginning, and
 * waits for its end; and clocks are set. */
#define LOG_READ_DISORDER_NS (60 * UINT64_C(1000000000))

/* Where reading begins. */
struct log_place {
        size_t file; /* of log_read_files.list */
        uint64_t offset;
};

/* What is asked for, of streams and times; time_ns: of the entry, or of those before it. */
bool log_query_wants(const struct log_query *query, const struct log_entry *entry,
                     uint64_t time_ns);

/*
 * The last query->tail lines of those that are asked for: found from the end, block by block. A
 * line of several entries is one line; one that is being written is none, unless the log has ended.
 * *_room: LOG_READ_ROOM bytes each, for its own use.
 */
int log_find_tail(const struct log_read_files *files, const struct log_query *query, bool has_ended,
                  char *line_room, char *text_room, struct log_place *ret);

/* Behind the last line that has ended. */
int log_find_end(const struct log_read_files *files, char *line_room, struct log_place *ret);

/* Some place before the first entry that is not older than query->since_ns. */
int log_find_since(const struct log_read_files *files, const struct log_query *query,
                   char *line_room, char *text_room, struct log_place *ret);

/* The reader itself; its exit status. out: non-blocking. hold: hangs up when the log has ended. */
int log_read_run(const struct log_config *config, const struct log_query *query, int out, int hold);
