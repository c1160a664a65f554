/* SPDX-License-Identifier: Apache-2.0
 *
 * The typed getters: see json.h.
 *
 * Invariant: a value of another type or out of its range never reaches a struct, and strings are
 * copied into the arena.
 */
#include <json-c/json_object.h>
#include <json-c/linkhash.h>
#include <string.h>

#include "pkg/oci/json.h"

enum { VALUE_SHOWN = 64 }; /* bytes of a wrong value in an error */

/* ---- scalars ---- */

int json_get_bool(const struct json_at *at, const char *key, bool *ret)
{
        struct json_object *value = json_find(at, key);

        if (!value)
                return 0;
        if (!json_object_is_type(value, json_type_boolean))
                return json_wrong_type(at, key, "a boolean", value);
        *ret = json_object_get_boolean(value);
        return 0;
}

/* at and key only for the error. */
static int copy_string(const struct json_at *at, const char *key, struct json_object *value,
                       char **ret)
{
        char *copy;

        if (!json_object_is_type(value, json_type_string))
                return json_wrong_type(at, key, "a string", value);
        copy = arena_memdup(at->doc->arena, json_object_get_string(value),
                            (size_t)json_object_get_string_len(value));
        if (!copy)
                return json_out_of_memory(at);
        *ret = copy;
        return 0;
}

int json_get_string(const struct json_at *at, const char *key, char **ret)
{
        struct json_object *value = json_find(at, key);

        return value ? copy_string(at, key, value, ret) : 0;
}

int json_get_text(const struct json_at *at, const char *key, char **ret)
{
        char *text = NULL;

        if (json_get_string(at, key, &text) < 0)
                return -1;
        if (text && *text)
                *ret = text;
        return 0;
}

int json_get_path(const struct json_at *at, const char *key, char **ret)
{
        char *path = NULL;

        if (json_get_text(at, key, &path) < 0)
                return -1;
        if (!path)
                return 0;
        if (path[0] != '/')
                return json_fail(at, key, "'%.*s' is not an absolute path", VALUE_SHOWN, path);
        *ret = path;
        return 0;
}

int json_get_strings(const struct json_at *at, const char *key, struct oci_strings *ret)
{
        struct json_at list;
        size_t n = 0;
        char **items = NULL;

        if (json_get_list(at, key, &list, &n) < 0)
                return -1;
        if (json_alloc(at, n + 1, sizeof(*items), &items) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct json_at item = json_item(&list, i);

                if (copy_string(&item, NULL, item.value, &items[i]) < 0)
                        return -1;
        }
        *ret = (struct oci_strings){.items = items, .n = n};
        return 0;
}

int json_get_string_map(const struct json_at *at, const char *key, struct oci_key_value **ret,
                        size_t *ret_n)
{
        struct oci_key_value *pairs = NULL;
        struct json_at map;
        size_t i = 0;
        size_t n;

        if (json_get_object(at, key, &map) < 0)
                return -1;
        n = map.value ? (size_t)json_object_object_length(map.value) : 0;
        if (json_alloc(at, n, sizeof(*pairs), &pairs) < 0)
                return -1;
        for (struct lh_entry *e = n > 0 ? json_object_get_object(map.value)->head : NULL; e;
             e = e->next) {
                const char *name = lh_entry_k(e);

                if (!*name)
                        return json_fail(&map, NULL, "empty name");
                pairs[i].key = arena_strdup(at->doc->arena, name);
                if (!pairs[i].key)
                        return json_out_of_memory(at);
                if (copy_string(&map, name, (struct json_object *)lh_entry_v(e), &pairs[i].value) <
                    0)
                        return -1;
                i++;
        }
        *ret = pairs;
        *ret_n = n;
        return 0;
}

int json_get_keys(const struct json_at *at, const char *key, struct oci_strings *ret)
{
        struct oci_strings keys = {0};
        struct json_at map;
        size_t n;

        if (json_get_object(at, key, &map) < 0)
                return -1;
        n = map.value ? (size_t)json_object_object_length(map.value) : 0;
        if (json_alloc(at, n + 1, sizeof(*keys.items), &keys.items) < 0)
                return -1;
        for (struct lh_entry *e = n > 0 ? json_object_get_object(map.value)->head : NULL; e;
             e = e->next) {
                keys.items[keys.n] = arena_strdup(at->doc->arena, lh_entry_k(e));
                if (!keys.items[keys.n++])
                        return json_out_of_memory(at);
        }
        *ret = keys;
        return 0;
}

/* ---- numbers ---- */

int json_get_i64(const struct json_at *at, const char *key, int64_t min, int64_t max, bool *ret_has,
                 int64_t *ret)
{
        struct json_object *value = json_find(at, key);
        int64_t n;

        if (!value)
                return 0;
        if (!json_object_is_type(value, json_type_int))
                return json_wrong_type(at, key, "an integer", value);
        /* json-c saturates: what does not fit an int64_t reads differently as a uint64_t. */
        n = json_object_get_int64(value);
        if (n < min || n > max || (n > 0 && json_object_get_uint64(value) != (uint64_t)n))
                return json_fail(at, key, "number out of range");
        *ret = n;
        if (ret_has)
                *ret_has = true;
        return 0;
}

/* key is only for the error. */
static int read_u64(const struct json_at *at, const char *key, struct json_object *value,
                    uint64_t max, uint64_t *ret)
{
        uint64_t n;

        if (!json_object_is_type(value, json_type_int))
                return json_wrong_type(at, key, "an integer", value);
        n = json_object_get_uint64(value);
        if (n > max || json_object_get_int64(value) < 0)
                return json_fail(at, key, "number out of range");
        *ret = n;
        return 0;
}

int json_get_u64(const struct json_at *at, const char *key, uint64_t max, bool *ret_has,
                 uint64_t *ret)
{
        struct json_object *value = json_find(at, key);

        if (!value)
                return 0;
        if (read_u64(at, key, value, max, ret) < 0)
                return -1;
        if (ret_has)
                *ret_has = true;
        return 0;
}

int json_get_u32(const struct json_at *at, const char *key, uint32_t max, bool *ret_has,
                 uint32_t *ret)
{
        uint64_t n = *ret;

        if (json_get_u64(at, key, max, ret_has, &n) < 0)
                return -1;
        *ret = (uint32_t)n;
        return 0;
}

int json_item_u32(const struct json_at *list, size_t i, uint32_t max, uint32_t *ret)
{
        struct json_at item = json_item(list, i);
        uint64_t n = 0;

        if (read_u64(&item, NULL, item.value, max, &n) < 0)
                return -1;
        *ret = (uint32_t)n;
        return 0;
}

/* ---- words ---- */

int json_unknown_value(const struct json_at *at, const char *key, const char *value)
{
        return json_fail(at, key, "unknown value '%.*s'", VALUE_SHOWN, value);
}

const struct json_word *json_word_find(const struct json_word *words, size_t n_words,
                                       const char *word)
{
        for (size_t i = 0; i < n_words; i++)
                if (strcmp(words[i].word, word) == 0)
                        return &words[i];
        return NULL;
}

int json_get_word(const struct json_at *at, const char *key, const struct json_word *words,
                  size_t n_words, const struct json_word **ret)
{
        const struct json_word *found;
        char *word = NULL;

        if (json_get_string(at, key, &word) < 0)
                return -1;
        if (!word)
                return 0;
        found = json_word_find(words, n_words, word);
        if (!found)
                return json_unknown_value(at, key, word);
        *ret = found;
        return 0;
}
