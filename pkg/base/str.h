/* SPDX-License-Identifier: Apache-2.0
 *
 * Strings and lexical paths. Pure functions; nothing here looks at the file system.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool str_is_empty(const char *s); /* NULL counts as empty */
bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);
bool str_equal(const char *a, const char *b); /* NULL equals "" */

/*
 * Ids and namespaces: letters, digits, `.`, `_`, `+` and `-`, beginning with a letter, a digit or
 * `_`, at most LIMIT_ID_LENGTH. What containerd takes is a part of this, and so is what runc takes
 * but for a first `.`, `+` or `-`. Such an id is safe as a file name, as a part of one, and as a
 * word of a command line.
 */
bool id_is_valid(const char *id);

/* The whole of s as a decimal number without sign or blanks; -EINVAL or -ERANGE. */
int str_to_u64(const char *s, uint64_t *ret);

/*
 * Go's path.Join of the parts with path.Clean of the result: empty parts are skipped, `//`, `.` and
 * `..` are resolved lexically, the result of nothing is "". The caller frees it; NULL without
 * memory.
 */
char *path_join_clean(const char *const *parts, size_t n_parts);

/* Replaces every byte sequence that is not valid UTF-8 by '?', in place: protobuf strings must be
 * UTF-8. */
void str_make_utf8(char *s);

/* A formatted string on the heap, owned by the caller; NULL without memory. */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
