/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a logging program: see logger.h.
 *
 *   starting -> running -> (death) -> waiting for a restart -> running -> ... -> ended
 *                                  \-> given up: what comes is thrown away until the pipes end
 *
 * One that goes into the background leaves a process behind, which is the program from then on.
 */
#include "pkg/io/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/io/logger_impl.h"
#include "pkg/io/logger_orphan.h"

#define RESTART_PAUSE_MIN_NS (20 * NSEC_PER_MSEC) /* doubled up to the other one */
#define RESTART_PAUSE_MAX_NS (640 * NSEC_PER_MSEC)
#define STOP_GRACE_NS        (LIMIT_LOGGER_GRACE_S * NSEC_PER_SEC)
#define READY_PAUSE_NS       (100 * NSEC_PER_MSEC)

enum { DISCARD_ROOM = 4096, DISCARDS_PER_ROUND = 64 };

__attribute__((format(printf, 2, 3))) static void report(struct io_logger *logger, const char *fmt,
                                                         ...)
{
        char text[256];
        va_list ap;

        va_start(ap, fmt);
        if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
                text[0] = '\0';
        va_end(ap);
        if (logger->events.on_report)
                logger->events.on_report(text, logger->events.userdata);
}

static void changed(struct io_logger *logger)
{
        if (logger->events.on_change)
                logger->events.on_change(logger->events.userdata);
}

/* ---- Ready ---- */

static void on_ready_late(struct loop_deferred *deferred)
{
        struct io_logger *logger = container_of(deferred, struct io_logger, ready_late);

        logger->events.on_ready(logger->has_failed ? &logger->why_failed : NULL,
                                logger->events.userdata);
}

static void set_ready(struct io_logger *logger, const struct error *err)
{
        if (logger->is_ready)
                return;
        logger->is_ready = true;
        if (err) {
                logger->has_failed = true;
                logger->why_failed = *err;
        }
        loop_defer(logger->loop, &logger->ready_late);
}

static void ready_close(struct io_logger *logger)
{
        logger->ready_io = loop_io_free(logger->ready_io);
        logger->ready_fd = fd_close(logger->ready_fd);
        logger->status_fd = fd_close(logger->status_fd);
        loop_timer_clear(logger->ready_timer);
        changed(logger);
}

/* The end of the pipe: it was not executed, or is ready, or has forgotten to say so. */
static void ready_ended(struct io_logger *logger)
{
        struct error err = ERROR_INIT;

        logger->ready_io = loop_io_free(logger->ready_io);
        if (logger->is_ready)
                return;
        if (logger_program_check(logger->program, logger->status_fd, &err) == 0 &&
            logger->must_say_ready)
                (void)error_set(&err, STATUS_UNKNOWN, "logging binary '%s' did not call ready",
                                logger_program_name(logger->program));
        if (err.code != STATUS_OK && logger->pid > 0)
                (void)kill(logger->pid, SIGKILL);
        set_ready(logger, err.code != STATUS_OK ? &err : NULL);
}

static void ready_look(struct io_logger *logger)
{
        char said[DISCARD_ROOM];
        ssize_t n = -1;
        bool any = false;

        for (int i = 0; i < DISCARDS_PER_ROUND; i++) {
                n = read(logger->ready_fd, said, sizeof(said));
                if (n <= 0)
                        break;
                any = true;
        }
        if (any)
                set_ready(logger, NULL);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                ready_ended(logger);
                return;
        }
        if (any && loop_timer_set(logger->ready_timer, READY_PAUSE_NS) == 0)
                (void)loop_io_want(logger->ready_io, 0);
}

void logger_ready_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        (void)io;
        (void)fd;
        (void)what;
        ready_look(userdata);
}

static void ready_on_timer(struct loop_timer *timer, void *userdata)
{
        struct io_logger *logger = userdata;

        (void)timer;
        if (logger->ready_io)
                (void)loop_io_want(logger->ready_io, LOOP_READ);
}

/* ---- The end ---- */

static void on_end_late(struct loop_deferred *deferred)
{
        struct io_logger *logger = container_of(deferred, struct io_logger, end_late);

        if (logger->events.on_end)
                logger->events.on_end(logger->events.userdata);
}

static void set_ended(struct io_logger *logger, bool has_all)
{
        if (logger->ended)
                return;
        logger->ended = true;
        logger->has_all = has_all;
        loop_timer_clear(logger->timer);
        ready_close(logger);
        loop_defer(logger->loop, &logger->end_late);
}

/* Nobody can write into it any more, and nothing is left in it. */
static bool pipe_has_ended(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return fd < 0 || (poll(&p, 1, 0) == 1 && p.revents == POLLHUP);
}

static bool pipes_have_ended(const struct io_logger *logger)
{
        for (int i = 0; i < IO_LOGGER_STREAMS; i++) {
                if (!pipe_has_ended(logger->ours[i]))
                        return false;
        }
        return true;
}

/* ---- Given up ---- */

