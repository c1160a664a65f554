/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon executes a binary in its own process: another one for an upgrade, its own after a
 * crash. What goes along is the vault and every descriptor; whoever takes over claims those that
 * the state names (and makes them CLOEXEC again), and closes the rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"

#include "cmd/containerd-shim-belay-v2/options.h"
#include "cmd/containerd-shim-belay-v2/spawn.h"

enum { REEXEC_ARGS_MAX = DAEMON_ARGS_MAX + 3 };

/* Takes a state over as far as that can be done without an effect, and says whether that went well.
 */
#define CHECK_STATE_ACTION "check-state"

/* Prepared at the start, since a crash leaves no time for it. */
struct reexec {
        const char *argv[REEXEC_ARGS_MAX];
        size_t n_args;     /* without what differs from one time to the next */
        char **envp;       /* as the daemon has found it */
        char state[32];    /* "-state=FD" */
        char fallback[32]; /* "-fallback=FD" */
        int image_fd;      /* what runs now */
};

/* What the process was started with, before anything of it is changed. */
int reexec_init(struct reexec *r, const struct options *options, struct error *err);
void reexec_deinit(struct reexec *r);

/* The descriptor of the vault, from now on. */
void reexec_set_state(struct reexec *r, int state_fd);

/*
 * Executes the image with the vault. Returns only on failure, and then with an errno. fallback: the
 * new one is to execute the present one again if it cannot take over. May be called from a signal
 * handler.
 */
int reexec_now(struct reexec *r, int image_fd, bool fallback);

/* In a fork: runs the image as `check-state` with a copy of the vault; on failure as above. */
int reexec_check(struct reexec *r, int image_fd, int state_copy_fd);

/* Descriptors that survive the next execve, and those that nobody has claimed after it. */
void reexec_keep_fds(void);
void reexec_close_unclaimed(void);

/* A number as written by reexec_set_state(), for options; -1 if it is none. */
int reexec_parse_fd(const char *text);
