/* SPDX-License-Identifier: Apache-2.0
 *
 * See spec.h. The default container is a table where it can be one.
 */
#include "cmd/belay/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#include "cmd/belay/spec_default.h"

static void json_free(struct json_object *object)
{
        json_object_put(object);
}
CLEANUP_DEFINE(struct json_object, json_free)

static struct json_object *strings_new(const char *const *items, size_t n)
{
        struct json_object *array = json_object_new_array();

        for (size_t i = 0; i < n; i++)
                json_object_array_add(array, json_object_new_string(items[i]));
        return array;
}

/* Replaces "NAME=..." or appends. */
static void env_set(struct json_object *env, const char *pair)
{
        size_t name_len = strcspn(pair, "=") + 1;

        for (size_t i = 0; i < json_object_array_length(env); i++) {
                const char *old = json_object_get_string(json_object_array_get_idx(env, i));

                if (old && strncmp(old, pair, name_len) == 0) {
                        json_object_array_put_idx(env, i, json_object_new_string(pair));
                        return;
                }
        }
        json_object_array_add(env, json_object_new_string(pair));
}

/* Adds "NAME=value" unless the name is there. */
static void env_default(struct json_object *env, const char *pair)
{
        size_t name_len = strcspn(pair, "=") + 1;

        for (size_t i = 0; i < json_object_array_length(env); i++) {
                const char *old = json_object_get_string(json_object_array_get_idx(env, i));

                if (old && strncmp(old, pair, name_len) == 0)
                        return;
        }
        json_object_array_add(env, json_object_new_string(pair));
}

/* "UID" or "UID:GID"; without a group, the group is 0, as in an image without /etc/passwd. */
static int user_parse(const char *text, struct json_object **ret, struct error *err)
{
        _cleanup_free_ char *uid_text = strndup(text, strcspn(text, ":"));
        const char *colon = strchr(text, ':');
        uint64_t uid = 0;
        uint64_t gid = 0;
        struct json_object *user;

        if (!uid_text)
                return error_errno(err, ENOMEM, "--user");
        if (str_to_u64(uid_text, &uid) < 0 || (colon && str_to_u64(colon + 1, &gid) < 0) ||
            uid >= UINT32_MAX || gid >= UINT32_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--user '%s' is not UID or UID:GID in numbers", text);
        user = json_object_new_object();
        json_object_object_add(user, "uid", json_object_new_uint64(uid));
        json_object_object_add(user, "gid", json_object_new_uint64(gid));
        *ret = user;
        return 0;
}

/* Into the sets that a process has by itself. */
static void add_caps(struct json_object *process, const struct spec_wish *wish)
{
        static const char *const sets[] = {"bounding", "effective", "permitted"};
        struct json_object *caps = NULL;

        if (!json_object_object_get_ex(process, "capabilities", &caps) ||
            !json_object_is_type(caps, json_type_object)) {
                caps = json_object_new_object();
                json_object_object_add(process, "capabilities", caps);
        }
        for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
                struct json_object *set = NULL;

                if (!json_object_object_get_ex(caps, sets[i], &set) ||
                    !json_object_is_type(set, json_type_array)) {
                        set = json_object_new_array();
                        json_object_object_add(caps, sets[i], set);
                }
                for (size_t k = 0; k < wish->n_caps; k++)
                        json_object_array_add(set, json_object_new_string(wish->caps[k]));
        }
}

static int add_gids(struct json_object *process, const struct spec_wish *wish, struct error *err)
{
        struct json_object *user = NULL;
        struct json_object *list = json_object_new_array();

        if (!json_object_object_get_ex(process, "user", &user)) {
                user = json_object_new_object();
                json_object_object_add(process, "user", user);
        }
        json_object_object_add(user, "additionalGids", list);
        for (size_t i = 0; i < wish->n_gids; i++) {
                uint64_t gid = 0;

                if (str_to_u64(wish->gids[i], &gid) < 0 || gid >= UINT32_MAX)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "--additional-gids '%s' is no number", wish->gids[i]);
                json_object_array_add(list, json_object_new_uint64(gid));
        }
        return 0;
}

