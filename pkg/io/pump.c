/* SPDX-License-Identifier: Apache-2.0
 *
 * Sources and sinks: see pump.h. A source has its buffer only while it reads, a sink while it holds
 * bytes, so that a stream at rest costs a descriptor and little more.
 */
#include "pkg/io/pump.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"

enum { READS_PER_ROUND = 4 }; /* then others have their turn */

#define RETRY_NS (100 * NSEC_PER_MSEC) /* when there was no memory */

/* ---- Reading ---- */

struct io_source {
        int fd; /* -1 after its end */
        struct loop_io *io;
        struct loop_timer *retry;
        const struct io_source_ops *ops;
        void *userdata;
        bool wanted;
        bool finishing;
};

CLEANUP_DEFINE(struct io_source, io_source_free)

static void source_update(struct io_source *source)
{
        if (source->fd >= 0 && loop_io_want(source->io, source->wanted ? LOOP_READ : 0) < 0)
                (void)loop_timer_set(source->retry, RETRY_NS);
}

static void source_end(struct io_source *source)
{
        source->io = loop_io_free(source->io);
        source->fd = fd_close(source->fd);
        loop_timer_clear(source->retry);
        source->ops->on_end(source->userdata);
}

/* Reads once. True when the source has ended or is empty for now. */
static bool source_read(struct io_source *source, void *buf, bool *ret_ended)
{
        ssize_t n;

        do {
                n = read(source->fd, buf, IO_SOURCE_CHUNK);
        } while (n < 0 && errno == EINTR);
        if (n > 0) {
                source->ops->on_data(buf, (size_t)n, source->userdata);
                return false;
        }
        *ret_ended = n == 0 || errno != EAGAIN || source->finishing;
        return true;
}

static void source_pump(struct io_source *source)
{
        void *buf = malloc(IO_SOURCE_CHUNK);
        bool ended = false;

        if (!buf) {
                (void)loop_io_want(source->io, 0);
                (void)loop_timer_set(source->retry, RETRY_NS);
                return;
        }
        for (int i = 0; i < READS_PER_ROUND && source->wanted; i++) {
                if (source_read(source, buf, &ended))
                        break;
        }
        free(buf);
        if (ended) {
                source_end(source);
                return;
        }
        source_update(source);
        if (source->finishing && source->wanted)
                (void)loop_timer_set(source->retry, 0);
}

static void source_run(struct io_source *source)
{
        const struct io_source_ops *ops = source->ops;
        void *entered = ops->enter ? ops->enter(source->userdata) : NULL;

        source_pump(source);
        if (ops->leave)
                ops->leave(entered);
}

static void source_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        source_run(userdata);
}

/* A descriptor that is finishing is asked once without waiting for it to become readable. */
static void source_on_retry(struct loop_timer *timer, void *userdata)
{
        struct io_source *source = userdata;

        if (source->fd >= 0 && source->wanted)
                source_run(source);
}

int io_source_new_take(struct io_source **ret, struct loop *loop, int fd,
                       const struct io_source_ops *ops, void *userdata, struct error *err)
{
        _cleanup_(io_source_free_p) struct io_source *source = calloc(1, sizeof(*source));

        if (!source)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "stream: no memory");
        source->fd = -1;
        source->ops = ops;
        source->userdata = userdata;
        source->io = loop_io_new(loop, fd, LOOP_PRIORITY_RELAY, source_on_io, source);
        source->retry = loop_timer_new(loop, source_on_retry, source);
        if (!source->io || !source->retry)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "stream: no memory");
        source->fd = fd;
        *ret = TAKE_PTR(source);
        return 0;
}

struct io_source *io_source_free(struct io_source *source)
{
        if (!source)
                return NULL;
        loop_io_free(source->io);
        loop_timer_free(source->retry);
        fd_close(source->fd);
        free(source);
        return NULL;
}

void io_source_want(struct io_source *source, bool want)
{
        if (source->wanted == want)
                return;
        source->wanted = want;
        source_update(source);
        if (want && source->finishing && source->fd >= 0)
                (void)loop_timer_set(source->retry, 0);
}

int io_source_fd(const struct io_source *source)
{
        return source->fd;
}

bool io_source_has_ended(const struct io_source *source)
{
        return source->fd < 0;
}

