/* SPDX-License-Identifier: Apache-2.0
 *
 * See sink.h. As in relay.c a write happens only when the kernel says that it will not wait, and is
 * no longer than a pipe takes at once (PIPE_BUF).
 */
#include "cmd/belay/sink.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/fd.h"

enum {
        SINK_FULL = 256 << 10,
        WRITES_PER_ROUND = 16, /* so that keys and signals have their turn */
};

struct sink {
        struct loop *loop;
        int fd;
        struct loop_io *io; /* NULL: always ready */
        void (*on_change)(void *userdata);
        void *userdata;
        int errnum;
        char *buf;
        size_t room;
        size_t pos; /* what lies before it is written */
        size_t len;
};

static bool can_write(const struct sink *sink)
{
        struct pollfd p = {.fd = sink->fd, .events = POLLOUT};

        return !sink->io || poll(&p, 1, 0) > 0;
}

static void sink_break(struct sink *sink, int errnum)
{
        sink->errnum = errnum;
        sink->pos = 0;
        sink->len = 0;
}

/* At most so many writes. */
static void sink_drain(struct sink *sink, int n_writes)
{
        while (sink->len > 0 && n_writes-- > 0 && can_write(sink)) {
                size_t n = sink->len < PIPE_BUF ? sink->len : PIPE_BUF;
                ssize_t r = write(sink->fd, sink->buf + sink->pos, n);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0 && errno != EAGAIN)
                        sink_break(sink, errno);
                if (r < 0)
                        return;
                sink->pos += (size_t)r;
                sink->len -= (size_t)r;
        }
        if (sink->len == 0)
                sink->pos = 0;
}

static void sink_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        struct sink *sink = userdata;

        (void)fd;
        (void)what;
        sink_drain(sink, WRITES_PER_ROUND);
        (void)loop_io_want(io, sink->len > 0 ? LOOP_WRITE : 0);
        sink->on_change(sink->userdata);
}

int sink_new(struct sink **ret, struct loop *loop, int fd, void (*on_change)(void *userdata),
             void *userdata, struct error *err)
{
        struct sink *sink = calloc(1, sizeof(*sink));

        if (!sink)
                return error_errno(err, ENOMEM, "write output");
        sink->loop = loop;
        sink->fd = fd;
        sink->on_change = on_change;
        sink->userdata = userdata;
        if (fd_is_pollable(fd)) {
                sink->io = loop_io_new(loop, fd, LOOP_PRIORITY_RELAY, sink_on_io, sink);
                if (!sink->io) {
                        free(sink);
                        return error_errno(err, ENOMEM, "write output");
                }
        }
        *ret = sink;
        return 0;
}

struct sink *sink_free(struct sink *sink)
{
        if (!sink)
                return NULL;
        loop_io_free(sink->io);
        free(sink->buf);
        free(sink);
        return NULL;
}

static int sink_reserve(struct sink *sink, size_t len)
{
        size_t room = sink->room ? sink->room : PIPE_BUF;
        char *grown;

        if (sink->pos > 0 && sink->room - sink->pos - sink->len < len) {
                memmove(sink->buf, sink->buf + sink->pos, sink->len);
                sink->pos = 0;
        }
        while (room - sink->pos - sink->len < len)
                room *= 2;
        if (room == sink->room)
                return 0;
        grown = realloc(sink->buf, room);
        if (!grown)
                return -1;
        sink->buf = grown;
        sink->room = room;
        return 0;
}

int sink_write(struct sink *sink, const void *data, size_t len, struct error *err)
{
        if (sink->errnum != 0 || len == 0)
                return 0;
        if (sink_reserve(sink, len) < 0)
                return error_errno(err, ENOMEM, "write output");
        memcpy(sink->buf + sink->pos + sink->len, data, len);
        sink->len += len;
        if (sink->io)
                return loop_io_want(sink->io, LOOP_WRITE) < 0
                               ? error_errno(err, ENOMEM, "write output")
                               : 0;
        sink_drain(sink, INT_MAX);
        return 0;
}

bool sink_is_full(const struct sink *sink)
{
        return sink->len >= SINK_FULL;
}

bool sink_is_empty(const struct sink *sink)
{
        return sink->len == 0;
}

int sink_errno(const struct sink *sink)
{
        return sink->errnum;
}
