/* SPDX-License-Identifier: Apache-2.0
 *
 * See source.h. One read for each time that the descriptor is ready: it may be the shell's, too,
 * and is not made non-blocking.
 */
#include "cmd/belay/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/fd.h"

enum { READ_MAX = 4096, HELD_MAX = 4 * READ_MAX };

struct source {
        struct loop *loop;
        int fd;
        bool is_terminal;
        struct loop_io *io; /* NULL: always ready */
        struct loop_deferred again;
        struct detach_keys keys;
        void (*on_news)(void *userdata);
        void *userdata;
        bool wanted;
        bool ended;
        bool detach;
        size_t pos;
        size_t len;
        uint8_t held[HELD_MAX];
        uint8_t in[READ_MAX];
};

static void source_hold(struct source *source, const uint8_t *data, size_t len)
{
        size_t room;

        if (source->pos > 0)
                memmove(source->held, source->held + source->pos, source->len);
        source->pos = 0;
        room = HELD_MAX - source->len;
        if (len > room)
                len = room;
        memcpy(source->held + source->len, data, len);
        source->len += len;
}

/* Watches, or not, according to what there is and what is wanted. */
static void source_watch(struct source *source)
{
        bool reading = !source->ended && !source->detach &&
                       (source->is_terminal || (source->wanted && source->len == 0));

        if (source->io)
                (void)loop_io_want(source->io, reading ? LOOP_READ : 0);
        else if (reading)
                loop_defer(source->loop, &source->again);
        else
                loop_deferred_cancel(&source->again);
}

static void source_read(struct source *source)
{
        uint8_t out[READ_MAX + DETACH_KEYS_MAX];
        ssize_t n = read(source->fd, source->in, sizeof(source->in));
        size_t len = 0;

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
                source_watch(source);
                return;
        }
        if (n <= 0)
                source->ended = true;
        else
                source->detach =
                        detach_keys_filter(&source->keys, source->in, (size_t)n, out, &len);
        source_hold(source, out, len);
        source_watch(source);
        source->on_news(source->userdata);
}

static void source_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        (void)io;
        (void)fd;
        (void)what;
        source_read(userdata);
}

static void source_on_again(struct loop_deferred *deferred)
{
        source_read(container_of(deferred, struct source, again));
}

int source_new(struct source **ret, struct loop *loop, int fd, const struct detach_keys *keys,
               void (*on_news)(void *userdata), void *userdata, struct error *err)
{
        struct source *source = calloc(1, sizeof(*source));

        if (!source)
                return error_errno(err, ENOMEM, "read source");
        source->loop = loop;
        source->fd = fd;
        source->is_terminal = isatty(fd);
        if (keys && source->is_terminal)
                source->keys = *keys;
        source->on_news = on_news;
        source->userdata = userdata;
        loop_deferred_init(&source->again, source_on_again);
        if (fd_is_pollable(fd)) {
                source->io = loop_io_new(loop, fd, LOOP_PRIORITY_RELAY, source_on_io, source);
                if (!source->io) {
                        free(source);
                        return error_errno(err, ENOMEM, "read source");
                }
        }
        source_watch(source);
        *ret = source;
        return 0;
}

struct source *source_free(struct source *source)
{
        if (!source)
                return NULL;
        loop_deferred_cancel(&source->again);
        loop_io_free(source->io);
        free(source);
        return NULL;
}

void source_want(struct source *source, bool wanted)
{
        source->wanted = wanted;
        source_watch(source);
}

const uint8_t *source_bytes(const struct source *source, size_t *ret_len)
{
        *ret_len = source->len;
        return source->held + source->pos;
}

void source_take(struct source *source, size_t n)
{
        source->pos += n;
        source->len -= n;
        source_watch(source);
}

bool source_has_ended(const struct source *source)
{
        return source->ended;
}

bool source_is_detach(const struct source *source)
{
        return source->detach;
}
