/* SPDX-License-Identifier: Apache-2.0
 *
 * Any protobuf-c message as JSON for people, by its descriptor: a new field shows by itself. What
 * has its default (0, false, "", none) is left out. A time, which is an int64 whose name ends in
 * "at_ns", is written as RFC 3339; an enum by the name of its value, without what all its names
 * begin with. Of `bytes` only the number is told: they may hold secrets.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "pkg/base/error.h"

/*
 * On the heap, with a newline at the end. Messages that are nested so deeply are one line each: 0
 * is the message itself, a large number breaks all lines. RESOURCE_EXHAUSTED when it is longer than
 * bytes_max, or there is no memory.
 */
int message_json(const ProtobufCMessage *message, unsigned one_line_from, size_t bytes_max,
                 char **ret, size_t *ret_len, struct error *err);
