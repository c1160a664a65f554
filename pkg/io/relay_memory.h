/* SPDX-License-Identifier: Apache-2.0
 *
 * What a relay has read and not yet written, and how far it has come, in memory that outlives the
 * image of the process (a memfd). It is right at every instruction: bytes count as held from the
 * moment that they are there, and no longer from the moment that they have been written. So after a
 * crash anywhere else they are neither lost nor written twice.
 *
 * Memory is taken as it is needed, before anything is read, and given back by relay_memory_rest().
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"

enum {
        RELAY_CHUNK = 4096, /* what one read of a pty's master gives at most, or not much more */
        RELAY_INPUT_MAX = RELAY_CHUNK,
        RELAY_OUTPUT_MAX = 65536, /* a pipe's room */
};

/* In one word, so that nobody ever sees a half of it. */
struct relay_held {
        uint32_t off;
        uint32_t end;
};

/* The memory. Its layout is the same in all versions; what is added takes of `unused`. */
struct relay_shared {
        uint32_t layout;
        uint8_t line_begun;  /* the input so far does not end with a whole line */
        uint8_t input_ended; /* and is closed, or is about to be */
        uint8_t is_over;     /* the same of all descriptors */
        uint8_t unused_flags;
        _Atomic struct relay_held to_output;
        _Atomic struct relay_held to_master;
        uint64_t tail; /* bytes read since the exit */
        uint64_t lost_bytes;
        uint64_t lost_failures;
        int32_t lost_errno;
        uint8_t unused[RELAY_CHUNK - 52];
        char input[RELAY_INPUT_MAX];
        char output[RELAY_OUTPUT_MAX];
};

/* One direction. */
struct relay_pending {
        _Atomic struct relay_held *held;
        char *data;
        size_t max;
        size_t room;  /* for which there is memory for certain */
        off_t offset; /* of data in the memfd */
};

struct relay_memory {
        int fd;
        struct relay_shared *shared;
        struct relay_pending to_output;
        struct relay_pending to_master;
};

#define RELAY_MEMORY_INIT ((struct relay_memory){.fd = -1})

int relay_memory_new(struct relay_memory *m, struct error *err);

/* That of an image before us; the descriptor is m's on success. */
int relay_memory_adopt_take(struct relay_memory *m, int fd, struct error *err);
void relay_memory_close(struct relay_memory *m);

/* Of what holds nothing, the memory goes back; whether there is any to go. */
void relay_memory_rest(struct relay_memory *m);
bool relay_memory_may_rest(const struct relay_memory *m);

bool relay_pending_is_empty(const struct relay_pending *p);

/* Where the next bytes go; *ret_room: how many there may be, at least RELAY_CHUNK of them, or 0: no
 * room until some of it is written, or no memory when nothing is held. */
char *relay_pending_reserve(struct relay_memory *m, struct relay_pending *p, size_t *ret_room);

/* So many of them have come. */
void relay_pending_add(struct relay_pending *p, size_t n);

/* Writes what is held. 1: all is written; 0: fd is full; -1: fd takes nothing any more (errno). */
int relay_pending_write(struct relay_pending *p, int fd);

/* Forgets what is held: how many bytes. */
size_t relay_pending_drop(struct relay_pending *p);
