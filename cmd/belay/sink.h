/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes on their way to one of belay's own outputs, on the loop, without ever blocking it. Its
 * writer looks whether the sink is full, and stops whoever sends to it; nothing is thrown away
 * before the output itself is broken.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

struct sink;

/*
 * fd is borrowed; it belongs to others, too, and is not made non-blocking. on_change runs from the
 * loop when the sink has written: it may be no longer full, empty, or broken.
 */
int sink_new(struct sink **ret, struct loop *loop, int fd, void (*on_change)(void *userdata),
             void *userdata, struct error *err);
struct sink *sink_free(struct sink *sink);

/* Takes all, also when full. -1 without memory. */
int sink_write(struct sink *sink, const void *data, size_t len, struct error *err);

bool sink_is_full(const struct sink *sink);
bool sink_is_empty(const struct sink *sink);

/* Why nothing can be written any more, and all that comes is dropped; 0 while it can. */
int sink_errno(const struct sink *sink);
