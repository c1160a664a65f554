/* SPDX-License-Identifier: Apache-2.0
 *
 * A client that executes itself again: what the test and all its process images share.
 */
#pragma once

#include <stdint.h>

enum { CLIENT_CALLS = 3 };

/* In a memfd that all of them map. */
struct client_control {
        uint64_t n_images;
        uint64_t n_steps;  /* of chaos_point() */
        uint64_t crash_at; /* the step at which it crashes */
        uint64_t n_resumed;
        uint64_t next;                       /* the call that has no answer yet, from 1 */
        uint64_t answered[CLIENT_CALLS + 1]; /* how often, by number */
};
