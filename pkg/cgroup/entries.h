/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of a cgroup with a line for each device: "254:0 1048576", or, with keys,
 * "254:0 rbps=max wbps=1048576". Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * The value of an entry in the file's text: what follows "key=" in its line, or, without a key, all
 * that follows the entry. False if there is none. *ret points into text.
 */
bool entry_find(const char *text, const char *entry, const char *key, const char **ret,
                size_t *ret_len);
