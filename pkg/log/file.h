/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of a log, and its rotation: "path" is written, "path.1" is the one before it, and so on.
 * Bytes that were given to it are written once, in order, across short writes and failures; a file
 * begins with the beginning of an entry.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/log/log.h"

struct log_file {
        const struct log_config *config;
        struct log_counters *counters;
        int fd;
        uint64_t size;
        dev_t dev; /* of the open file, to see when somebody has moved it away */
        ino_t ino;
};

/* Opens it for appending, made with 0640 if it is missing; its folders with 0755. A line without an
 * end is ended, but for raw. 0 or a negative errno. */
int log_file_open(struct log_file *file, const struct log_config *config,
                  struct log_counters *counters);
void log_file_close(struct log_file *file);

/*
 * Writes entries, which end with a newline each, or raw bytes. A failure of the disk is tried again
 * until it works, or until *give_up becomes true: then -EIO or another reason, and the rest is
 * lost. Returns 0 or a negative errno.
 */
int log_file_write(struct log_file *file, const char *data, size_t len,
                   const volatile bool *give_up);