/* Puts the wishes into a process object. */
static int process_apply(struct json_object *process, const struct spec_wish *wish,
                         struct error *err)
{
        struct json_object *env = NULL;
        struct json_object *user = NULL;

        if (wish->n_args > 0)
                json_object_object_add(process, "args", strings_new(wish->args, wish->n_args));
        if (wish->cwd)
                json_object_object_add(process, "cwd", json_object_new_string(wish->cwd));
        if (wish->terminal)
                json_object_object_add(process, "terminal", json_object_new_boolean(true));
        if (!json_object_object_get_ex(process, "env", &env)) {
                env = json_object_new_array();
                json_object_object_add(process, "env", env);
        }
        if (!json_object_is_type(env, json_type_array))
                return error_set(err, STATUS_INVALID_ARGUMENT, "process.env: must be a list");
        if (wish->terminal)
                env_default(env, "TERM=xterm");
        for (size_t i = 0; i < wish->n_env; i++)
                env_set(env, wish->env[i]);
        if (wish->user) {
                if (user_parse(wish->user, &user, err) < 0)
                        return -1;
                json_object_object_add(process, "user", user);
        }
        if (wish->n_caps > 0)
                add_caps(process, wish);
        if (wish->apparmor)
                json_object_object_add(process, "apparmorProfile",
                                       json_object_new_string(wish->apparmor));
        if (wish->process_label)
                json_object_object_add(process, "selinuxLabel",
                                       json_object_new_string(wish->process_label));
        if (wish->no_new_privs)
                json_object_object_add(process, "noNewPrivileges", json_object_new_boolean(true));
        return wish->n_gids > 0 ? add_gids(process, wish, err) : 0;
}

static int print_json(struct json_object *object, char **ret, struct error *err)
{
        const char *text = json_object_to_json_string_ext(
                object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);

        *ret = text ? strdup(text) : NULL;
        return *ret ? 0 : error_errno(err, ENOMEM, "write config.json");
}

static int parse(const char *text, size_t len, const char *name, struct json_object **ret,
                 struct error *err)
{
        struct json_tokener *tokener = json_tokener_new_ex(LIMIT_JSON_DEPTH);
        struct json_object *object = NULL;

        if (!tokener)
                return error_errno(err, ENOMEM, "parse '%s'", name);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        object = json_tokener_parse_ex(tokener, text, (int)len);
        if (!object)
                (void)error_set(err, STATUS_INVALID_ARGUMENT, "parse '%s': %s", name,
                                json_tokener_error_desc(json_tokener_get_error(tokener)));
        json_tokener_free(tokener);
        if (object && !json_object_is_type(object, json_type_object)) {
                json_object_put(object);
                return error_set(err, STATUS_INVALID_ARGUMENT, "parse '%s': not an object", name);
        }
        *ret = object;
        return object ? 0 : -1;
}

static int read_file(const char *path, struct json_object **ret, struct error *err)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int r = file_read(AT_FDCWD, path, LIMIT_CONFIG_BYTES, &text, &len);

        if (r < 0)
                return error_errno(err, -r, "read '%s'", path);
        return parse(text, len, path, ret, err);
}

static int read_config(const char *bundle, struct json_object **ret, struct error *err)
{
        _cleanup_free_ char *path = str_printf("%s/config.json", bundle);

        if (!path)
                return error_errno(err, ENOMEM, "read '%s/config.json'", bundle);
        return read_file(path, ret, err);
}

static struct json_object *process_of(struct json_object *config)
{
        struct json_object *process = NULL;

        if (!json_object_object_get_ex(config, "process", &process) ||
            !json_object_is_type(process, json_type_object))
                return NULL;
        return process;
}

static int parse_default(struct json_object **ret, struct json_object **ret_root,
                         struct json_object **ret_linux, struct error *err)
{
        _cleanup_(json_free_p) struct json_object *config = NULL;

        if (parse(spec_default_text, strlen(spec_default_text), "default config", &config, err) < 0)
                return -1;
        if (!process_of(config) || !json_object_object_get_ex(config, "root", ret_root) ||
            !json_object_object_get_ex(config, "linux", ret_linux))
                return error_errno(err, ENOMEM, "write config.json");
        *ret = TAKE_PTR(config);
        return 0;
}

