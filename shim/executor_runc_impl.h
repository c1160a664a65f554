/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two files of the runc executor share: executor_runc_create.c, where a container is made
 * or the attempt undone, and executor_runc.c, which has all that is done to it afterwards.
 */
#pragma once

#include <stdbool.h>

#include "pkg/runc/runc.h"

#include "shim/executor_runc.h"
#include "shim/runc_facts.h"

/* An executor_container. */
struct made {
        struct executor_runc *impl;
        struct runc *runc;
        char *bundle;
        bool has_mounts;
        struct runc_process *init; /* borrowed from the shim, which keeps it as long as this */
        struct runc_facts facts;
};

/* An executor_job, at the head of what is under way. */
struct job {
        struct runc_job *runc; /* while the runtime is at it */
        bool is_aborted;
};

struct made *made_free(struct made *made);

/* As in executor_ops. */
int executor_runc_create(void *impl, const struct executor_create *args, executor_create_fn fn,
                         void *userdata, struct executor_job **ret, struct error *err);
