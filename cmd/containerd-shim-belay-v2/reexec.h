/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon executes a binary in its own process: another one for an upgrade, its own after a
 * crash. What goes along is the vault and every descriptor; whoever takes over claims those that
 * the state names (and makes them CLOEXEC again), and closes the rest.
 *
 * An image that was executed for an upgrade is on trial until it has taken over. Until then, what
 * goes on after a failure or a crash is the image before, with all descriptors as they were.
 *
 * The command line is how one version speaks to another: docs/architecture.md says what of it may
 * change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"

#include "cmd/containerd-shim-belay-v2/held.h"
#include "cmd/containerd-shim-belay-v2/options.h"
#include "cmd/containerd-shim-belay-v2/room.h"
#include "cmd/containerd-shim-belay-v2/spawn.h"

enum { REEXEC_ARGS_MAX = DAEMON_ARGS_MAX + 3 };

/* Takes a state over as far as that can be done without an effect, and says how that went: exit
 * status 0 and this line, with a version behind it, or another status and the reason. */
#define CHECK_STATE_ACTION "check-state"
#define CHECK_STATE_PASSED "this shim can take over: "

/* Prepared at the start, since a crash leaves no time for it. */
struct reexec {
        const char *argv[REEXEC_ARGS_MAX];
        size_t n_args;     /* without what differs from one time to the next */
        char **envp;       /* as the daemon has found it; NULL: it is still so */
        char state[32];    /* "-state=FD" */
        char fallback[32]; /* "-fallback=FD" */
        int image_fd;      /* what runs now */
        int before_fd;     /* what ran before; -1: this one is not on trial */
        struct held held;  /* for that one */
        struct room room;  /* until this image has taken over */
};

/* The way back, if options say that this image is on trial: the first thing to do, and needs
 * nothing. From here on reexec_again() knows what to do. */
int reexec_init(struct reexec *r, const struct options *options, struct error *err);

/* What the process was started with, before anything of it is changed. */
int reexec_prepare(struct reexec *r, struct error *err);
void reexec_deinit(struct reexec *r);

/* The descriptor of the vault, from now on. */
void reexec_set_state(struct reexec *r, int state_fd);

/* The trial is over: the image before will not be needed. Does nothing if there was none. */
void reexec_passed(struct reexec *r);
bool reexec_is_on_trial(const struct reexec *r);

/* Executes another image with the vault, on trial. Returns only on failure, and then an errno. */
int reexec_try(struct reexec *r, int image_fd);

/* Executes the present image again, or on trial the one before. Likewise; may be called from a
 * signal handler. */
int reexec_again(struct reexec *r);

/* In a fork: runs the image as `check-state` with a copy of the vault; on failure as above. */
int reexec_check(struct reexec *r, int image_fd, int state_copy_fd);

/* After a take-over: descriptors that came along and that nobody has claimed. What was opened
 * meanwhile beyond the limit stays open, and the limit is again what it was. */
void reexec_close_unclaimed(struct reexec *r);
