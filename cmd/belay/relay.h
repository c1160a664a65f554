/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes from one descriptor to another, on the loop, without ever blocking it: belay's own standard
 * streams on one side, a FIFO of the container on the other.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

struct relay;

/*
 * in and out are borrowed and may be regular files, which are always ready. fn runs once, from the
 * loop, when in has come to its end and all of it is written. When out cannot be written to any
 * more, what comes is read and thrown away, so that the other side does not block.
 */
int relay_new(struct relay **ret, struct loop *loop, int in, int out, void (*fn)(void *userdata),
              void *userdata, struct error *err);
struct relay *relay_free(struct relay *relay);

bool relay_is_done(const struct relay *relay);