void io_source_finish(struct io_source *source)
{
        if (source->finishing || source->fd < 0)
                return;
        source->finishing = true;
        (void)loop_timer_set(source->retry, 0);
}

size_t io_source_read(struct io_source *source, void *buf)
{
        ssize_t n = -1;

        while (source->fd >= 0 && n < 0) {
                n = read(source->fd, buf, IO_SOURCE_CHUNK);
                if (n < 0 && errno != EINTR)
                        return 0;
        }
        return n > 0 ? (size_t)n : 0;
}

/* ---- Writing ---- */

struct io_sink {
        int fd; /* -1 when it is closed */
        struct loop_io *io;
        struct loop_timer *retry;
        const struct io_sink_ops *ops;
        void *userdata;
        size_t max;
        int memory; /* a memfd of max bytes; -1 while nothing is held */
        char *data; /* its mapping */
        size_t off;
        size_t len;
        bool ending;
};

CLEANUP_DEFINE(struct io_sink, io_sink_free)

static void sink_close(struct io_sink *sink)
{
        sink->io = loop_io_free(sink->io);
        sink->fd = fd_close(sink->fd);
        loop_timer_clear(sink->retry);
}

/* Writes what goes now. Bytes written, or all of them when nobody will ever read them. */
static size_t sink_write_some(struct io_sink *sink, const char *data, size_t len)
{
        size_t done = 0;

        while (done < len && sink->fd >= 0) {
                ssize_t n = write(sink->fd, data + done, len - done);

                if (n > 0)
                        done += (size_t)n;
                else if (n < 0 && errno == EAGAIN)
                        return done;
                else if (n == 0 || errno != EINTR)
                        sink_close(sink);
        }
        return len;
}

static void sink_forget(struct io_sink *sink)
{
        if (sink->data)
                (void)munmap(sink->data, sink->max);
        sink->data = NULL;
        sink->memory = fd_close(sink->memory);
}

static bool sink_map(struct io_sink *sink)
{
        void *data = mmap(NULL, sink->max, PROT_READ | PROT_WRITE, MAP_SHARED, sink->memory, 0);

        if (data == MAP_FAILED)
                return false;
        sink->data = data;
        return true;
}

static bool sink_get_memory(struct io_sink *sink)
{
        sink->memory = memfd_create("belay-stdin", MFD_CLOEXEC);
        if (sink->memory >= 0 && ftruncate(sink->memory, (off_t)sink->max) == 0 && sink_map(sink))
                return true;
        sink_forget(sink);
        return false;
}

/* Holds nothing any more, or watches for room. */
static void sink_update(struct io_sink *sink)
{
        if (sink->off == sink->len) {
                sink_forget(sink);
                sink->off = 0;
                sink->len = 0;
                if (sink->ending)
                        sink_close(sink);
        }
        if (sink->fd >= 0 && loop_io_want(sink->io, sink->data ? LOOP_WRITE : 0) < 0)
                (void)loop_timer_set(sink->retry, RETRY_NS);
}

/* Bytes that it has got rid of. */
static size_t sink_flush(struct io_sink *sink)
{
        size_t n = 0;

        if (sink->data)
                n = sink_write_some(sink, sink->data + sink->off, sink->len - sink->off);
        sink->off += n;
        return n;
}

static void sink_pump(struct io_sink *sink)
{
        const struct io_sink_ops *ops = sink->ops;
        void *entered = ops->enter ? ops->enter(sink->userdata) : NULL;
        size_t n = sink_flush(sink);

        sink_update(sink);
        if (n > 0)
                ops->on_taken(n, sink->userdata);
        if (ops->leave)
                ops->leave(entered);
}

static void sink_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        sink_pump(userdata);
}

static void sink_on_retry(struct loop_timer *timer, void *userdata)
{
        sink_pump(userdata);
}

/* fd: -1 when nobody reads any more; it is not taken yet. */
static struct io_sink *sink_new(struct loop *loop, int fd, size_t max,
                                const struct io_sink_ops *ops, void *userdata, struct error *err)
{
        _cleanup_(io_sink_free_p) struct io_sink *sink = calloc(1, sizeof(*sink));

        if (sink) {
                sink->fd = -1;
                sink->memory = -1;
                sink->ops = ops;
                sink->userdata = userdata;
                sink->max = max;
                if (fd >= 0)
                        sink->io = loop_io_new(loop, fd, LOOP_PRIORITY_RELAY, sink_on_io, sink);
                sink->retry = loop_timer_new(loop, sink_on_retry, sink);
        }
        if (!sink || (fd >= 0 && !sink->io) || !sink->retry) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "stream: no memory");
                return NULL;
        }
        return TAKE_PTR(sink);
}