int spec_default(const struct spec_wish *wish, char **ret_json, struct error *err)
{
        _cleanup_(json_free_p) struct json_object *config = NULL;
        struct json_object *root = NULL;
        struct json_object *linux_object = NULL;
        _cleanup_free_ char *cgroups_path = str_printf("/belay/%s", wish->id);

        if (!cgroups_path)
                return error_errno(err, ENOMEM, "write config.json");
        if (parse_default(&config, &root, &linux_object, err) < 0)
                return -1;
        json_object_object_add(config, "hostname", json_object_new_string(wish->id));
        json_object_object_add(root, "path", json_object_new_string(wish->rootfs));
        json_object_object_add(linux_object, "cgroupsPath", json_object_new_string(cgroups_path));
        if (process_apply(process_of(config), wish, err) < 0)
                return -1;
        return print_json(config, ret_json, err);
}

/* Makes the member `key` of object absolute: relative paths count from the bundle. */
static int make_absolute(struct json_object *object, const char *key, const char *bundle,
                         const char *where, struct error *err)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_free_ char *real = NULL;
        struct json_object *value = NULL;
        const char *text;

        if (!json_object_object_get_ex(object, key, &value) ||
            !json_object_is_type(value, json_type_string))
                return 0;
        text = json_object_get_string(value);
        if (*text == '/')
                return 0;
        path = str_printf("%s/%s", bundle, text);
        real = path ? realpath(path, NULL) : NULL;
        if (!real)
                return error_errno(err, errno, "%s '%s'", where, text);
        json_object_object_add(object, key, json_object_new_string(real));
        return 0;
}

/* Only bind mounts have a path for a source. */
static bool mount_is_bind(struct json_object *mount)
{
        struct json_object *value = NULL;

        if (json_object_object_get_ex(mount, "type", &value) &&
            str_equal(json_object_get_string(value), "bind"))
                return true;
        if (!json_object_object_get_ex(mount, "options", &value) ||
            !json_object_is_type(value, json_type_array))
                return false;
        for (size_t i = 0; i < json_object_array_length(value); i++) {
                const char *option = json_object_get_string(json_object_array_get_idx(value, i));

                if (option && (strcmp(option, "bind") == 0 || strcmp(option, "rbind") == 0))
                        return true;
        }
        return false;
}

static int make_paths_absolute(struct json_object *config, const char *bundle, struct error *err)
{
        struct json_object *value = NULL;

        if (json_object_object_get_ex(config, "root", &value) &&
            json_object_is_type(value, json_type_object) &&
            make_absolute(value, "path", bundle, "root.path", err) < 0)
                return -1;
        if (!json_object_object_get_ex(config, "mounts", &value) ||
            !json_object_is_type(value, json_type_array))
                return 0;
        for (size_t i = 0; i < json_object_array_length(value); i++) {
                struct json_object *mount = json_object_array_get_idx(value, i);

                if (json_object_is_type(mount, json_type_object) && mount_is_bind(mount) &&
                    make_absolute(mount, "source", bundle, "mount source", err) < 0)
                        return -1;
        }
        return 0;
}

static bool wants_terminal(struct json_object *process)
{
        struct json_object *terminal = NULL;

        return process && json_object_object_get_ex(process, "terminal", &terminal) &&
               json_object_get_boolean(terminal);
}

int spec_read(const char *bundle, char **ret_json, bool *ret_terminal, struct error *err)
{
        _cleanup_(json_free_p) struct json_object *config = NULL;

        if (read_config(bundle, &config, err) < 0 || print_json(config, ret_json, err) < 0)
                return -1;
        *ret_terminal = wants_terminal(process_of(config));
        return 0;
}

int spec_from_bundle(const char *bundle, const struct spec_wish *wish, char **ret_json,
                     bool *ret_terminal, struct error *err)
{
        _cleanup_(json_free_p) struct json_object *config = NULL;
        struct json_object *process;

        if (read_config(bundle, &config, err) < 0 || make_paths_absolute(config, bundle, err) < 0)
                return -1;
        process = process_of(config);
        if (!process)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s/config.json' has no process to run", bundle);
        if (process_apply(process, wish, err) < 0)
                return -1;
        *ret_terminal = wants_terminal(process);
        return print_json(config, ret_json, err);
}

