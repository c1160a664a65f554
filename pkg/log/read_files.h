/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of a log as its reader sees them: "path" and those that were rotated away, open, in the
 * order in which they were written. Names move while they are looked at, always from a file that is
 * newer to one that is older; a file is known by its device and inode as long as it is open.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/log/log.h"

/* How many files that were rotated out of the log are kept for a reader that is slow. */
enum { LOG_READ_KEPT = 64 };

struct log_read_file {
        int fd;
        dev_t dev;
        ino_t ino;
        uint64_t limit;     /* nothing is read beyond it */
        uint64_t mtime_ns;  /* when it was opened */
        uint64_t n_missing; /* files before it that were dropped, or gone before they were seen */
};

struct log_read_files {
        const struct log_config *config;
        const struct log_counters *counters; /* of the writer; NULL: what is missed is not known */
        uint64_t n_rotations;                /* when the log was opened */
        uint64_t n_new;                      /* files that were seen or missed since */
        struct log_read_file *list;          /* oldest first */
        size_t n;
        size_t room;
};

/* Opens what is there. has_end: what is written later is not to be read. -ENOENT when there is
 * nothing; 0 or a negative errno. */
int log_read_files_open(struct log_read_files *files, const struct log_config *config,
                        const struct log_counters *counters, bool has_end);
void log_read_files_close(struct log_read_files *files);

/* Opens those that have been begun since. What is not to be opened yet is left for the next look.
 * The list may move. */
void log_read_files_look(struct log_read_files *files);

/* The first file is closed and forgotten. */
void log_read_files_next(struct log_read_files *files);
