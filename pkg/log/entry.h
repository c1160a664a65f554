/* SPDX-License-Identifier: Apache-2.0
 *
 * One line of a log file, taken apart: the other direction of format.h. A log may have been written
 * by anybody, and its writer may have been killed in the middle of a line. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/log/log.h"

struct log_entry {
        int stream;       /* LOG_STDOUT, LOG_STDERR; 0: the log does not tell */
        uint64_t time_ns; /* CLOCK_REALTIME; 0: it has none */
        bool is_partial;  /* the line goes on in the next entry of its stream */
        const char *text; /* in the line, or in the room; without a newline */
        size_t n;
};

/*
 * The line is without its newline; room holds as many bytes as it. False when it is not of the
 * format: then the entry is the line as it is, of stdout and without a time.
 *
 * CRI: other tags may follow the first, behind colons. JSON: the keys may come in any order, and
 * others beside them; text without a newline at its end is a part of a line.
 */
bool log_entry_parse(enum log_format format, const char *line, size_t len, char *room,
                     struct log_entry *ret);

/* RFC 3339 from 1970 to 2500, with any number of digits of a second and any zone. */
bool log_time_parse(const char *text, size_t len, uint64_t *ret_ns);