/* Unless the process says so itself. */
static void size_default(struct json_object *process, const struct spec_wish *wish)
{
        struct json_object *size;

        if (wish->width == 0 || json_object_object_get_ex(process, "consoleSize", NULL))
                return;
        size = json_object_new_object();
        json_object_object_add(size, "height", json_object_new_int(wish->height));
        json_object_object_add(size, "width", json_object_new_int(wish->width));
        json_object_object_add(process, "consoleSize", size);
}

int spec_exec_process(const char *bundle, const char *file, const struct spec_wish *wish,
                      char **ret_json, bool *ret_terminal, struct error *err)
{
        _cleanup_(json_free_p) struct json_object *config = NULL;
        struct json_object *process;

        if ((file ? read_file(file, &config, err) : read_config(bundle, &config, err)) < 0)
                return -1;
        process = file ? config : process_of(config);
        if (!process)
                return error_set(err, STATUS_INVALID_ARGUMENT, "'%s/config.json' has no process",
                                 bundle);
        if (!file) {
                json_object_object_add(process, "terminal", json_object_new_boolean(false));
                json_object_object_del(process, "consoleSize");
        }
        if (process_apply(process, wish, err) < 0)
                return -1;
        *ret_terminal = wants_terminal(process);
        if (*ret_terminal)
                size_default(process, wish);
        return print_json(process, ret_json, err);
}

/* A list with the one mapping of a user who has no others. */
static struct json_object *mapping_new(uint64_t id)
{
        struct json_object *list = json_object_new_array();
        struct json_object *mapping = json_object_new_object();

        json_object_object_add(mapping, "containerID", json_object_new_uint64(0));
        json_object_object_add(mapping, "hostID", json_object_new_uint64(id));
        json_object_object_add(mapping, "size", json_object_new_uint64(1));
        json_object_array_add(list, mapping);
        return list;
}

static void add_user_namespace(struct json_object *linux_object)
{
        struct json_object *namespaces = NULL;
        struct json_object *user = json_object_new_object();

        json_object_object_add(user, "type", json_object_new_string("user"));
        if (json_object_object_get_ex(linux_object, "namespaces", &namespaces))
                json_object_array_add(namespaces, user);
        json_object_object_add(linux_object, "uidMappings", mapping_new(geteuid()));
        json_object_object_add(linux_object, "gidMappings", mapping_new(getegid()));
        json_object_object_del(linux_object, "resources");
}

/* Only one group is mapped, and tty is not it. */
static void drop_group_of_devpts(struct json_object *config)
{
        struct json_object *mounts = NULL;
        size_t n;

        if (!json_object_object_get_ex(config, "mounts", &mounts))
                return;
        n = json_object_array_length(mounts);
        for (size_t i = 0; i < n; i++) {
                struct json_object *mount = json_object_array_get_idx(mounts, i);
                struct json_object *options = NULL;
                struct json_object *left = json_object_new_array();

                json_object_object_get_ex(mount, "options", &options);
                for (size_t k = 0; options && k < json_object_array_length(options); k++) {
                        struct json_object *option = json_object_array_get_idx(options, k);

                        if (!str_has_prefix(json_object_get_string(option), "gid="))
                                json_object_array_add(left, json_object_get(option));
                }
                json_object_object_add(mount, "options", left);
        }
}

int spec_template(bool rootless, char **ret_json, struct error *err)
{
        _cleanup_(json_free_p) struct json_object *config = NULL;
        static const struct spec_wish wish = {.terminal = true};
        struct json_object *root = NULL;
        struct json_object *linux_object = NULL;

        if (parse_default(&config, &root, &linux_object, err) < 0 ||
            process_apply(process_of(config), &wish, err) < 0)
                return -1;
        json_object_object_add(config, "hostname", json_object_new_string("belay"));
        json_object_object_add(root, "path", json_object_new_string("rootfs"));
        json_object_object_add(root, "readonly", json_object_new_boolean(true));
        if (rootless) {
                add_user_namespace(linux_object);
                drop_group_of_devpts(config);
        }
        return print_json(config, ret_json, err);
}
