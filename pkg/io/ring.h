/* SPDX-License-Identifier: Apache-2.0
 *
 * The last few KiB of a process's output, for those who look at it while it runs. One writer, which
 * may be another process (a fork), and any number of readers, each with a place of its own. The
 * writer never waits: it overwrites what is oldest, and a reader that has fallen behind learns so.
 * Nothing of a reader's touches the writer, so a slow one costs the container nothing.
 *
 * The memory is bounded by what is given at the beginning, and is taken as output comes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

#include "belay/state/v1/io.pb-c.h"

struct io_ring;

enum { IO_RING_MIN = 4096, IO_RING_MAX = 16 << 20 };

/* What was written in one piece to one stream; data is the reader's buffer. */
struct io_ring_chunk {
        uint64_t time_ns; /* CLOCK_REALTIME, when the writer had it */
        uint8_t stream;   /* the writer's number for it: 1 stdout, 2 stderr */
        size_t len;
};

/* bytes is rounded up to a power of two. The memory is shared with forks made later. */
int io_ring_new(struct io_ring **ret, size_t bytes, struct error *err);
struct io_ring *io_ring_free(struct io_ring *ring);

/* For another image of this process, with the descriptors of this one. What readers there were is
 * forgotten; the writer goes on. */
void io_ring_save(const struct io_ring *ring, Belay__State__V1__Ring *ret);
int io_ring_restore(struct io_ring **ret, const Belay__State__V1__Ring *m, struct error *err);
int io_ring_restore_snapshot(struct io_ring **ret, const Belay__State__V1__Ring *m,
                             struct error *err);

/* Long output becomes several chunks of at most io_ring_chunk_max(). Wakes readers that wait. */
void io_ring_write(struct io_ring *ring, uint8_t stream, uint64_t time_ns, const void *data,
                   size_t len);
size_t io_ring_chunk_max(const struct io_ring *ring);

/* The place behind everything, and the one from which the last so many bytes of output lie before
 * that, or all when there are less: of the chunk there *ret_skip bytes come before those. */
uint64_t io_ring_end(const struct io_ring *ring);
uint64_t io_ring_replay(const struct io_ring *ring, size_t bytes, size_t *ret_skip);

/*
 * The same output as a ring of its own, which nobody writes to and which has no eventfd: places are
 * the same, and it ends at io_ring_end() of it. So one who has asked for the past can take his time
 * for it. It starts later when the writer overtakes the copying.
 */
int io_ring_snapshot(const struct io_ring *ring, size_t bytes, struct io_ring **ret,
                     uint64_t *ret_place, size_t *ret_skip, struct error *err);

/* False when what lay at a place has been overwritten. */
bool io_ring_has(const struct io_ring *ring, uint64_t place);

/*
 * Copies the chunk at *place and goes to the next. 1; 0 when there is none yet; -EOVERFLOW when it
 * was overwritten before it could be copied: the reader has lost something. buf has room for
 * io_ring_chunk_max().
 */
int io_ring_read(const struct io_ring *ring, uint64_t *place, struct io_ring_chunk *ret, void *buf);

/*
 * An eventfd that becomes readable when something was written while readers wait; it is the
 * ring's. To be read empty before looking. io_ring_wait() counts the readers that want it: +1 and
 * -1.
 */
int io_ring_fd(const struct io_ring *ring);

/* In a fork that writes, and in which the eventfd has another number. */
void io_ring_set_fd(struct io_ring *ring, int fd);
void io_ring_wait(struct io_ring *ring, int change);
