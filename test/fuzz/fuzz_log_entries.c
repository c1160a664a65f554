/* SPDX-License-Identifier: Apache-2.0
 *
 * A line of a log that may be anything, as each of the formats. The first byte chooses one. What is
 * understood lies in the line or in the room, and is no longer than the line.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/log/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct log_entry entry;
        struct log_frame frame;
        const char *text;
        const char *line;
        size_t len;
        char *room;
        bool is_good;

        (void)log_frame_parse(data, size, &frame, &text);
        if (size == 0)
                return 0;
        line = (const char *)data + 1;
        len = size - 1;
        room = malloc(len > 0 ? len : 1);
        assert(room);
        is_good = log_entry_parse((enum log_format)(data[0] % 3), line, len, room, &entry);
        assert(entry.n <= len);
        assert(entry.stream >= 0 && entry.stream <= LOG_STDERR);
        if (entry.n > 0) {
                volatile char last = entry.text[entry.n - 1];

                (void)last;
        }
        if (!is_good)
                assert(entry.text == line && entry.n == len && entry.time_ns == 0);
        free(room);
        return 0;
}
