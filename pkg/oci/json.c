/* SPDX-License-Identifier: Apache-2.0
 *
 * Documents, and places in them. A text gets to json-c after json_check() has found it to be
 * unambiguous, so json-c is used for no more than to build the tree.
 *
 * Invariant: only this file and json_get.c know json-c, and nothing that it owns leaves them.
 */
#include "pkg/oci/json.h"

#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <json-c/linkhash.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/limits.h"
#include "pkg/oci/json_check.h"
#include "pkg/oci/json_text.h"

/* ---- errors ---- */

/* The path of `at`, or of its property `key`. */
static void path_format(const struct json_at *at, const char *key, char *out, size_t size)
{
        const struct json_at *chain[LIMIT_JSON_DEPTH];
        size_t n = 0;
        size_t used;

        for (const struct json_at *a = at; a->parent && n < LIMIT_JSON_DEPTH; a = a->parent)
                chain[n++] = a;
        used = (size_t)snprintf(out, size, "%s", at->doc->prefix);
        while (n-- > 0) {
                const struct json_at *a = chain[n];

                if (a->key)
                        used = json_path_add_key(out, size, used, a->key, strlen(a->key));
                else
                        used = json_path_add_index(out, size, used, a->index);
        }
        if (key)
                used = json_path_add_key(out, size, used, key, strlen(key));
        if (used == 0)
                (void)snprintf(out, size, "%s", at->doc->name);
}

int json_fail(const struct json_at *at, const char *key, const char *fmt, ...)
{
        char path[JSON_PATH_MAX];
        char text[ERROR_TEXT_MAX];
        va_list ap;

        path_format(at, key, path, sizeof(path));
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        return error_set(at->doc->err, STATUS_INVALID_ARGUMENT, "%s: %s", path, text);
}

int json_out_of_memory(const struct json_at *at)
{
        return error_set(at->doc->err, STATUS_RESOURCE_EXHAUSTED, "%s: out of memory",
                         at->doc->name);
}

int json_alloc(const struct json_at *at, size_t n, size_t size, void *ret)
{
        void *p = arena_calloc(at->doc->arena, n, size);

        if (!p)
                return json_out_of_memory(at);
        memcpy(ret, &p, sizeof(p));
        return 0;
}

static const char *type_text(struct json_object *value)
{
        switch (json_object_get_type(value)) {
        case json_type_null:
                return "null";
        case json_type_boolean:
                return "a boolean";
        case json_type_double:
                return "a number with a fraction or an exponent";
        case json_type_int:
                return "a number";
        case json_type_object:
                return "an object";
        case json_type_array:
                return "a list";
        case json_type_string:
                return "a string";
        }
        return "something else";
}

int json_wrong_type(const struct json_at *at, const char *key, const char *expected,
                    struct json_object *found)
{
        return json_fail(at, key, "expected %s, found %s", expected, type_text(found));
}

/* ---- the document ---- */

int json_doc_open(struct json_doc *doc, const char *text, size_t len, const char *name,
                  const char *prefix, struct arena *arena, struct error *err)
{
        struct json_tokener *tokener;
        enum json_tokener_error why;

        *doc = (struct json_doc){.name = name, .prefix = prefix, .arena = arena, .err = err};
        doc->root.doc = doc;
        if (json_check(text, len, name, prefix, err) < 0)
                return -1;
        /* json-c counts levels differently; json_check() has bounded them already. */
        tokener = json_tokener_new_ex(LIMIT_JSON_DEPTH + 2);
        if (!tokener)
                return json_out_of_memory(&doc->root);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        doc->root.value = json_tokener_parse_ex(tokener, text, (int)len);
        why = json_tokener_get_error(tokener);
        json_tokener_free(tokener);
        if (why == json_tokener_continue || (why == json_tokener_success && !doc->root.value))
                return json_fail(&doc->root, NULL, "expected an object");
        if (why != json_tokener_success)
                return json_fail(&doc->root, NULL, "%s", json_tokener_error_desc(why));
        if (!json_object_is_type(doc->root.value, json_type_object))
                return json_wrong_type(&doc->root, NULL, "an object", doc->root.value);
        return 0;
}

void json_doc_close(struct json_doc *doc)
{
        (void)json_object_put(doc->root.value);
        doc->root.value = NULL;
}

/* ---- places ---- */

struct json_object *json_find(const struct json_at *at, const char *key)
{
        struct json_object *value = NULL;

        if (!at->value || !json_object_object_get_ex(at->value, key, &value))
                return NULL;
        return value;
}

bool json_has(const struct json_at *at, const char *key)
{
        return json_find(at, key) != NULL;
}

int json_require(const struct json_at *at, const char *key)
{
        return json_has(at, key) ? 0 : json_fail(at, key, "missing");
}

static int get_container(const struct json_at *at, const char *key, enum json_type type,
                         const char *expected, struct json_at *ret)
{
        struct json_object *value = json_find(at, key);

        if (value && !json_object_is_type(value, type))
                return json_wrong_type(at, key, expected, value);
        *ret = (struct json_at){.doc = at->doc, .parent = at, .key = key, .value = value};
        return 0;
}

int json_get_object(const struct json_at *at, const char *key, struct json_at *ret)
{
        return get_container(at, key, json_type_object, "an object", ret);
}

int json_get_list(const struct json_at *at, const char *key, struct json_at *ret, size_t *ret_n)
{
        if (get_container(at, key, json_type_array, "a list", ret) < 0)
                return -1;
        *ret_n = ret->value ? json_object_array_length(ret->value) : 0;
        return 0;
}

struct json_at json_item(const struct json_at *list, size_t i)
{
        return (struct json_at){
                .doc = list->doc,
                .parent = list,
                .index = i,
                .value = json_object_array_get_idx(list->value, i),
        };
}

int json_item_object(const struct json_at *list, size_t i, struct json_at *ret)
{
        *ret = json_item(list, i);
        if (!json_object_is_type(ret->value, json_type_object))
                return json_wrong_type(ret, NULL, "an object", ret->value);
        return 0;
}

static bool says_nothing(struct json_object *value);

static bool object_says_nothing(struct json_object *object)
{
        for (struct lh_entry *e = json_object_get_object(object)->head; e; e = e->next)
                if (!says_nothing((struct json_object *)lh_entry_v(e)))
                        return false;
        return true;
}

/* The document's depth is bounded, so this recursion is, too. */
static bool says_nothing(struct json_object *value)
{
        switch (json_object_get_type(value)) {
        case json_type_null:
                return true;
        case json_type_boolean:
                return !json_object_get_boolean(value);
        case json_type_double:
                return false;
        case json_type_int:
                return json_object_get_int64(value) == 0;
        case json_type_string:
                return json_object_get_string_len(value) == 0;
        case json_type_array:
                return json_object_array_length(value) == 0;
        case json_type_object:
                return object_says_nothing(value);
        }
        return false;
}

bool json_says_nothing(const struct json_at *at, const char *key)
{
        return says_nothing(json_find(at, key));
}

int json_refuse(const struct json_at *at, const char *key)
{
        return json_says_nothing(at, key) ? 0 : json_not_supported(at, key, NULL);
}

int json_not_supported(const struct json_at *at, const char *key, const char *value)
{
        char path[JSON_PATH_MAX];

        path_format(at, key, path, sizeof(path));
        return error_set(at->doc->err, STATUS_UNIMPLEMENTED, "%s%s%s is not supported", path,
                         value ? ": " : "", value ? value : "");
}
