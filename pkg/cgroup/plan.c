/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a container's cgroup is, and the same as text. Pure. What comes out of here is an absolute
 * path without `.`, `..` or doubled slashes, strictly below a mountpoint.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/systemd.h"

/* Of a line: what is not of the directory's own texts. */
enum { LINE_EXTRA = 32 };

/* What the line of the unit begins with, and what those of directories do not. */
#define UNIT_LINE "systemd "

bool controllers_have(const char *list, const char *name)
{
        size_t n = strlen(name);

        while (*list) {
                size_t len = strcspn(list, ",");

                if (len == n && memcmp(list, name, n) == 0)
                        return true;
                list += len + (list[len] == ',');
        }
        return false;
}

const struct cgroup_dir *cgroup_find_v1(const struct cgroup *cg, const char *controller)
{
        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (!cg->dirs[i].is_v2 && controllers_have(cg->dirs[i].controllers, controller))
                        return &cg->dirs[i];
        }
        return NULL;
}

const struct cgroup_dir *cgroup_find_v2(const struct cgroup *cg)
{
        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (cg->dirs[i].is_v2)
                        return &cg->dirs[i];
        }
        return NULL;
}

bool cgroup_is_on_v2(const struct cgroup *cg)
{
        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (!cg->dirs[i].is_v2 && !str_has_prefix(cg->dirs[i].controllers, "name="))
                        return false;
        }
        return cgroup_find_v2(cg) != NULL;
}

/* "slice:prefix:name" of the systemd driver; prefix may be empty. */
static bool is_systemd_form(const char *path)
{
        const char *first = strchr(path, ':');
        const char *second = first ? strchr(first + 1, ':') : NULL;

        return second && !strchr(second + 1, ':') && !strchr(path, '/');
}

/* Appends the components to "/..."; the caller's buffer holds strlen(path) + 2. */
static int path_clean(const char *path, char *out, struct error *err)
{
        size_t len = 0;

        for (const char *p = path; *p;) {
                size_t n = strcspn(p, "/");

                if (n > NAME_MAX)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.cgroupsPath: a component is longer than %d bytes",
                                         NAME_MAX);
                if (n == 2 && p[0] == '.' && p[1] == '.')
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.cgroupsPath: '%.128s' has '..' in it", path);
                if (n > 0 && !(n == 1 && p[0] == '.')) {
                        out[len++] = '/';
                        memcpy(out + len, p, n);
                        len += n;
                }
                p += n + (p[n] == '/');
        }
        out[len] = '\0';
        if (len == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.cgroupsPath: '%.128s' is the root of the hierarchy", path);
        return 0;
}

static int path_check(const char *path, struct error *err)
{
        for (const char *p = path; *p; p++) {
                if ((unsigned char)*p < ' ' || *p == '\x7f')
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.cgroupsPath: has a control character in it");
        }
        if (is_systemd_form(path))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.cgroupsPath: '%.128s' asks for the systemd cgroup driver, "
                                 "which is not on (SystemdCgroup, --systemd-cgroup)",
                                 path);
        if (strlen(path) >= PATH_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "linux.cgroupsPath: is too long");
        return 0;
}

int cgroup_place(const struct cgroup_layout *layout, const char *clean, struct arena *arena,
                 struct cgroup *ret, struct error *err)
{
        struct cgroup cg = {0};

        if (layout->n_hierarchies == 0)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "this host has no cgroup hierarchy mounted");
        for (size_t i = 0; i < layout->n_hierarchies; i++) {
                const struct cgroup_hierarchy *h = &layout->hierarchies[i];
                struct cgroup_dir *dir = &cg.dirs[cg.n_dirs++];

                dir->path = arena_printf(arena, "%s%s",
                                         str_equal(h->mountpoint, "/") ? "" : h->mountpoint, clean);
                dir->controllers = h->controllers;
                dir->is_v2 = h->is_v2;
                if (!dir->path)
                        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "plan cgroup: no memory");
                if (strlen(dir->path) >= PATH_MAX - NAME_MAX)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.cgroupsPath: is too long");
        }
        *ret = cg;
        return 0;
}

int cgroup_plan(const struct cgroup_layout *layout, const char *cgroups_path, const char *id,
                struct arena *arena, struct cgroup *ret, struct error *err)
{
        const char *path = str_is_empty(cgroups_path) ? id : cgroups_path;
        char *clean;

