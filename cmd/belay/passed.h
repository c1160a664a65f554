/* SPDX-License-Identifier: Apache-2.0
 *
 * --preserve-fds and LISTEN_FDS: which of belay's descriptors a process gets beyond its standard
 * streams, told to the shim as metadata of Create or Exec (shim/passed.h).
 */
#pragma once

#include "pkg/base/error.h"
#include "pkg/base/limits.h"
#include "pkg/ttrpc/ttrpc.h"

#include "cmd/belay/args.h"

struct passed_option {
        char value[LIMIT_PASSED_FDS + 32];
        struct ttrpc_metadata metadata;
        struct ttrpc_call_options options; /* for task_call_with() */
};

/* What the command line says must be a number. Pure. */
int passed_check(const struct args *args, struct error *err);

/*
 * As in runc, N and LISTEN_FDS descriptors from 3 on; as in crun, those that are not open are gaps.
 * What belay itself has opened is not among them. LISTEN_FDS counts unless LISTEN_PID names another
 * process.
 */
int passed_option_init(struct passed_option *ret, const struct args *args, struct error *err);
