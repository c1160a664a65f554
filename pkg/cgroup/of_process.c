/* SPDX-License-Identifier: Apache-2.0
 *
 * The cgroup of a process that a runtime binary has placed: /proc/PID/cgroup against the mounted
 * hierarchies. It is what the kernel says, so no path is checked for `..`; a path that the kernel
 * shows as outside our view begins with `/..` and matches no mount.
 */
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/cgroup/cgroup.h"

/* The path in the line of a hierarchy ("ID:CONTROLLERS:PATH"), and its length; NULL if there is no
 * such line. v1 and v2 are told apart by the controllers, which v2 has none of. */
static const char *find_path(const char *text, const char *controllers, size_t *ret_len)
{
        for (const char *line = text; *line;) {
                size_t len = strcspn(line, "\n");
                const char *first = memchr(line, ':', len);
                const char *second =
                        first ? memchr(first + 1, ':', len - (size_t)(first + 1 - line)) : NULL;

                if (second && (size_t)(second - first - 1) == strlen(controllers) &&
                    memcmp(first + 1, controllers, strlen(controllers)) == 0) {
                        *ret_len = len - (size_t)(second + 1 - line);
                        return second + 1;
                }
                line += len + (line[len] == '\n');
        }
        return NULL;
}

/* path below what is mounted of the hierarchy; NULL if it is not, or is all of it. */
static const char *below_root(const struct cgroup_hierarchy *h, const char *path)
{
        size_t n = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);

        if (strncmp(path, h->root, n) != 0 || path[n] != '/' || path[n + 1] == '\0' ||
            str_equal(path + n, "/..") || str_has_prefix(path + n, "/../"))
                return NULL;
        return path + n;
}

int cgroup_of_process(const struct cgroup_layout *layout, const char *text, const char *own,
                      struct arena *arena, struct cgroup *ret, struct error *err)
{
        *ret = (struct cgroup){0};
        for (size_t i = 0; i < layout->n_hierarchies; i++) {
                const struct cgroup_hierarchy *h = &layout->hierarchies[i];
                size_t len = 0;
                size_t own_len = 0;
                const char *path = find_path(text, h->is_v2 ? "" : h->controllers, &len);
                const char *ours = find_path(own, h->is_v2 ? "" : h->controllers, &own_len);
                char *copy;

                if (!path || (ours && own_len == len && memcmp(path, ours, len) == 0))
                        continue;
                copy = arena_memdup(arena, path, len);
                path = copy ? below_root(h, copy) : NULL;
                if (copy && !path)
                        continue;
                copy = path ? arena_printf(arena, "%s%s", h->mountpoint, path) : NULL;
                if (!copy)
                        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cgroup: no memory");
                ret->dirs[ret->n_dirs++] = (struct cgroup_dir){
                        .path = copy,
                        .controllers = h->controllers,
                        .is_v2 = h->is_v2,
                };
        }
        return 0;
}
