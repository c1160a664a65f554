/* SPDX-License-Identifier: Apache-2.0
 *
 * The descriptors belong to the shell or the terminal, too, so they are not made non-blocking: a
 * read or write happens only when the kernel says that it will not wait, and a write is no longer
 * than a pipe takes at once (PIPE_BUF).
 */
#include "cmd/belay/relay.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "pkg/base/fd.h"

struct relay {
        struct loop *loop;
        int in;
        int out;
        struct loop_io *in_io;  /* NULL: a regular file */
        struct loop_io *out_io; /* likewise */
        struct loop_deferred again;
        bool ended;  /* nothing more comes from in */
        bool broken; /* out takes nothing more */
        bool done;
        size_t pos;
        size_t len;
        void (*fn)(void *userdata);
        void *userdata;
        char buf[PIPE_BUF];
};

static void relay_step(struct relay *relay);

static void relay_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        (void)io;
        (void)fd;
        (void)what;
        relay_step(userdata);
}

static void relay_again(struct loop_deferred *deferred)
{
        relay_step(container_of(deferred, struct relay, again));
}

static void relay_read(struct relay *relay)
{
        ssize_t n = read(relay->in, relay->buf, sizeof(relay->buf));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                relay->ended = true;
                return;
        }
        relay->pos = 0;
        relay->len = relay->broken ? 0 : (size_t)n;
}

static void relay_write(struct relay *relay)
{
        ssize_t n = write(relay->out, relay->buf + relay->pos, relay->len - relay->pos);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n < 0) {
                relay->broken = true;
                relay->len = 0;
                return;
        }
        relay->pos += (size_t)n;
        if (relay->pos == relay->len)
                relay->len = 0;
}

/* Asks the loop for what is next: to be readable while the buffer is empty, else to be writable. */
static void relay_want(struct relay *relay)
{
        bool reading = relay->len == 0;
        struct loop_io *now = reading ? relay->in_io : relay->out_io;
        struct loop_io *other = reading ? relay->out_io : relay->in_io;

        if (other)
                (void)loop_io_want(other, 0);
        if (!now)
                loop_defer(relay->loop, &relay->again);
        else
                (void)loop_io_want(now, reading ? LOOP_READ : LOOP_WRITE);
}

static void relay_step(struct relay *relay)
{
        if (relay->len == 0)
                relay_read(relay);
        else
                relay_write(relay);
        if (!relay->ended || relay->len > 0) {
                relay_want(relay);
                return;
        }
        relay->in_io = loop_io_free(relay->in_io);
        relay->out_io = loop_io_free(relay->out_io);
        relay->done = true;
        if (relay->fn)
                relay->fn(relay->userdata);
}

/* An io for fd, or NULL in *ret when it is always ready. */
static int watch(struct relay *relay, int fd, struct loop_io **ret, struct error *err)
{
        if (!fd_is_pollable(fd))
                return 0;
        *ret = loop_io_new(relay->loop, fd, LOOP_PRIORITY_RELAY, relay_on_io, relay);
        return *ret ? 0 : error_errno(err, ENOMEM, "relay standard streams");
}

int relay_new(struct relay **ret, struct loop *loop, int in, int out, void (*fn)(void *userdata),
              void *userdata, struct error *err)
{
        struct relay *relay = calloc(1, sizeof(*relay));

        if (!relay)
                return error_errno(err, ENOMEM, "relay standard streams");
        relay->loop = loop;
        relay->in = in;
        relay->out = out;
        relay->fn = fn;
        relay->userdata = userdata;
        loop_deferred_init(&relay->again, relay_again);
        if (watch(relay, in, &relay->in_io, err) < 0 ||
            watch(relay, out, &relay->out_io, err) < 0) {
                relay_free(relay);
                return -1;
        }
        relay_want(relay);
        *ret = relay;
        return 0;
}

struct relay *relay_free(struct relay *relay)
{
        if (!relay)
                return NULL;
        loop_deferred_cancel(&relay->again);
        loop_io_free(relay->in_io);
        loop_io_free(relay->out_io);
        free(relay);
        return NULL;
}

bool relay_is_done(const struct relay *relay)
{
        return relay->done;
}
