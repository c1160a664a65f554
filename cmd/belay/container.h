/* SPDX-License-Identifier: Apache-2.0
 *
 * The container that a command line means: one of belay's own, or one of a shim that containerd has
 * started (--bundle, --address).
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

#include "cmd/belay/args.h"
#include "cmd/belay/task.h"

struct container {
        struct loop *loop;
        bool is_guest;     /* the loop is its caller's */
        struct task *task; /* NULL: its shim does not answer */
        char *bundle;      /* NULL with --address */
        bool own;          /* it lies below --root: belay made it and may remove it */
};

/*
 * Finds the container and connects to its shim. STATUS_NOT_FOUND when there is no such container.
 * A shim that does not answer is an error, too, unless ret_lost is given: then it gets the reason,
 * and the result is 0 with a task of NULL.
 */
int container_open(struct container *ret, const struct args *args, struct error *ret_lost,
                   struct error *err);
/* The same on a loop that several may share. */
int container_open_on(struct loop *loop, struct container *ret, const struct args *args,
                      struct error *ret_lost, struct error *err);
void container_close(struct container *c);

/* Output that the shim or a logger takes care of: IOStatus of belay.v1. */
struct view_io {
        char kind[16]; /* of stdout; "": not known */
        bool drained;  /* all that was written is where it should be */
        uint64_t bytes;
        uint64_t bytes_dropped;
        uint64_t bytes_waiting;
        uint64_t rotations;
        uint64_t write_errors;
        uint32_t logger_restarts;
        char last_error[64];
};

/* What can be said of a process, from its shim or, when that is gone, from its record. */
struct view {
        const char *id;
        const char *exec_id;
        const char
                *status; /* "created", "running", ...; "lost": no shim, and no record of an end */
        struct task_state state;
        bool exited;
        const char *reason;    /* how it ended, from its record; NULL without one */
        const char *oom_level; /* "oom_killed": whose memory limit was hit; else NULL */
        unsigned oom_up;       /* an ancestor's: how many levels above the container's cgroup */
        uint32_t shim_pid;     /* 0: there is no shim */
        struct view_io io;
};
int container_view(struct container *c, const struct args *args, struct view *ret,
                   struct error *err);

/* Fills view->io, if there is a shim that knows. */
void container_view_io(struct container *c, const struct args *args, struct view *view);
void view_deinit(struct view *view);
