/* SPDX-License-Identifier: Apache-2.0
 *
 * What belay inspect and SIGUSR1 show: the state as it is in the vault, and what is under way. No
 * other place knows how to print any of it.
 */
#pragma once

#include <stddef.h>

#include "pkg/base/error.h"

struct shim_server;

/* JSON with a newline at its end, on the heap; see message_json.h for the other arguments. */
int inspect_json(const struct shim_server *server, unsigned one_line_from, size_t bytes_max,
                 char **ret, size_t *ret_len, struct error *err);
