/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that executes itself again: what the test and all its process images share.
 */
#pragma once

#include <stdint.h>

enum { IMAGE_CONNS = 4, IMAGE_NUMBERS = 4096, IMAGE_COUNT_BYTES = 1000 };

/* In a memfd that all of them map. */
struct control {
        uint64_t n_images;
        uint64_t n_steps;  /* of chaos_point() */
        uint64_t crash_at; /* the step at which it crashes; 0: never */
        uint64_t crash_every;
        uint64_t refuse_streams; /* those that are open at a re-exec */
        uint64_t n_not_quiet;    /* SIGHUPs that were not followed */
        uint64_t n_dropped;
        uint64_t n_resumed;
        uint64_t n_half_closed;
        uint64_t n_talked;            /* messages of the stream */
        uint64_t n_noted;             /* the same by its note, when it was resumed last */
        uint64_t deadline_ns;         /* of the last call that was kept */
        uint8_t seen[IMAGE_NUMBERS];  /* how often a handler was entered, by the request's number */
        uint8_t ended[IMAGE_NUMBERS]; /* how often it has answered */
};
