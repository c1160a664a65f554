/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon executes a binary in its own process: another one for an upgrade, its own after a
 * crash. What goes along is the vault and every descriptor but those that an image makes for itself
 * alone; whoever takes over claims those that the state names (and makes them CLOEXEC again), and
 * closes the rest. So the next image always has the room for its own, also where the limit of
 * descriptors has been reached: it is never raised, since containers inherit it.
 *
 * An image that was executed for an upgrade is on trial until it has taken over. Until then, what
 * goes on after a failure or a crash is the image before, with all descriptors as they were. After
 * a crash it is the same image once more, with those that it came with.
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
#include "cmd/containerd-shim-belay-v2/spawn.h"

enum {
        REEXEC_ARGS_MAX = DAEMON_ARGS_MAX + 3,

        /* What the next image needs for itself and this one has not: the file of events, one of
         * /proc that it looks into, and as many for the calls that it takes up. */
        REEXEC_SPARE_FDS = 4,

        REEXEC_OWN_FDS_MAX = 32, /* with the spare ones; it has some twelve */
};

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
        bool is_arriving;  /* another image has been, and this one has not taken over yet */
        struct held held;  /* what it came with, as long */
        int own[REEXEC_OWN_FDS_MAX]; /* what goes with this image: open as long as the process */
        size_t n_own;
        int n_spare; /* of them */
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

/* What is open now, did not come along and is not the vault's descriptor is this image's own: it
 * goes with it, and must not be closed. To be called before anything that came is claimed. */
void reexec_note_own(struct reexec *r, int state_fd);

/* Descriptors for the next image, as many as can be had; false: not all yet, the rest the next
 * time. Once they are there they stay. */
bool reexec_spare(struct reexec *r);

/* In a fork: runs the image with `-v` and nothing of ours but stdio; on failure as above. */
int reexec_ask_version(struct reexec *r, int image_fd);

/* In a fork: runs the image as `check-state` with a copy of the vault; on failure as above. */
int reexec_check(struct reexec *r, int image_fd, int state_copy_fd);

/* After a take-over: descriptors that came along and that nobody has claimed. */
void reexec_close_unclaimed(void);
