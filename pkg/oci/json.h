/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to pkg/oci: typed access to a JSON document. Every error says where, by the path of the
 * property, so the parsers above it read as a list of properties and their rules.
 *
 * All getters: an absent property and a null are the same; then they return 0 and leave what ret
 * points to as it was. -1 and an error for a value of another type or out of range. What they
 * return is a copy in the document's arena.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/oci/spec.h"

struct json_object;
struct json_doc;

/* A place in a document. Valid as long as its parents, which it points to, and the document. */
struct json_at {
        const struct json_doc *doc;
        const struct json_at *parent;
        const char *key; /* NULL: the root, or an item of a list */
        size_t index;
        struct json_object *value; /* NULL: absent */
};

struct json_doc {
        struct json_at root;
        const char *name;   /* what errors call the root where there is no path */
        const char *prefix; /* what paths begin with; may be "" */
        struct arena *arena;
        struct error *err; /* for all errors in this document */
};

/* The document must be an object. name, prefix: see pkg/oci/json_check.h. The document stays where
 * it was opened and is to be closed, also after a failure; zeroed, it may be closed, too. */
int json_doc_open(struct json_doc *doc, const char *text, size_t len, const char *name,
                  const char *prefix, struct arena *arena, struct error *err);
void json_doc_close(struct json_doc *doc);

/* STATUS_INVALID_ARGUMENT, "path.key: text". With key NULL: about `at` itself. */
int json_fail(const struct json_at *at, const char *key, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
int json_out_of_memory(const struct json_at *at);

/* arena_calloc with an error. */
int json_alloc(const struct json_at *at, size_t n, size_t size, void *ret);

/* For json_get.c: NULL if absent. */
struct json_object *json_find(const struct json_at *at, const char *key);
int json_wrong_type(const struct json_at *at, const char *key, const char *expected,
                    struct json_object *found);

/* Is there anything but null? */
bool json_has(const struct json_at *at, const char *key);

/* An error if the property is absent. */
int json_require(const struct json_at *at, const char *key);

/* Null, false, 0, "", an empty list, or an object of such only. */
bool json_says_nothing(const struct json_at *at, const char *key);

/* For what the runtime-spec knows and belay does not support: STATUS_UNIMPLEMENTED unless the value
 * says nothing (null, false, 0, "", an empty list, or an object of such only). */
int json_refuse(const struct json_at *at, const char *key);

/* STATUS_UNIMPLEMENTED, "path.key is not supported", or "path.key: value is not supported". */
int json_not_supported(const struct json_at *at, const char *key, const char *value);

/* Absent: ret->value is NULL (and ret_n 0), in which case every other getter finds nothing there.
 */
int json_get_object(const struct json_at *at, const char *key, struct json_at *ret);
int json_get_list(const struct json_at *at, const char *key, struct json_at *ret, size_t *ret_n);

/* Item i of a list, of any type. */
struct json_at json_item(const struct json_at *list, size_t i);

/* Item i of a list, which must be an object. */
int json_item_object(const struct json_at *list, size_t i, struct json_at *ret);

int json_get_bool(const struct json_at *at, const char *key, bool *ret);
int json_get_string(const struct json_at *at, const char *key, char **ret);

/* An empty string counts as absent: Go programs cannot tell the two apart, either. */
int json_get_text(const struct json_at *at, const char *key, char **ret);

/* As json_get_text, and the text must be an absolute path. */
int json_get_path(const struct json_at *at, const char *key, char **ret);

int json_get_strings(const struct json_at *at, const char *key, struct oci_strings *ret);

/* An object whose values are strings, in the order of the document. No key is empty. */
int json_get_string_map(const struct json_at *at, const char *key, struct oci_key_value **ret,
                        size_t *ret_n);

/* The names of an object's members, in the order of the document. */
int json_get_keys(const struct json_at *at, const char *key, struct oci_strings *ret);

/* Integers within bounds, both included. ret_has may be NULL. */
int json_get_i64(const struct json_at *at, const char *key, int64_t min, int64_t max, bool *ret_has,
                 int64_t *ret);
int json_get_u64(const struct json_at *at, const char *key, uint64_t max, bool *ret_has,
                 uint64_t *ret);
int json_get_u32(const struct json_at *at, const char *key, uint32_t max, bool *ret_has,
                 uint32_t *ret);
int json_item_u32(const struct json_at *list, size_t i, uint32_t max, uint32_t *ret);

/* A string that must be one of a few words. */
struct json_word {
        const char *word;
        int value;
};

/* *ret: the entry of the table; any other word is an error. */
int json_get_word(const struct json_at *at, const char *key, const struct json_word *words,
                  size_t n_words, const struct json_word **ret);
const struct json_word *json_word_find(const struct json_word *words, size_t n_words,
                                       const char *word);
int json_unknown_value(const struct json_at *at, const char *key, const char *value);
