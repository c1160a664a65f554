/* SPDX-License-Identifier: Apache-2.0
 *
 * See oci_record.h. The note is taken once, so that a state is that of the container as it was
 * made, whatever becomes of the bundle.
 */
#include "cmd/belay/oci_record.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#include "cmd/belay/out.h"

#define RECORD_FILE "container.json"

/* Of the runtime-spec, for a config.json that says none. */
#define OLDEST_VERSION "1.0.0"

static void json_free(struct json_object *object)
{
        json_object_put(object);
}
CLEANUP_DEFINE(struct json_object, json_free)

static void add_string(struct json_object *object, const char *key, const char *value)
{
        json_object_object_add(object, key, json_object_new_string(value ? value : ""));
}

static const char *string_of(struct json_object *object, const char *key)
{
        struct json_object *value = NULL;

        if (!json_object_object_get_ex(object, key, &value) ||
            !json_object_is_type(value, json_type_string))
                return NULL;
        return json_object_get_string(value);
}

/* The absolute path of the root file system, whether it exists or not. */
static char *rootfs_path(struct json_object *config, const char *bundle)
{
        struct json_object *root = NULL;
        const char *path = NULL;

        if (json_object_object_get_ex(config, "root", &root) &&
            json_object_is_type(root, json_type_object))
                path = string_of(root, "path");
        if (!path)
                path = "rootfs";
        return path_join_clean((const char *const[]){*path == '/' ? "" : bundle, path}, 2);
}

/* The members of a state that do not change. */
static struct json_object *note_new(struct json_object *config, const char *bundle)
{
        struct json_object *note = json_object_new_object();
        struct json_object *annotations = NULL;
        _cleanup_free_ char *rootfs = rootfs_path(config, bundle);

        add_string(note, "ociVersion", string_of(config, "ociVersion"));
        add_string(note, "bundle", bundle);
        add_string(note, "rootfs", rootfs);
        if (json_object_object_get_ex(config, "annotations", &annotations) &&
            json_object_is_type(annotations, json_type_object))
                json_object_object_add(note, "annotations", json_object_get(annotations));
        return note;
}

static void note_add_making(struct json_object *note)
{
        struct timespec now = clock_realtime();
        _cleanup_free_ char *owner = getuid() == 0 ? NULL : str_printf("%u", (unsigned)getuid());
        char text[OUT_TIME_BYTES];

        out_format_time(text, now.tv_sec, (int32_t)now.tv_nsec);
        add_string(note, "created", text);
        add_string(note, "owner", owner);
}

int oci_record_write(const char *dir, const char *bundle, const char *config_json,
                     struct error *err)
{
        _cleanup_(json_free_p) struct json_object *config = json_tokener_parse(config_json);
        _cleanup_(json_free_p) struct json_object *note = NULL;
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const char *text;
        int r;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", dir);
        note = note_new(config, bundle);
        note_add_making(note);
        text = json_object_to_json_string(note);
        r = text ? file_write_atomic(fd, RECORD_FILE, text, strlen(text), 0600) : -ENOMEM;
        return r < 0 ? error_errno(err, -r, "write '%s/" RECORD_FILE "'", dir) : 0;
}

static struct json_object *read_json(const char *dir, const char *name)
{
        _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
        _cleanup_free_ char *text = NULL;
        struct json_object *object;

        if (!path || file_read(AT_FDCWD, path, LIMIT_CONFIG_BYTES, &text, NULL) < 0)
                return NULL;
        object = json_tokener_parse(text);
        if (object && !json_object_is_type(object, json_type_object)) {
                json_object_put(object);
                return NULL;
        }
        return object;
}

/* The note, or what it would be. */
static struct json_object *note_find(const char *dir, const struct view *view)
{
        _cleanup_(json_free_p) struct json_object *config = NULL;
        struct json_object *note = dir ? read_json(dir, RECORD_FILE) : NULL;
        const char *bundle = view->state.bundle ? view->state.bundle : dir;

        if (note || !bundle)
                return note ? note : json_object_new_object();
        config = read_json(bundle, "config.json");
        return note_new(config, bundle);
}

static void copy_member(struct json_object *to, struct json_object *from, const char *key)
{
        struct json_object *value = NULL;

        if (json_object_object_get_ex(from, key, &value))
                json_object_object_add(to, key, json_object_get(value));
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
        json_object_object_add(object, key, json_object_new_uint64(value));
}

/* Of output that somebody takes care of; the rest goes where it goes without the shim. */
static void add_io(struct json_object *state, const struct view_io *io)
{
        struct json_object *object;
        bool is_log = str_equal(io->kind, "log");

        if (!is_log && !str_equal(io->kind, "logger"))
                return;
        object = json_object_new_object();
        add_string(object, "kind", io->kind);
        json_object_object_add(object, "drained", json_object_new_boolean(io->drained));
        add_number(object, "bytes_dropped", io->bytes_dropped);
        if (is_log) {
                add_number(object, "bytes", io->bytes);
                add_number(object, "bytes_waiting", io->bytes_waiting);
                add_number(object, "rotations", io->rotations);
                add_number(object, "write_errors", io->write_errors);
        }
        if (!str_is_empty(io->last_error))
                add_string(object, "last_error", io->last_error);
        add_number(object, "logger_restarts", io->logger_restarts);
        json_object_object_add(state, "io", object);
}

/* What belay knows beyond the runtime-spec. */
static void add_own(struct json_object *state, const struct view *view)
{
        const struct task_state *s = &view->state;
        char text[OUT_TIME_BYTES];

        if (!str_is_empty(view->exec_id))
                add_string(state, "exec_id", view->exec_id);
        if (view->shim_pid)
                json_object_object_add(state, "shim_pid", json_object_new_int64(view->shim_pid));
        if (view->exited) {
                json_object_object_add(state, "exit_status", json_object_new_int64(s->exit_status));
                out_format_time(text, s->exited_at, s->exited_at_nanos);
                add_string(state, "exited_at", text);
        }
        if (view->reason)
                add_string(state, "reason", view->reason);
        if (view->oom_level) {
                add_string(state, "oom_level", view->oom_level);
                json_object_object_add(state, "oom_up", json_object_new_int((int)view->oom_up));
        }
        json_object_object_add(state, "terminal", json_object_new_boolean(s->terminal));
        add_string(state, "stdin", s->in);
        add_string(state, "stdout", s->out);
        add_string(state, "stderr", s->err);
        add_io(state, &view->io);
}

int oci_state_format(const char *dir, const struct view *view, char **ret, struct error *err)
{
        _cleanup_(json_free_p) struct json_object *note = note_find(dir, view);
        _cleanup_(json_free_p) struct json_object *state = json_object_new_object();
        const char *version = string_of(note, "ociVersion");
        const char *text;

        add_string(state, "ociVersion", str_is_empty(version) ? OLDEST_VERSION : version);
        add_string(state, "id", view->id);
        json_object_object_add(state, "pid",
                               json_object_new_int64(view->exited ? 0 : view->state.pid));
        add_string(state, "status", view->status);
        copy_member(state, note, "bundle");
        copy_member(state, note, "rootfs");
        copy_member(state, note, "created");
        copy_member(state, note, "annotations");
        copy_member(state, note, "owner");
        add_own(state, view);
        text = json_object_to_json_string_ext(state, JSON_C_TO_STRING_PRETTY |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE);
        *ret = text ? strdup(text) : NULL;
        return *ret ? 0 : error_errno(err, ENOMEM, "print the state");
}
