/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of counters, as memory.events is one: the first line of the input is the key, the rest the
 * file. What is found must be a line of it.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/cgroup/oom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *key = malloc(size + 1);
        char number[24];
        char *text;
        uint64_t value = 0;

        assert(key);
        memcpy(key, data, size);
        key[size] = '\0';
        text = strchr(key, '\n');
        if (text) {
                *text++ = '\0';
                if (cgroup_counter_find(text, key, &value)) {
                        (void)snprintf(number, sizeof(number), "%" PRIu64, value);
                        assert(strstr(text, key) && (value == 0 || strstr(text, number)));
                } else {
                        assert(value == 0);
                }
        }
        free(key);
        return 0;
}
