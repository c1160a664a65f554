/* SPDX-License-Identifier: Apache-2.0
 *
 * A process's stdio with a logging program or a log, for tests: the test plays the container.
 */
#pragma once

#include "pkg/base/error.h"
#include "pkg/io/stdio.h"

struct fixture {
        struct loop *loop;
        struct reaper *reaper;
        struct io_stdio *s;
        int out, err; /* the container's */
        char dir[64];
        char log[96];
        char uri[4096];
        int n_fds;
        unsigned n_ready, n_drained, n_reports;
        int ready_code;
        char ready_text[ERROR_TEXT_MAX];
        char reports[4096];
};

int logger_set_up(void **state);
int logger_tear_down(void **state);

/* Runs until it is ready or has failed. */
void logger_open(struct fixture *f, const char *uri, bool terminal);

/* Takes the container's ends, which are its stdout and stderr. */
void logger_take_ends(struct fixture *f);

/* The process has ended. */
void logger_close_container(struct fixture *f);
void logger_run_until_drained(struct fixture *f);
void logger_expect(struct fixture *f, const char *want);
