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
void container_close(struct container *c);

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
};
int container_view(struct container *c, const struct args *args, struct view *ret,
                   struct error *err);
void view_deinit(struct view *view);
