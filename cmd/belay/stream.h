/* SPDX-License-Identifier: Apache-2.0
 *
 * The standard streams of one process in a container, as FIFOs in a directory of their own, joined
 * with belay's own. The shim is given the paths.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

struct streams;

/*
 * Makes the FIFOs below parent; output is relayed from now on. With a terminal there is no stderr,
 * and its path is "".
 */
int streams_new(struct streams **ret, struct loop *loop, const char *parent, bool terminal,
                struct error *err);

/* Removes FIFOs and directory. */
struct streams *streams_free(struct streams *streams);

const char *streams_in(const struct streams *streams);
const char *streams_out(const struct streams *streams);
const char *streams_err(const struct streams *streams);

/*
 * Relays input, once the process has its end of the FIFO. on_end runs from the loop when ours has
 * come to its end, and the FIFO is closed. A process that is gone already takes nothing.
 */
int streams_start_input(struct streams *streams, void (*on_end)(void *userdata), void *userdata,
                        struct error *err);

/* True when the process's last writer is gone and all output is written; fn runs when it becomes
 * so.
 */
bool streams_are_drained(const struct streams *streams);
void streams_on_drained(struct streams *streams, void (*fn)(void *userdata), void *userdata);