        if (path_check(path, err) < 0)
                return -1;
        clean = arena_alloc(arena, strlen(path) + 2);
        if (!clean)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "plan cgroup: no memory");
        if (path_clean(path, clean, err) < 0)
                return -1;
        return cgroup_place(layout, clean, arena, ret, err);
}

static size_t format_room(const struct cgroup *cg)
{
        size_t room = 1 + (cg->unit ? sizeof(UNIT_LINE) + strlen(cg->unit) : 0);

        for (size_t i = 0; i < cg->n_dirs; i++)
                room += LINE_EXTRA + strlen(cg->dirs[i].controllers) + strlen(cg->dirs[i].path);
        return room;
}

int cgroup_format(const struct cgroup *cg, struct arena *arena, char **ret_text, struct error *err)
{
        size_t room = format_room(cg);
        char *text = arena_alloc(arena, room);
        size_t used = 0;

        if (!text)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "format cgroup: no memory");
        text[0] = '\0';
        if (cg->unit)
                used = (size_t)snprintf(text, room, UNIT_LINE "%s\n", cg->unit);
        for (size_t i = 0; i < cg->n_dirs; i++) {
                const struct cgroup_dir *dir = &cg->dirs[i];
                char mark[16] = "";
                int n;

                if (dir->created)
                        (void)snprintf(mark, sizeof(mark), "+%u", dir->n_parents);
                n = snprintf(text + used, room - used, "%s%s%s%s %s\n", dir->is_v2 ? "v2" : "v1",
                             mark, dir->is_v2 ? "" : ":", dir->controllers, dir->path);
                if (n < 0 || (size_t)n >= room - used)
                        return error_set(err, STATUS_INTERNAL, "format cgroup: text too long");
                used += (size_t)n;
        }
        *ret_text = text;
        return 0;
}

static bool is_plain_path(const char *path)
{
        if (path[0] != '/' || strlen(path) >= PATH_MAX)
                return false;
        for (const char *p = path; *p;) {
                size_t n;

                p++;
                n = strcspn(p, "/");
                if (n == 0 || n > NAME_MAX || (n == 1 && p[0] == '.') ||
                    (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += n;
        }
        return true;
}

/* "v1+2:cpu,cpuacct /path": line is NUL-terminated and may be written to. */
static bool dir_parse(char *line, struct cgroup_dir *ret)
{
        struct cgroup_dir dir = {.controllers = ""};
        char *path = strchr(line, ' ');
        char *list;
        uint64_t n_parents = 0;

        if (!path)
                return false;
        *path++ = '\0';
        list = strchr(line, ':');
        if (list)
                *list++ = '\0';
        if (!str_has_prefix(line, "v1") && !str_has_prefix(line, "v2"))
                return false;
        dir.is_v2 = line[1] == '2';
        if (dir.is_v2 == (list != NULL))
                return false;
        if (list)
                dir.controllers = list;
        if (line[2] == '+') {
                dir.created = true;
                if (line[3] && str_to_u64(line + 3, &n_parents) < 0)
                        return false;
                if (n_parents > PATH_MAX)
                        return false;
                dir.n_parents = (unsigned)n_parents;
        } else if (line[2]) {
                return false;
        }
        if (!is_plain_path(path))
                return false;
        dir.path = path;
        *ret = dir;
        return true;
}

int cgroup_parse(const char *text, struct arena *arena, struct cgroup *ret, struct error *err)
{
        struct cgroup cg = {0};
        char *copy = arena_strdup(arena, text);

        if (!copy)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "parse cgroup: no memory");
        for (char *line = copy; *line;) {
                size_t len = strcspn(line, "\n");
                char *next = line + len + (line[len] == '\n');

                line[len] = '\0';
                if (line == copy && str_has_prefix(line, UNIT_LINE) &&
                    systemd_is_unit_name(line + strlen(UNIT_LINE)))
                        cg.unit = line + strlen(UNIT_LINE);
                else if (cg.n_dirs < CGROUP_HIERARCHIES_MAX && dir_parse(line, &cg.dirs[cg.n_dirs]))
                        cg.n_dirs++;
                else
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "parse cgroup: line %zu is malformed",
                                         cg.n_dirs + (cg.unit ? 2 : 1));
                line = next;
        }
        *ret = cg;
        return 0;
}
