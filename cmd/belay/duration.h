/* SPDX-License-Identifier: Apache-2.0
 *
 * Durations on the command line, as callers of runc write them: "5s", "1m30s", "500ms".
 */
#pragma once

#include <stdint.h>

#include "pkg/base/error.h"

/* Nanoseconds, more than 0 and at most a day. A number without a unit is seconds. Pure. */
int duration_parse(const char *text, uint64_t *ret_ns, struct error *err);
