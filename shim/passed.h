/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors that a caller passes on beyond the standard streams. The task API has no field for
 * them, so Create and Exec may carry them as metadata of the call:
 *
 *   belay-descriptors: PID/N/MAP
 *
 * MAP has a '1' for every descriptor of process PID to pass on, and a '0' for every gap, beginning
 * with descriptor 3; the first N are LISTEN_FDS. They are copied when the process is made, so PID
 * has to live until then; the shim itself keeps but a pidfd.
 */
#pragma once

#include "pkg/base/error.h"
#include "pkg/ttrpc/ttrpc.h"

#include "shim/executor.h"

#define PASSED_KEY "belay-descriptors"

struct passed {
        int pidfd;
        unsigned n_listen;
        char *map; /* on the heap; NULL: none, and no pidfd */
};

/* Of the call's metadata; nothing there is nothing to pass on. */
int passed_of_call(struct passed *ret, const struct ttrpc_call *call, struct error *err);

/* text: as above. Opens the pidfd. */
int passed_parse(struct passed *ret, const char *text, struct error *err);

struct executor_passed passed_for_executor(const struct passed *passed);

/* Twice is once. */
void passed_deinit(struct passed *passed);
