/* SPDX-License-Identifier: Apache-2.0
 *
 * What is left of a container that another runtime was making when it was killed. runc and crun
 * make the cgroup first and take note of it later. It is where config.json says, and is removed
 * only when nothing is in it: so nobody's processes lose theirs, but one that somebody had made
 * beforehand and that is empty goes, too. Where a path that is not absolute leads depends on the
 * runtime; what systemd has made it removes by itself.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/engine/internal.h"
#include "pkg/oci/spec.h"

CLEANUP_DEFINE(struct arena, arena_free)

/* The processes of a runtime that was killed notice it and end. */
enum { UNDO_MS = 500 };

/* What the engine would refuse, or cannot read, is for the runtime to judge. NULL: none is named.
 */
static const char *cgroups_path(const char *bundle, struct arena *arena)
{
        _cleanup_close_ int fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *json = NULL;
        char *path = NULL;
        size_t len = 0;

        if (fd < 0 || file_read(fd, "config.json", LIMIT_CONFIG_BYTES, &json, &len) < 0 ||
            oci_cgroups_path_parse(json, len, arena, &path, NULL) < 0)
                return NULL;
        return path;
}

/* No directories: there is none that is known. */
static int find(const char *bundle, struct arena *arena, struct cgroup *ret, struct error *err)
{
        const char *path = cgroups_path(bundle, arena);
        struct cgroup_layout layout;

        *ret = (struct cgroup){.n_dirs = 0};
        if (!path || path[0] != '/')
                return 0;
        if (cgroup_layout_read(arena, &layout, err) < 0)
                return -1;
        if (cgroup_plan(&layout, path, "", arena, ret, NULL) < 0)
                ret->n_dirs = 0; /* the runtime has refused such a path, too */
        return 0;
}

static int clean_up(const char *bundle, int timeout_ms, struct arena *arena, struct error *err)
{
        struct cgroup cg;

        if (find(bundle, arena, &cg, err) < 0)
                return -1;
        return cgroup_remove_empty(&cg, timeout_ms, err);
}

int engine_foreign_cleanup(const char *bundle, int timeout_ms, struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = arena_new(STAGE_ARENA_BUDGET);

        if (!arena)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "clean up: no memory");
        return clean_up(bundle, timeout_ms, arena, err);
}

/* ---- In a stage ---- */

struct undo_job {
        struct done_job done;
        const char *bundle; /* borrowed; for the stage only */
};

static struct undo_job *undo_job(struct engine_job *job)
{
        return container_of(job, struct undo_job, done.job);
}

static int undo_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        return clean_up(undo_job(job)->bundle, UNDO_MS, stage->arena, err);
}

static void undo_free(struct engine_job *job)
{
        free(undo_job(job));
}

static const struct job_kind undo_kind = {
        .name = "belay:undo",
        .run = undo_stage_run,
        .on_end = done_job_on_end,
        .free = undo_free,
};

int engine_foreign_undo(struct engine *engine, const char *bundle, engine_done_fn fn,
                        void *userdata, struct error *err)
{
        struct undo_job *undo = malloc(sizeof(*undo));

        if (!undo)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: no memory", undo_kind.name);
        *undo = (struct undo_job){.done = {.fn = fn, .userdata = userdata}, .bundle = bundle};
        job_init(&undo->done.job, engine, NULL, &undo_kind);
        if (job_fork(&undo->done.job, NULL, 0, false, err) < 0) {
                job_deinit(&undo->done.job);
                free(undo);
                return -1;
        }
        undo->bundle = NULL; /* was borrowed */
        return 0;
}
