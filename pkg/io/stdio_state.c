/* SPDX-License-Identifier: Apache-2.0
 *
 * Saving and restoring a process's stdio. What the request says is read again; the message holds
 * descriptors, and how far things have come.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/kept.h"
#include "pkg/io/stdio_impl.h"

#include "belay/state/v1/io.pb-c.h"

/* Of a restore that fails: another image will take the logger over. */
static void abandon_p(struct io_stdio **s)
{
        if (*s)
                (*s)->logger = io_logger_abandon((*s)->logger);
        io_stdio_free(*s);
}

/* ---- Saving ---- */

static uint32_t *save_fds(const int fds[static STDIO_STREAMS], struct arena *arena)
{
        uint32_t *saved = arena_calloc(arena, STDIO_STREAMS, sizeof(*saved));

        for (int i = 0; saved && i < STDIO_STREAMS; i++)
                saved[i] = kept_number(fds[i]);
        return saved;
}

int io_stdio_save(const struct io_stdio *s, struct arena *arena, Belay__State__V1__Stdio **ret,
                  struct error *err)
{
        Belay__State__V1__Stdio *m = arena_alloc(arena, sizeof(*m));

        if (!m)
                return error_no_memory(err);
        belay__state__v1__stdio__init(m);
        m->child = save_fds(s->child, arena);
        m->keep = save_fds(s->keep, arena);
        m->late = save_fds(s->late, arena);
        if (!m->child || !m->keep || !m->late)
                return error_no_memory(err);
        m->n_child = STDIO_STREAMS;
        m->n_keep = STDIO_STREAMS;
        m->n_late = STDIO_STREAMS;
        m->has_process = s->has_process;
        m->exited = s->exited;
        m->drained = s->drained;
        m->ready = s->ready;
        m->has_size = s->has_size;
        m->width = s->width;
        m->height = s->height;
        m->relay_input = kept_number(s->relay_input);
        m->relay_output = kept_number(s->relay_output);
        if (s->relay) {
                m->relay = arena_alloc(arena, sizeof(*m->relay));
                if (!m->relay)
                        return error_no_memory(err);
                io_relay_save(s->relay, m->relay);
        }
        if (s->ring) {
                m->ring = arena_alloc(arena, sizeof(*m->ring));
                if (!m->ring)
                        return error_no_memory(err);
                io_ring_save(s->ring, m->ring);
        }
        if (s->logger && io_logger_save(s->logger, arena, &m->logger, err) < 0)
                return -1;
        *ret = m;
        return 0;
}

/* ---- Restoring ---- */

static int restore_fds(int fds[static STDIO_STREAMS], const uint32_t *saved, size_t n,
                       const char *what, struct error *err)
{
        for (size_t i = 0; i < n && i < STDIO_STREAMS; i++) {
                if (kept_take(saved[i], KEPT_ANY, what, &fds[i], err) < 0)
                        return -1;
        }
        return 0;
}

/* What stdout's text means. */
static int restore_target(struct io_stdio *s, const struct io_stdio_config *config,
                          const Belay__State__V1__Stdio *m, struct error *err)
{
        _cleanup_(io_uri_clear_p) struct io_uri out = {.target = IO_TARGET_NULL};
        struct io_logger_config logger;

        if (config->carried) {
                s->out_target = IO_TARGET_ATTACH;
                return 0;
        }
        if (io_uri_parse(config->out, &out, err) < 0)
                return -1;
        s->out_target = out.target;
        if (out.target == IO_TARGET_CONSOLE && s->terminal)
                s->console = TAKE_PTR(out.path);
        if (!m->logger)
                return 0;
        logger = stdio_logger_config(s, &out, config);
        return io_logger_restore(&s->logger, &logger, m->logger, err);
}

/* Its callbacks come from the loop, when all of s is there. */
static int restore_relay(struct io_stdio *s, const Belay__State__V1__Stdio *m, struct error *err)
{
        struct io_ring *ring;

        if (m->ring && io_ring_restore(&s->ring, m->ring, err) < 0)
                return -1;
        if (!m->relay)
                return 0;
        if (io_relay_restore(&s->relay, s->loop, m->relay, stdio_on_relay_end, s, err) < 0)
                return -1;
        io_relay_on_change(s->relay, stdio_on_change);
        ring = io_stdio_ring(s);
        if (s->ring && ring == s->ring)
                io_relay_set_ring(s->relay, ring);
        return 0;
}

int io_stdio_restore(struct io_stdio **ret, const struct io_stdio_config *config,
                     const Belay__State__V1__Stdio *m, struct error *err)
{
        _cleanup_(abandon_p) struct io_stdio *s = stdio_alloc(config, err);

        if (!s)
                return -1;
        s->has_process = m->has_process;
        s->exited = m->exited;
        s->drained = m->drained;
        s->ready = m->ready;
        s->has_size = m->has_size;
        s->width = (uint16_t)m->width;
        s->height = (uint16_t)m->height;
        if (restore_fds(s->child, m->child, m->n_child, "the process's stdio", err) < 0 ||
            restore_fds(s->keep, m->keep, m->n_keep, "the kept ends of stdio", err) < 0 ||
            restore_fds(s->late, m->late, m->n_late, "the held ends of stdio", err) < 0 ||
            kept_take(m->relay_input, KEPT_ANY, "terminal's input", &s->relay_input, err) < 0 ||
            kept_take(m->relay_output, KEPT_ANY, "terminal's output", &s->relay_output, err) < 0 ||
            restore_target(s, config, m, err) < 0 || restore_relay(s, m, err) < 0)
                return -1;
        /* A logger's end is saved before it is told. */
        if (s->relay ? io_relay_has_ended(s->relay) : s->exited)
                stdio_on_relay_end(s);
        *ret = TAKE_PTR(s);
        return 0;
}
