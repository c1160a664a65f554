/* SPDX-License-Identifier: Apache-2.0
 *
 * belay's standard input on its way to a process that takes so much and no more. A terminal is
 * always read, so that the detach keys are seen also when the process takes nothing; what then does
 * not fit is lost, as in a terminal of its own. Everything else is read when it is wanted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

#include "cmd/belay/detach_keys.h"

struct source;

/* fd is borrowed. keys: looked for when it is a terminal; NULL: none. on_news runs from the loop
 * when something has come: bytes, the end, or the detach keys. */
int source_new(struct source **ret, struct loop *loop, int fd, const struct detach_keys *keys,
               void (*on_news)(void *userdata), void *userdata, struct error *err);
struct source *source_free(struct source *source);

/* Whether more is to be read, when all that was read is taken. */
void source_want(struct source *source, bool wanted);

/* What was read and not taken yet. */
const uint8_t *source_bytes(const struct source *source, size_t *ret_len);
void source_take(struct source *source, size_t n);

bool source_has_ended(const struct source *source); /* nothing comes after source_bytes() */
bool source_is_detach(const struct source *source); /* nor after the detach keys */
