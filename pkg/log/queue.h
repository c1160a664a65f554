/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes between two processes: the collector, which must not wait, puts them in, and they leave
 * through a pipe as the other one takes them. What the pipe has no room for waits in memory, within
 * a bound.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_queue {
        int fd; /* the pipe's writing end, non-blocking; borrowed */
        uint8_t *data;
        size_t off;
        size_t len; /* waiting, from off, and on from the beginning of data */
        size_t max;
        bool touched; /* a large part of data, since it was last given back */
};

/* The memory is of max bytes, and is touched as it is needed. 0 or -ENOMEM. */
int log_queue_init(struct log_queue *queue, int fd, size_t max);
void log_queue_deinit(struct log_queue *queue);

/* All of it or nothing: false when it does not fit. */
bool log_queue_put(struct log_queue *queue, const void *data, size_t len);

/* Sends what the pipe takes. 0, or a negative errno when nobody is there to take it. */
int log_queue_flush(struct log_queue *queue);