int io_sink_new_take(struct io_sink **ret, struct loop *loop, int fd, size_t max,
                     const struct io_sink_ops *ops, void *userdata, struct error *err)
{
        struct io_sink *sink = sink_new(loop, fd, max, ops, userdata, err);

        if (!sink)
                return -1;
        sink->fd = fd;
        *ret = sink;
        return 0;
}

struct io_sink *io_sink_free(struct io_sink *sink)
{
        if (!sink)
                return NULL;
        loop_io_free(sink->io);
        loop_timer_free(sink->retry);
        fd_close(sink->fd);
        sink_forget(sink);
        free(sink);
        return NULL;
}

void io_sink_save(const struct io_sink *sink, Belay__State__V1__Sink *ret)
{
        belay__state__v1__sink__init(ret);
        ret->fd = kept_number(sink->fd);
        ret->memory = kept_number(sink->memory);
        ret->offset = (uint32_t)sink->off;
        ret->length = (uint32_t)io_sink_held(sink);
        ret->ending = sink->ending;
}

static int sink_restore_held(struct io_sink *sink, const Belay__State__V1__Sink *m,
                             struct error *err)
{
        struct stat st;

        if (kept_take(m->memory, KEPT_FILE, "held stdin", &sink->memory, err) < 0)
                return -1;
        if (sink->memory < 0)
                return 0;
        if (fstat(sink->memory, &st) < 0 || (uint64_t)st.st_size != sink->max ||
            m->offset > sink->max || m->length > sink->max - m->offset)
                return error_set(err, STATUS_INVALID_ARGUMENT, "held stdin: %u bytes at %u",
                                 m->length, m->offset);
        if (!sink_map(sink))
                return error_errno(err, errno, "held stdin: map");
        sink->off = m->offset;
        sink->len = (size_t)m->offset + m->length;
        return 0;
}

int io_sink_restore(struct io_sink **ret, struct loop *loop, const Belay__State__V1__Sink *m,
                    size_t max, const struct io_sink_ops *ops, void *userdata, struct error *err)
{
        _cleanup_(io_sink_free_p) struct io_sink *sink = NULL;
        _cleanup_close_ int fd = -1;

        if (kept_take(m->fd, KEPT_PIPE, "stdin", &fd, err) < 0)
                return -1;
        sink = sink_new(loop, fd, max, ops, userdata, err);
        if (!sink)
                return -1;
        sink->fd = TAKE_FD(fd);
        sink->ending = m->ending;
        if (sink_restore_held(sink, m, err) < 0)
                return -1;
        sink_update(sink);
        *ret = TAKE_PTR(sink);
        return 0;
}

size_t io_sink_held(const struct io_sink *sink)
{
        return sink->len - sink->off;
}

/* Room for len bytes behind those that are held. */
static bool sink_reserve(struct io_sink *sink, size_t len)
{
        if (!sink->data && !sink_get_memory(sink))
                return false;
        if (sink->len + len <= sink->max)
                return true;
        memmove(sink->data, sink->data + sink->off, sink->len - sink->off);
        sink->len -= sink->off;
        sink->off = 0;
        return true;
}

ssize_t io_sink_write(struct io_sink *sink, const void *data, size_t len)
{
        size_t n = 0;

        if (sink->fd < 0 || sink->ending)
                return (ssize_t)len;
        assert(len <= sink->max - io_sink_held(sink));
        if (!sink->data) {
                n = sink_write_some(sink, data, len);
                if (n == len)
                        return (ssize_t)n;
        }
        if (!sink_reserve(sink, len - n))
                return -1;
        memcpy(sink->data + sink->len, (const char *)data + n, len - n);
        sink->len += len - n;
        sink_update(sink);
        return (ssize_t)n;
}

void io_sink_end(struct io_sink *sink)
{
        sink->ending = true;
        sink_update(sink);
}
