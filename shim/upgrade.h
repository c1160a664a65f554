/* SPDX-License-Identifier: Apache-2.0
 *
 * An upgrade in place: the process executes another binary and goes on as that one. First the
 * binary is tried out on a copy of the state; then the shim waits until nothing is under way that
 * an execve would break; then the owner of the process does it (struct shim_upgrade_ops). Whoever
 * has asked is answered by the new process, or by the old one that says why not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"
#include "pkg/ttrpc/ttrpc.h"

struct shim_server;

enum { UPGRADE_OBSTACLE_MAX = 192 };

enum upgrade_state {
        UPGRADE_NONE,
        UPGRADE_CHECKING,  /* the binary is being tried out */
        UPGRADE_WAITING,   /* for a quiet moment */
        UPGRADE_EXECUTING, /* written into the state, for the next process */
        UPGRADE_DONE,      /* this process has come out of one; until that has been answered */
};

struct upgrade {
        enum upgrade_state state;
        char *path;              /* as asked for; NULL: the installed one */
        struct ttrpc_call *call; /* NULL: asked for by a signal */
        struct loop_timer *timer;
        uint64_t give_up_ns; /* CLOCK_MONOTONIC */
};

/* Begins; call may be NULL. Fails when there is one under way, or nobody who could do it. */
int upgrade_begin(struct shim_server *server, const char *path, struct ttrpc_call *call,
                  struct error *err);
/* The shim is ending: a quiet moment is not waited for any more, since that holds back events. */
void upgrade_abort(struct shim_server *server);

void upgrade_deinit(struct shim_server *server);

struct upgrade_obstacle {
        char text[UPGRADE_OBSTACLE_MAX];
};

/* What an execve would break at present: what it is and, of a call, since when. False: nothing. */
bool upgrade_obstacle(const struct shim_server *server, struct upgrade_obstacle *ret);
