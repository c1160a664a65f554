/* SPDX-License-Identifier: Apache-2.0
 *
 * A reaper on a loop, and real children for it. Every child waits for the closing of a gate (a
 * pipe), so nothing depends on time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"

enum { SEEN_MAX = 256 };

struct fixture {
        struct loop *loop;
        struct reaper *reaper;
        struct loop_deferred quit;
        size_t n_quit_at;
        struct reaper_exit seen[SEEN_MAX];
        size_t n_seen;
        struct reaper_watch *victim; /* freed by the next callback */
        struct reaper_expectation expected[2];
};

int children_set_up(void **state);
int children_tear_down(void **state);

/* A callback of watches, whose userdata is the fixture: notes the exit. */
void children_on_exit(const struct reaper_exit *exit, void *userdata);

/* Runs the loop until so many exits have been seen. */
void children_run_until(struct fixture *f, size_t n);

/* One round of the loop, with what is deferred by now. */
void children_run_round(struct fixture *f);

/* A child that waits until the gate is closed (NULL: does not wait), then exits. */
pid_t child_new(int gate[2], int status);

/* Returns when the child is a zombie. */
void children_await_zombie(pid_t pid);

bool children_is_ours(pid_t pid);
