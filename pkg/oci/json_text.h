/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to pkg/oci: the spelling of JSON strings, and of paths in errors.
 */
#pragma once

#include <stddef.h>

/*
 * The next code point of a string's inside (at least one byte), with *p moved past its spelling.
 * Negative, with *ret_why, for what RFC 8259 or UTF-8 does not allow. Zero is a code point here;
 * the caller judges it.
 */
int json_char_next(const char **p, const char *end, const char **ret_why);

enum { JSON_PATH_MAX = 256 }; /* room for a path; a longer one loses its end */

/* Both append to the path in out, of which `used` bytes are used, and return the new length. That
 * may be size or more, as with snprintf(3): then nothing more goes in. */
size_t json_path_add_key(char *out, size_t size, size_t used, const char *key, size_t len);
size_t json_path_add_index(char *out, size_t size, size_t used, size_t index);
