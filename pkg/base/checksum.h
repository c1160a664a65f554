/* SPDX-License-Identifier: Apache-2.0
 *
 * A sum that tells damage, and what is as it was, from what is not. It is no match for somebody
 * who wants two texts with the same sum.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t checksum(const void *data, size_t len)
{
        const uint8_t *p = data;
        uint64_t sum = UINT64_C(0x9e3779b97f4a7c15) ^ len;

        while (len > 0) {
                uint64_t word = 0;
                size_t n = len < sizeof(word) ? len : sizeof(word);

                memcpy(&word, p, n);
                sum = (sum ^ word) * UINT64_C(0xff51afd7ed558ccd);
                sum ^= sum >> 32;
                p += n;
                len -= n;
        }
        return sum;
}
