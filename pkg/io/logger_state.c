/* SPDX-License-Identifier: Apache-2.0
 *
 * Saving and restoring a logging program: what the URI says is read again, the message holds
 * descriptors, and how far things have come.
 */
#include "pkg/base/clock.h"
#include "pkg/base/kept.h"
#include "pkg/io/logger_impl.h"

static uint32_t *save_fds(const int fds[static IO_LOGGER_STREAMS], struct arena *arena)
{
        uint32_t *saved = arena_calloc(arena, IO_LOGGER_STREAMS, sizeof(*saved));

        for (int i = 0; saved && i < IO_LOGGER_STREAMS; i++)
                saved[i] = kept_number(fds[i]);
        return saved;
}

int io_logger_save(const struct io_logger *logger, struct arena *arena,
                   Belay__State__V1__Logger **ret, struct error *err)
{
        Belay__State__V1__Logger *m = arena_alloc(arena, sizeof(*m));

        if (!m)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        belay__state__v1__logger__init(m);
        m->reading = save_fds(logger->ours, arena);
        m->writing = save_fds(logger->theirs, arena);
        if (!m->reading || !m->writing)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        m->n_reading = IO_LOGGER_STREAMS;
        m->n_writing = IO_LOGGER_STREAMS;
        m->pid = logger->pid;
        m->started_ns = logger->started_ns;
        m->timer_ns = loop_timer_is_set(logger->timer) ? logger->timer_ns : 0;
        m->deaths = logger->n_deaths;
        m->restarts = logger->n_restarts;
        m->bytes_dropped = logger->bytes_dropped;
        m->ready = kept_number(logger->ready_fd);
        m->status = kept_number(logger->status_fd);
        m->stopping = logger->stopping;
        m->ended = logger->ended;
        m->has_all = logger->has_all;
        m->given_up = logger->given_up;
        m->has_left = logger->has_left;
        *ret = m;
        return logger_program_save(logger->program, arena, m, err);
}

static int restore_fds(struct io_logger *logger, const Belay__State__V1__Logger *m,
                       struct error *err)
{
        for (size_t i = 0; i < IO_LOGGER_STREAMS && i < m->n_reading; i++) {
                if (kept_take(m->reading[i], KEPT_PIPE, "logger's pipe", &logger->ours[i], err) < 0)
                        return -1;
        }
        for (size_t i = 0; i < IO_LOGGER_STREAMS && i < m->n_writing; i++) {
                if (kept_take(m->writing[i], KEPT_PIPE, "logger's pipe", &logger->theirs[i], err) <
                    0)
                        return -1;
        }
        if (kept_take(m->ready, KEPT_PIPE, "logger's readiness", &logger->ready_fd, err) < 0)
                return -1;
        return kept_take(m->status, KEPT_PIPE, "logger's status", &logger->status_fd, err);
}

/* What is under way goes on: a program that runs, a pause, a grace, or nothing but the pipes. */
static int restore_progress(struct io_logger *logger, const Belay__State__V1__Logger *m,
                            struct error *err)
{
        uint64_t now = clock_monotonic_ns();

        if (logger->given_up)
                logger_discard(logger);
        if (m->timer_ns > 0 &&
            logger_set_timer(logger, m->timer_ns > now ? m->timer_ns - now : 0) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        if (logger->ready_fd >= 0) {
                logger->ready_io = loop_io_new(logger->loop, logger->ready_fd, LOOP_PRIORITY_RPC,
                                               logger_ready_on_io, logger);
                if (!logger->ready_io || loop_io_want(logger->ready_io, LOOP_READ) < 0)
                        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                         "logging binary: no memory");
        }
        if (m->pid <= 0)
                return 0;
        logger->watch = reaper_watch_new(logger->reaper, m->pid, logger_on_exit, logger);
        if (!logger->watch)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        logger->pid = m->pid;
        return 0;
}

int io_logger_restore(struct io_logger **ret, const struct io_logger_config *config,
                      const Belay__State__V1__Logger *m, struct error *err)
{
        struct io_logger *logger = logger_alloc(config, err);

        if (!logger)
                return -1;
        logger->is_ready = true;
        logger->started_ns = m->started_ns;
        logger->n_deaths = m->deaths;
        logger->n_restarts = m->restarts;
        logger->bytes_dropped = m->bytes_dropped;
        logger->stopping = m->stopping;
        logger->given_up = m->given_up;
        logger->has_left = m->has_left;
        logger->ended = m->ended;
        logger->has_all = m->has_all;
        if (restore_fds(logger, m, err) < 0 || logger_program_adopt(logger->program, m, err) < 0 ||
            restore_progress(logger, m, err) < 0) {
                io_logger_abandon(logger);
                return -1;
        }
        *ret = logger;
        return 0;
}
