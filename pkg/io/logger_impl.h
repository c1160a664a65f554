/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of a logging program, for logger.c (its life) and logger_state.c (its way into another
 * image of the process). Private to the package.
 */
#pragma once

#include "pkg/io/logger.h"
#include "pkg/io/logger_exec.h"

struct io_logger {
        struct loop *loop;
        struct reaper *reaper;
        struct io_logger_events events;
        struct logger_program *program;
        int ours[IO_LOGGER_STREAMS];   /* reading ends */
        int theirs[IO_LOGGER_STREAMS]; /* writing ends, until they are taken */

        pid_t pid; /* 0: none */
        struct reaper_watch *watch;
        uint64_t started_ns;
        unsigned n_deaths; /* in a row */
        unsigned n_restarts;
        struct loop_timer *timer; /* a restart, or the end of the grace */
        uint64_t timer_ns;        /* when that is, CLOCK_MONOTONIC */
        struct loop_io *discard_io[IO_LOGGER_STREAMS];
        uint64_t bytes_dropped;

        /* Open and read as long as the program runs: to write to it must neither be its death nor
         * make it wait for ever. What comes after the first byte means nothing. */
        int ready_fd;
        struct loop_io *ready_io;
        struct loop_timer *ready_timer; /* the next read, so that it costs next to nothing */
        int status_fd;
        bool has_left; /* it has ended with success, and may have left a process behind */

        /* Of the first start only. */
        bool must_say_ready;
        bool is_ready; /* on_ready has run, or runs soon */
        bool has_failed;
        struct error why_failed;
        struct loop_deferred ready_late;

        bool stopping;
        bool given_up;
        bool ended;
        bool has_all;
        struct loop_deferred end_late;
};

/* With its program, and without descriptors. */
struct io_logger *logger_alloc(const struct io_logger_config *config, struct error *err);

/* A restart, or the end of the grace, after so long. */
int logger_set_timer(struct io_logger *logger, uint64_t delay_ns);

/* What comes is thrown away from now on. */
void logger_discard(struct io_logger *logger);

/* The callbacks of ready_fd and of the program's end. */
void logger_ready_on_io(struct loop_io *io, int fd, int what, void *userdata);
void logger_on_exit(const struct reaper_exit *exit, void *userdata);
