/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and requests of the systemd driver: see systemd.h.
 */
#include "pkg/cgroup/systemd.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/systemd_properties.h"

#define DEFAULT_SLICE  "system.slice"
#define DEFAULT_PREFIX "runc"

/* UNIT_NAME_MAX of systemd, with the NUL. */
enum { UNIT_NAME_SIZE = 256 };

static bool is_name_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (c != '\0' && strchr(":-_.\\@", c));
}

static bool is_name(const char *name, const char *suffix)
{
        if (strlen(name) >= UNIT_NAME_SIZE || !str_has_suffix(name, suffix) ||
            strlen(name) == strlen(suffix))
                return false;
        for (const char *p = name; *p; p++) {
                if (!is_name_char(*p))
                        return false;
        }
        return true;
}

bool systemd_is_unit_name(const char *name)
{
        return is_name(name, ".scope");
}

static int no_memory(struct error *err)
{
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "systemd unit: no memory");
}

static int path_refuse(const char *path, const char *why, struct error *err)
{
        return error_set(err, STATUS_INVALID_ARGUMENT, "linux.cgroupsPath: '%.128s': %s", path,
                         why);
}

/* "a-b.slice" is below "a.slice", and "-.slice" is the root, "". NULL: no memory. */
static char *slice_path(const char *slice, struct arena *arena)
{
        char *path = arena_strdup(arena, "");
        size_t len = strlen(slice) - strlen(".slice");

        if (strcmp(slice, "-.slice") == 0)
                return path;
        for (size_t i = 1; path && i <= len; i++) {
                if (i == len || slice[i] == '-')
                        path = arena_printf(arena, "%s/%.*s.slice", path, (int)i, slice);
        }
        return path;
}

static bool is_slice(const char *slice)
{
        size_t len = strlen(slice);

        if (!is_name(slice, ".slice"))
                return false;
        if (strcmp(slice, "-.slice") == 0)
                return true;
        return slice[0] != '-' && slice[len - strlen(".slice") - 1] != '-' && !strstr(slice, "--");
}

/* The three parts of the path, or its defaults; they are in the arena. */
static int path_split(const char *path, const char *id, struct arena *arena, const char *parts[3],
                      struct error *err)
{
        char *copy;

        if (str_is_empty(path)) {
                parts[0] = DEFAULT_SLICE;
                parts[1] = DEFAULT_PREFIX;
                parts[2] = id;
                return 0;
        }
        copy = arena_strdup(arena, path);
        if (!copy)
                return no_memory(err);
        for (size_t i = 0; i < 3; i++) {
                char *colon = strchr(copy, ':');

                parts[i] = copy;
                if ((colon != NULL) != (i < 2))
                        return path_refuse(path,
                                           "is not of the form 'slice:prefix:name', which "
                                           "the systemd cgroup driver needs",
                                           err);
                if (colon) {
                        *colon = '\0';
                        copy = colon + 1;
                }
        }
        if (!*parts[0])
                parts[0] = DEFAULT_SLICE;
        return 0;
}

int systemd_plan(const struct cgroup_layout *layout, const char *cgroups_path, const char *id,
                 struct arena *arena, struct systemd_unit *ret_unit, struct cgroup *ret,
                 struct error *err)
{
        struct systemd_unit unit = {0};
        const char *parts[3];
        const char *path;

        if (path_split(cgroups_path, id, arena, parts, err) < 0)
                return -1;
        path = str_is_empty(cgroups_path) ? id : cgroups_path;
        if (!is_slice(parts[0]))
                return path_refuse(path, "the slice's name is not valid", err);
        if (!*parts[2])
                return path_refuse(path, "the name is empty", err);
        if (str_has_suffix(parts[2], ".slice"))
                return path_refuse(path, "a container cannot be a slice", err);
        unit.slice = parts[0];
        unit.name = arena_printf(arena, "%s-%s.scope", parts[1], parts[2]);
        unit.description = arena_printf(arena, "belay container %s", id);
        if (!unit.name || !unit.description)
                return no_memory(err);
        if (!systemd_is_unit_name(unit.name))
                return path_refuse(path, "is not a name for a systemd unit", err);
        path = slice_path(unit.slice, arena);
        unit.control_group = path ? arena_printf(arena, "%s/%s", path, unit.name) : NULL;
        if (!unit.control_group)
                return no_memory(err);
        if (cgroup_place(layout, unit.control_group, arena, ret, err) < 0)
                return -1;
        ret->unit = unit.name;
        *ret_unit = unit;
        return 0;
}

/* ---- requests ---- */

/* Takes what was written to f, which it closes. */
static int request_end(FILE *f, char **text, struct arena *arena, char **ret, struct error *err)
{
        bool failed = ferror(f) != 0;

        if (fclose(f) != 0 || failed)
                return no_memory(err);
        if (strlen(*text) > SYSTEMD_REQUEST_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "systemd unit: too many properties");
        *ret = arena_strdup(arena, *text);
        return *ret ? 0 : no_memory(err);
}

static void put_start(FILE *f, const struct systemd_start *start)
{
        const struct systemd_unit *unit = start->unit;
        bool is_v2 = cgroup_is_on_v2(start->cgroup);

        (void)fprintf(f, "start %s\n", unit->name);
        (void)fprintf(f, "s Description %s\n", unit->description);
        (void)fprintf(f, "s Slice %s\n", unit->slice);
        (void)fprintf(f, "au PIDs %d\n", (int)start->pid);
        (void)fprintf(f, "b Delegate 1\n");
        (void)fprintf(f, "b DefaultDependencies 0\n");
        (void)fprintf(f, "b MemoryAccounting 1\nb CPUAccounting 1\nb %s 1\nb TasksAccounting 1\n",
                      is_v2 ? "IOAccounting" : "BlockIOAccounting");
}

int systemd_request_start(const struct systemd_start *start, struct arena *arena, char **ret,
                          struct error *err)
{
        const struct oci_resources *r = start->resources;
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        int result = 0;

        if (!f)
                return no_memory(err);
        put_start(f, start);
        if (r)
                result = systemd_put_resources(f, cgroup_is_on_v2(start->cgroup), r, err);
        if (result == 0)
                result = systemd_put_devices(f, r ? r->devices : NULL, r ? r->n_devices : 0, err);
        /* They come last, for they are to have the last word. */
        if (result == 0)
                result = systemd_put_annotations(f, start->annotations, start->n_annotations, err);
        if (result < 0) {
                (void)fclose(f);
                return -1;
        }
        return request_end(f, &text, arena, ret, err);
}

int systemd_request_update(const struct cgroup *cg, const struct oci_resources *r,
                           struct arena *arena, char **ret, struct error *err)
{
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        long head;

        if (!f)
                return no_memory(err);
        (void)fprintf(f, "set %s\n", cg->unit);
        head = ftell(f);
        if (systemd_put_resources(f, cgroup_is_on_v2(cg), r, err) < 0 ||
            (r->has_devices && systemd_put_devices(f, r->devices, r->n_devices, err) < 0)) {
                (void)fclose(f);
                return -1;
        }
        if (ftell(f) == head) {
                (void)fclose(f);
                *ret = NULL;
                return 0;
        }
        return request_end(f, &text, arena, ret, err);
}

int systemd_request_stop(const struct cgroup *cg, struct arena *arena, char **ret,
                         struct error *err)
{
        *ret = arena_printf(arena, "stop %s\n", cg->unit);
        return *ret ? 0 : no_memory(err);
}
