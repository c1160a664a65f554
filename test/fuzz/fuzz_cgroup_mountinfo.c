/* SPDX-License-Identifier: Apache-2.0
 *
 * Mountinfo to layout, layout to a container's cgroup, and that to text and back. The part of the
 * input behind a NUL is the container's cgroupsPath, and it is read as cgroup_format()'s text, too.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/cgroup/cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plan_and_return(const struct cgroup_layout *layout, const char *path,
                            struct arena *arena)
{
        struct cgroup cg;
        struct cgroup back;
        char *text;

        if (cgroup_plan(layout, path, "id", arena, &cg, NULL) < 0 ||
            cgroup_format(&cg, arena, &text, NULL) < 0)
                return;
        for (size_t i = 0; i < cg.n_dirs; i++)
                assert(!strstr(cg.dirs[i].path + strlen(layout->hierarchies[i].mountpoint),
                               "/../"));
        /* A mountpoint may be any text; then the way back is an error, and nothing worse. */
        if (cgroup_parse(text, arena, &back, NULL) == 0)
                assert(back.n_dirs >= cg.n_dirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct arena *arena = arena_new(4 << 20);
        struct cgroup_layout layout;
        struct cgroup cg;
        char *text = arena_memdup(arena, data, size);
        size_t len = text ? strlen(text) : 0;
        const char *path = len < size ? text + len + 1 : "/default/id";

        if (text && cgroup_layout_parse(text, arena, &layout, NULL) == 0) {
                assert(layout.n_hierarchies <= CGROUP_HIERARCHIES_MAX);
                plan_and_return(&layout, path, arena);
        }
        if (text)
                (void)cgroup_parse(path, arena, &cg, NULL);
        arena_free(arena);
        return 0;
}
