/* SPDX-License-Identifier: Apache-2.0
 *
 * hooks (runtime-spec, config.md "POSIX-platform Hooks").
 *
 * Invariant: a hook's path is absolute and its argument list never empty.
 */
#include "pkg/oci/parse.h"

static int parse_hook(const struct json_at *at, struct oci_hook *ret)
{
        struct json_at env;
        size_t n_env = 0;

        if (json_require(at, "path") < 0 || json_get_path(at, "path", &ret->path) < 0 ||
            json_get_strings(at, "args", &ret->args) < 0 ||
            json_get_list(at, "env", &env, &n_env) < 0 ||
            json_get_strings(at, "env", &ret->env) < 0 ||
            json_get_u32(at, "timeout", INT32_MAX, &ret->has_timeout, &ret->timeout_s) < 0)
                return -1;
        ret->has_env = env.value != NULL;
        if (!ret->path)
                return json_fail(at, "path", "empty");
        if (ret->has_timeout && ret->timeout_s == 0)
                return json_fail(at, "timeout", "must be greater than zero");
        if (ret->args.n > 0)
                return 0;
        if (json_alloc(at, 2, sizeof(*ret->args.items), &ret->args.items) < 0)
                return -1;
        ret->args.items[0] = ret->path;
        ret->args.n = 1;
        return 0;
}

static int parse_hook_list(const struct json_at *hooks, const char *key, struct oci_hook_list *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(hooks, key, &list, &n) < 0 ||
            json_alloc(hooks, n, sizeof(*ret->items), &ret->items) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct json_at item;

                if (json_item_object(&list, i, &item) < 0 || parse_hook(&item, &ret->items[i]) < 0)
                        return -1;
        }
        ret->n = n;
        return 0;
}

int parse_hooks(const struct json_at *at, struct oci_hooks *ret)
{
        struct json_at hooks;

        if (json_get_object(at, "hooks", &hooks) < 0 ||
            parse_hook_list(&hooks, "prestart", &ret->prestart) < 0 ||
            parse_hook_list(&hooks, "createRuntime", &ret->create_runtime) < 0 ||
            parse_hook_list(&hooks, "createContainer", &ret->create_container) < 0 ||
            parse_hook_list(&hooks, "startContainer", &ret->start_container) < 0 ||
            parse_hook_list(&hooks, "poststart", &ret->poststart) < 0)
                return -1;
        return parse_hook_list(&hooks, "poststop", &ret->poststop);
}
