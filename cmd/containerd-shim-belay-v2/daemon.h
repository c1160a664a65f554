/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon: one loop that owns the reaper, the engine and the task service, made in that order
 * and freed in the reverse one. It is made in three steps, so that as much as possible of a crash
 * or a failure on the way finds somebody who goes on.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/engine/engine.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"
#include "pkg/state/vault.h"

#include "cmd/containerd-shim-belay-v2/options.h"
#include "cmd/containerd-shim-belay-v2/reexec.h"
#include "cmd/containerd-shim-belay-v2/socket.h"
#include "cmd/containerd-shim-belay-v2/upgrade.h"
#include "shim/executor_engine.h"
#include "shim/executor_runc.h"
#include "shim/server.h"

/* Everything that lives as long as the daemon. */
struct daemon {
        const struct options *options;
        char *bundle; /* NULL: it was removed, and an earlier image knows its path */
        int bundle_fd;
        char *systemd_helper;
        struct socket_name socket_name;
        struct reexec reexec;
        struct vault *vault;
        struct loop *loop;
        struct reaper *reaper;
        struct engine *engine;
        struct executor executor;
        struct executor_runc runc;
        struct executor binary_executor;
        struct shim_server *server;
        struct loop_signal *sigterm;
        struct loop_signal *sigint;
        struct loop_signal *sigusr1;
        struct loop_signal *sighup;
        struct upgrader upgrader;
        struct loop_timer *spare; /* set while descriptors for the next image are lacking */
        uint64_t spare_ns;        /* the pause before it */
};

/* The field `runtime` of every line of the log: what operators search for. */
#define LOG_RUNTIME "io.containerd.belay.v2"

/* First, also when nothing else succeeds. options live as long as the daemon. */
void daemon_init(struct daemon *d, const struct options *options);

/* Prepares for what may come: a crash, and for an image on trial any failure. */
int daemon_arm(struct daemon *d, struct error *err);

/* The vault, a new one or that of the image before, and the loop. */
int daemon_open(struct daemon *d, struct error *err);

/* Everything but what it serves. */
int daemon_make(struct daemon *d, struct error *err);

/* Signals, from now on. */
int daemon_watch(struct daemon *d, struct error *err);

/* Descriptors for the next image: now if need be, or when what a take-over has still to open has
 * been opened; and again until all are there, however busy the shim is. */
void daemon_spare(struct daemon *d);
void daemon_spare_later(struct daemon *d);

void daemon_deinit(struct daemon *d);

/* ---- take_over.c ---- */

/* Goes on where another process image has stopped. */
int daemon_take_over(struct daemon *d, struct error *err);

/* What follows an image that cannot take over: on trial the one before, which tells why; after a
 * crash another try, as often as a crash is followed. Returns if there is none, or if that fails.
 */
void daemon_fall_back(struct daemon *d, const struct error *why);
