/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of update, as the document of the runtime-spec that Update takes (linux.resources).
 */
#pragma once

#include "pkg/base/error.h"

#include "cmd/belay/args.h"

/*
 * Pure. The text is on the heap; it has what was given and nothing else. As in runc a number of 0
 * leaves its limit as it is (but for cpu-idle), and kernel memory, which no kernel limits any more,
 * is passed over.
 */
int resources_format(const char *const limits[static _ARG_LIMIT_MAX], char **ret_json,
                     struct error *err);

/* Pure. "64m", "2GiB", "512": bytes in powers of 1024; -1 is no limit. */
int resources_parse_bytes(const char *text, int64_t *ret, struct error *err);
