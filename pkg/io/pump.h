/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim's ends of a process's streams, where it carries the bytes itself: a source reads one
 * when its owner has room, a sink writes to one what its owner was allowed to give it. Neither ever
 * blocks, and what they hold is bounded: a source holds nothing between two callbacks, a sink what
 * it was made for, and only while the other side does not take it. That lies in memory that can go
 * through an execve(2).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

#include "belay/state/v1/io.pb-c.h"

/* ---- Reading ---- */

struct io_source;

enum { IO_SOURCE_CHUNK = 32 << 10 }; /* bytes of one callback at most */

struct io_source_ops {
        /* data lives until it returns. The source may be told to stop from here, not be freed. */
        void (*on_data)(const void *data, size_t len, void *userdata);

        /* The end of the stream, once, after all data; it may be freed from here. */
        void (*on_end)(void *userdata);

        /* Around all that it does from the loop, from before it reads; leave gets what enter has
         * returned. Both may be NULL. */
        void *(*enter)(void *userdata);
        void (*leave)(void *entered);
};

/* Takes a nonblocking descriptor on success. It reads nothing before io_source_want(). ops must
 * outlive it. */
int io_source_new_take(struct io_source **ret, struct loop *loop, int fd,
                       const struct io_source_ops *ops, void *userdata, struct error *err);
struct io_source *io_source_free(struct io_source *source);

/* Borrowed; -1 after its end. */
int io_source_fd(const struct io_source *source);

/* Whether it reads. Callbacks run from the loop, never from inside. */
void io_source_want(struct io_source *source, bool want);

/* Its end has been seen. */
bool io_source_has_ended(const struct io_source *source);

/* The other side may keep the stream open for ever (a process left behind): what has come so far is
 * still read, as it is wanted, and the next time that there is nothing counts as the end. */
void io_source_finish(struct io_source *source);

/* What is there now, without a callback: for one that is about to be freed. Bytes, at most
 * IO_SOURCE_CHUNK; 0: nothing. */
size_t io_source_read(struct io_source *source, void *buf);

/* ---- Writing ---- */

struct io_sink;

struct io_sink_ops {
        /* n bytes, that were held, were taken, or thrown away after the other side was closed. It
         * may not be freed from here. */
        void (*on_taken)(size_t n, void *userdata);

        /* Around all that it does from the loop; as above. */
        void *(*enter)(void *userdata);
        void (*leave)(void *entered);
};

/* Takes a nonblocking descriptor on success; holds up to max bytes. ops must outlive it. */
int io_sink_new_take(struct io_sink **ret, struct loop *loop, int fd, size_t max,
                     const struct io_sink_ops *ops, void *userdata, struct error *err);

/* For another image of this process, with the descriptors of this one. Restoring takes them, as far
 * as they are what they were. */
void io_sink_save(const struct io_sink *sink, Belay__State__V1__Sink *ret);
int io_sink_restore(struct io_sink **ret, struct loop *loop, const Belay__State__V1__Sink *m,
                    size_t max, const struct io_sink_ops *ops, void *userdata, struct error *err);
struct io_sink *io_sink_free(struct io_sink *sink);

/*
 * Gives it bytes, which together with those that it holds may be no more than max. Returns how many
 * bytes it is rid of at once, of any; fn is told of the others. When nobody reads any more
 * everything is thrown away: the process is asked for nothing, so its client is told nothing.
 * -1 without memory: some of it is lost.
 */
ssize_t io_sink_write(struct io_sink *sink, const void *data, size_t len);

/* Closes the descriptor when all is written. Idempotent; what is written afterwards is thrown
 * away. */
void io_sink_end(struct io_sink *sink);

size_t io_sink_held(const struct io_sink *sink);