static void discard_on_io(struct loop_io *io, int fd, int what, void *userdata)
{
        struct io_logger *logger = userdata;
        char waste[DISCARD_ROOM];

        (void)what;
        for (int i = 0; i < DISCARDS_PER_ROUND; i++) {
                ssize_t n = read(fd, waste, sizeof(waste));

                if (n > 0) {
                        logger->bytes_dropped += (uint64_t)n;
                        changed(logger);
                        continue;
                }
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                (void)loop_io_want(io, 0);
                if (pipes_have_ended(logger))
                        set_ended(logger, false);
                return;
        }
}

/* The container goes on, whatever becomes of its output. */
void logger_discard(struct io_logger *logger)
{
        logger->given_up = true;
        changed(logger);
        for (int i = 0; i < IO_LOGGER_STREAMS; i++) {
                struct loop_io *io;

                (void)fd_set_nonblock(logger->ours[i], 1);
                io = loop_io_new(logger->loop, logger->ours[i], LOOP_PRIORITY_RELAY, discard_on_io,
                                 logger);
                logger->discard_io[i] = io;
                if (!io || loop_io_want(io, LOOP_READ) < 0)
                        report(logger, "no memory: the container may block on its output");
        }
}

static void give_up(struct io_logger *logger)
{
        report(logger, "the logger has died %u times in a row: what comes is thrown away",
               logger->n_deaths);
        logger_discard(logger);
}

/* ---- Death and restart ---- */

int logger_set_timer(struct io_logger *logger, uint64_t delay_ns)
{
        logger->timer_ns = clock_monotonic_ns() + delay_ns;
        changed(logger);
        return loop_timer_set(logger->timer, delay_ns);
}

static void restart_later(struct io_logger *logger)
{
        uint64_t pause = RESTART_PAUSE_MIN_NS << logger->n_deaths;

        if (logger->n_deaths++ >= LIMIT_LOGGER_RESTARTS ||
            logger_set_timer(logger, pause < RESTART_PAUSE_MAX_NS ? pause : RESTART_PAUSE_MAX_NS) <
                    0)
                give_up(logger);
}

/* False when it has left nothing behind that could go on. */
static bool follow_orphan(struct io_logger *logger)
{
        pid_t pid = logger->has_left
                            ? logger_orphan_find(logger->reaper, logger->ours, IO_LOGGER_STREAMS)
                            : 0;

        if (pid == 0)
                return false;
        logger->watch = reaper_watch_new(logger->reaper, pid, logger_on_exit, logger);
        if (!logger->watch)
                return false;
        logger->pid = pid;
        changed(logger);
        report(logger, "the logger has gone into the background as process %d", (int)pid);
        if (logger->stopping)
                (void)kill(pid, SIGTERM);
        return true;
}

/* What the first process has said by its end. */
static void end_starting(struct io_logger *logger)
{
        struct error err = ERROR_INIT;

        ready_look(logger);
        if (logger->is_ready)
                return;
        /* A child of its own has the descriptor still. */
        if (logger->must_say_ready)
                (void)error_set(&err, STATUS_UNKNOWN, "logging binary '%s' did not call ready",
                                logger_program_name(logger->program));
        set_ready(logger, logger->must_say_ready ? &err : NULL);
}

void logger_on_exit(const struct reaper_exit *exit, void *userdata)
{
        struct io_logger *logger = userdata;
        bool has_all = pipes_have_ended(logger);

        logger->watch = NULL;
        logger->pid = 0;
        if (!logger->is_ready)
                end_starting(logger);
        logger->has_left = !logger->has_failed && !logger_program_log(logger->program) &&
                           exit->code == CLD_EXITED && exit->status == EXIT_SUCCESS;
        if (follow_orphan(logger))
                return;
        if (logger->has_failed || logger->stopping || has_all) {
                set_ended(logger, has_all && !logger->has_failed);
                return;
        }
        report(logger, "the logger died: %s %d",
               exit->code == CLD_EXITED ? "exit status" : "signal", exit->status);
        if (clock_monotonic_ns() - logger->started_ns > LIMIT_LOGGER_LIFE_S * NSEC_PER_SEC)
                logger->n_deaths = 0;
        restart_later(logger);
}

/* Starts the program and watches it. */
static int logger_start(struct io_logger *logger, struct error *err)
{
        pid_t pid;

        ready_close(logger);
        pid = logger_program_start(logger->program, logger->ours, &logger->ready_fd,
                                   &logger->status_fd, err);
        if (pid < 0)
                return -1;
        logger->watch = reaper_watch_new(logger->reaper, pid, logger_on_exit, logger);
        logger->ready_io = loop_io_new(logger->loop, logger->ready_fd, LOOP_PRIORITY_RPC,
                                       logger_ready_on_io, logger);
        if (!logger->watch || !logger->ready_io || loop_io_want(logger->ready_io, LOOP_READ) < 0) {
                (void)kill(pid, SIGKILL);
                logger->watch = reaper_watch_free(logger->watch);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        }
        logger->pid = pid;
        changed(logger);
        logger->started_ns = clock_monotonic_ns();
        return 0;
}

