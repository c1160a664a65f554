/* SPDX-License-Identifier: Apache-2.0
 *
 * A cgroup below a container's, by name: see cgroup.h. Names are joined with the container's own
 * path as text, so none of them may lead upwards; there are no symbolic links in these file
 * systems.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

static int refuse(struct error *err, const char *line, const char *why)
{
        return error_set(err, STATUS_INVALID_ARGUMENT, "cgroup '%.128s': %s", line, why);
}

/* Appends the components of path to out, which holds PATH_MAX. */
static int append(const char *line, const char *path, char *out, struct error *err)
{
        size_t len = strlen(out);

        for (const char *p = path; *p;) {
                size_t n = strcspn(p, "/");

                if (n == 2 && p[0] == '.' && p[1] == '.')
                        return refuse(err, line, "'..' is not below the container's cgroup");
                if (n > NAME_MAX || len + n + 1 >= PATH_MAX - NAME_MAX)
                        return refuse(err, line, "is too long");
                if (n > 0 && !(n == 1 && p[0] == '.')) {
                        out[len++] = '/';
                        memcpy(out + len, p, n);
                        len += n;
                        out[len] = '\0';
                }
                p += n + (p[n] == '/');
        }
        return 0;
}

static int set_dir(struct cgroup_dir *dir, const char *own, const char *line, const char *path,
                   struct arena *arena, struct error *err)
{
        char full[PATH_MAX];
        const char *copy;

        if (strlen(own) >= sizeof(full))
                return refuse(err, line, "is too long");
        memcpy(full, own, strlen(own) + 1);
        if (append(line, path, full, err) < 0)
                return -1;
        if (!str_equal(dir->path, own) && !str_equal(dir->path, full))
                return refuse(err, line, "the hierarchy of that controller has another path");
        copy = arena_strdup(arena, full);
        if (!copy)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cgroup: no memory");
        *dir = (struct cgroup_dir){copy, dir->controllers, dir->is_v2, false, 0};
        return 0;
}

/* One path for all. */
static int set_all(const struct cgroup *cg, const char *line, struct arena *arena,
                   struct cgroup *ret, struct error *err)
{
        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (set_dir(&ret->dirs[i], cg->dirs[i].path, line, line, arena, err) < 0)
                        return -1;
                /* The tree beside v1: who makes a cgroup for its controllers does not think of it.
                 */
                if (cg->dirs[i].is_v2 && cg->n_dirs > 1 && access(ret->dirs[i].path, F_OK) < 0)
                        ret->dirs[i] = cg->dirs[i];
        }
        return 0;
}

static bool list_has(const char *list, const char *word, size_t len)
{
        while (*list) {
                size_t n = strcspn(list, ",");

                if (n == len && memcmp(list, word, n) == 0)
                        return true;
                list += n + (list[n] == ',');
        }
        return false;
}

static int set_controller(const struct cgroup *cg, const char *line, const char *name, size_t len,
                          const char *path, struct arena *arena, struct cgroup *ret,
                          struct error *err)
{
        if (len == 0)
                return refuse(err, line, "an empty name before ':'");
        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (!cg->dirs[i].is_v2 && list_has(cg->dirs[i].controllers, name, len))
                        return set_dir(&ret->dirs[i], cg->dirs[i].path, line, path, arena, err);
        }
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "cgroup '%.128s': the container has no cgroup of v1 for controller "
                         "'%.*s'",
                         line, (int)len, name);
}

static int set_line(const struct cgroup *cg, const char *line, bool alone, struct arena *arena,
                    struct cgroup *ret, struct error *err)
{
        const char *colon = strchr(line, ':');

        for (const char *p = line; *p; p++) {
                if ((unsigned char)*p < ' ' || *p == '\x7f')
                        return refuse(err, "", "has a control character in it");
        }
        if (!colon)
                return alone ? set_all(cg, line, arena, ret, err)
                             : refuse(err, line, "of several each needs its controllers");
        for (const char *p = line; p <= colon;) {
                size_t n = strcspn(p, ",:");

                if (set_controller(cg, line, p, n, colon + 1, arena, ret, err) < 0)
                        return -1;
                p += n + 1;
        }
        return 0;
}

int cgroup_below(const struct cgroup *cg, const char *text, struct arena *arena, struct cgroup *ret,
                 struct error *err)
{
        char *copy = arena_strdup(arena, text);
        bool alone = !strchr(text, '\n');
        char *save = NULL;

        if (!copy)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cgroup: no memory");
        *ret = *cg;
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (set_line(cg, line, alone, arena, ret, err) < 0)
                        return -1;
        }
        return 0;
}
