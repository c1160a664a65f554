/* SPDX-License-Identifier: Apache-2.0
 *
 * From a container's output to entries of its log. An entry is a line, or a part of one that is
 * longer than LOG_LINE_MAX, has waited too long for its end, or was the last thing said.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/clock.h"
#include "pkg/log/log.h"

/* What Docker and the CRI take for one entry: 16 KiB. */
enum { LOG_LINE_MAX = 16384 };

/* Room for any entry: a control character takes six bytes in JSON. */
enum { LOG_FORMAT_ROOM = 6 * LOG_LINE_MAX + 256 };

struct log_line {
        size_t n;
        uint64_t time_ns; /* of its beginning */
        char text[LOG_LINE_MAX];
};

struct log_formatter {
        enum log_format format;
        struct log_line lines[2]; /* begun and not ended, of stdout and stderr */

        /* Whole entries, one or many; n_output: the bytes of output in them. */
        void (*emit)(const char *entries, size_t len, size_t n_output, void *userdata);
        void *userdata;

        uint64_t date_of; /* the time that date holds */
        char date[CLOCK_TEXT_MAX];
        size_t n_buffer;
        size_t n_output;
        char buffer[2 * LOG_FORMAT_ROOM];
};

void log_formatter_init(struct log_formatter *f, enum log_format format,
                        void (*fn)(const char *entries, size_t len, size_t n_output,
                                   void *userdata),
                        void *userdata);

/* Takes all; entries that are complete have been emitted when it returns. */
void log_formatter_feed(struct log_formatter *f, int stream, uint64_t time_ns, const char *data,
                        size_t len);

/* Ends lines that were begun, as parts. */
void log_formatter_flush(struct log_formatter *f);
bool log_formatter_has_part(const struct log_formatter *f);