static void restart(struct io_logger *logger)
{
        struct error err = ERROR_INIT;

        /* It may have been on its way to us when its parent ended. */
        if (follow_orphan(logger))
                return;
        if (pipes_have_ended(logger)) {
                set_ended(logger, true);
                return;
        }
        if (logger_start(logger, &err) == 0) {
                logger->n_restarts++;
                return;
        }
        report(logger, "%s", err.msg);
        restart_later(logger);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        struct io_logger *logger = userdata;

        (void)timer;
        if (!logger->stopping) {
                restart(logger);
                return;
        }
        report(logger, "the logger did not end in time: killed");
        if (logger->pid > 0)
                (void)kill(logger->pid, SIGKILL);
}

void io_logger_stop(struct io_logger *logger)
{
        if (logger->stopping || logger->ended)
                return;
        logger->stopping = true;
        if (logger->pid == 0) {
                set_ended(logger, false);
                return;
        }
        (void)kill(logger->pid, SIGTERM);
        if (logger_set_timer(logger, STOP_GRACE_NS) < 0)
                (void)kill(logger->pid, SIGKILL);
}

/* ---- Life ---- */

struct io_logger *io_logger_free(struct io_logger *logger)
{
        if (logger && logger->pid > 0)
                (void)kill(logger->pid, SIGKILL);
        return io_logger_abandon(logger);
}

struct io_logger *io_logger_abandon(struct io_logger *logger)
{
        if (!logger)
                return NULL;
        reaper_watch_free(logger->watch);
        loop_deferred_cancel(&logger->ready_late);
        loop_deferred_cancel(&logger->end_late);
        loop_timer_free(logger->timer);
        loop_io_free(logger->ready_io);
        loop_timer_free(logger->ready_timer);
        fd_close(logger->ready_fd);
        fd_close(logger->status_fd);
        for (int i = 0; i < IO_LOGGER_STREAMS; i++) {
                loop_io_free(logger->discard_io[i]);
                fd_close(logger->ours[i]);
                fd_close(logger->theirs[i]);
        }
        logger_program_free(logger->program);
        free(logger);
        return NULL;
}

CLEANUP_DEFINE(struct io_logger, io_logger_free)

static int open_pipes(struct io_logger *logger, struct error *err)
{
        for (int i = 0; i < IO_LOGGER_STREAMS; i++) {
                int ends[2];

                if (pipe2(ends, O_CLOEXEC) < 0)
                        return error_errno(err, errno, "logging binary: pipe");
                logger->ours[i] = ends[0];
                logger->theirs[i] = ends[1];
        }
        return 0;
}

struct io_logger *logger_alloc(const struct io_logger_config *config, struct error *err)
{
        struct io_logger *logger = calloc(1, sizeof(*logger));

        if (!logger) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
                return NULL;
        }
        logger->loop = config->loop;
        logger->reaper = config->reaper;
        logger->events = config->events;
        logger->must_say_ready = config->uri->target != IO_TARGET_BINARY;
        logger->ready_fd = -1;
        logger->status_fd = -1;
        for (int i = 0; i < IO_LOGGER_STREAMS; i++) {
                logger->ours[i] = -1;
                logger->theirs[i] = -1;
        }
        loop_deferred_init(&logger->ready_late, on_ready_late);
        loop_deferred_init(&logger->end_late, on_end_late);
        logger->timer = loop_timer_new(logger->loop, on_timer, logger);
        logger->ready_timer = loop_timer_new(logger->loop, ready_on_timer, logger);
        if (!logger->timer || !logger->ready_timer) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
                return io_logger_free(logger);
        }
        if (logger_program_new(&logger->program, config->uri, config->id, config->runtime_namespace,
                               err) < 0)
                return io_logger_free(logger);
        return logger;
}

int io_logger_new(struct io_logger **ret, const struct io_logger_config *config, struct error *err)
{
        _cleanup_(io_logger_free_p) struct io_logger *logger = logger_alloc(config, err);

        if (!logger || open_pipes(logger, err) < 0 || logger_start(logger, err) < 0)
                return -1;
        *ret = TAKE_PTR(logger);
        return 0;
}

int io_logger_take_fd(struct io_logger *logger, int stream)
{
        return TAKE_FD(logger->theirs[stream]);
}

bool io_logger_has_ended(const struct io_logger *logger)
{
        return logger->ended;
}

struct io_ring *io_logger_ring(const struct io_logger *logger)
{
        return logger_program_ring(logger->program);
}

const struct log_counters *io_logger_counters(const struct io_logger *logger)
{
        return logger_program_counters(logger->program);
}

const struct log_config *io_logger_log(const struct io_logger *logger)
{
        return logger_program_log(logger->program);
}

struct io_logger_status io_logger_status(const struct io_logger *logger)
{
        return (struct io_logger_status){
                .pid = logger->pid,
                .n_restarts = logger->n_restarts,
                .bytes_dropped = logger->bytes_dropped,
                .has_all = logger->has_all,
        };
}
