/* SPDX-License-Identifier: Apache-2.0
 *
 * Pause, resume and update: what is done to a whole container while it is there, each in a stage. A
 * pause that does not come to its good end, for whatever reason, leaves the container thawed; an
 * update leaves it as it was. So the caller runs one of the three at a time.
 */
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/scope.h"

enum {
        /* A freezer is done in a millisecond, unless a process is in uninterruptible sleep. */
        FREEZE_TIMEOUT_MS = 5000,
        THAW_TIMEOUT_MS = 2000,
};

CLEANUP_DEFINE(struct arena, arena_free)

static void thaw(const struct engine_container *c)
{
        _cleanup_(arena_free_p) struct arena *arena = NULL;
        struct error err = ERROR_INIT;
        struct cgroup cg;

        if (container_cgroup(c, &arena, &cg, &err) < 0 || cgroup_thaw(&cg, 0, &err) < 0)
                engine_warn(c->engine, err.msg);
}

/* ---- Pause ---- */

static int pause_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        struct cgroup cg;

        if (cgroup_parse(job->container->cgroup, stage->arena, &cg, err) < 0)
                return -1;
        return cgroup_freeze(&cg, FREEZE_TIMEOUT_MS, err);
}

/* A stage that has reported its failure has thawed; one that was killed has not. */
static void on_pause_end(struct engine_job *job)
{
        if (!job->is_done && !job->has_reported)
                thaw(job->container);
        done_job_on_end(job);
}

static const struct job_kind pause_kind = {
        .name = "belay:pause",
        .run = pause_stage_run,
        .on_end = on_pause_end,
        .abort = job_cancel,
        .free = done_job_free,
};

int engine_pause(struct engine_container *c, engine_done_fn fn, void *userdata,
                 struct engine_job **ret, struct error *err)
{
        return job_run_stage(c, &pause_kind, 0, NULL, 0, fn, userdata, ret, err);
}

/* ---- Resume ---- */

static int resume_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        struct cgroup cg;

        if (cgroup_parse(job->container->cgroup, stage->arena, &cg, err) < 0)
                return -1;
        return cgroup_thaw(&cg, THAW_TIMEOUT_MS, err);
}

static const struct job_kind resume_kind = {
        .name = "belay:resume",
        .run = resume_stage_run,
        .on_end = done_job_on_end,
        .abort = job_cancel,
        .free = done_job_free,
};

int engine_resume(struct engine_container *c, engine_done_fn fn, void *userdata,
                  struct engine_job **ret, struct error *err)
{
        return job_run_stage(c, &resume_kind, 0, NULL, 0, fn, userdata, ret, err);
}

/* ---- Update ---- */

struct update_job {
        struct done_job done;
        const char *json; /* borrowed; for the stage only */
        size_t len;
        bool was_paused;
};

static struct update_job *update_job(struct engine_job *job)
{
        return container_of(job, struct update_job, done.job);
}

static int update_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct update_job *update = update_job(job);
        struct oci_resources *resources;
        struct cgroup cg;

        if (oci_resources_parse(update->json, update->len, stage->arena, &resources, err) < 0 ||
            cgroup_parse(job->container->cgroup, stage->arena, &cg, err) < 0)
                return -1;
        return scope_update(job->engine->systemd_helper, &cg, resources, stage->arena, err);
}

/* A stage that was killed may have stopped the container for a moment: see cgroup_update(). */
static void on_update_end(struct engine_job *job)
{
        if (!job->is_done && !job->has_reported && !update_job(job)->was_paused)
                thaw(job->container);
        done_job_on_end(job);
}

static void update_free(struct engine_job *job)
{
        free(update_job(job));
}

static const struct job_kind update_kind = {
        .name = "belay:update",
        .run = update_stage_run,
        .on_end = on_update_end,
        .abort = job_cancel,
        .free = update_free,
};

int engine_update(struct engine_container *c, const char *json, size_t len, engine_done_fn fn,
                  void *userdata, struct engine_job **ret, struct error *err)
{
        struct update_job *update = malloc(sizeof(*update));

        if (!update)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "update: no memory");
        *update = (struct update_job){
                .done = {.fn = fn, .userdata = userdata},
                .json = json,
                .len = len,
                .was_paused = engine_cgroup(c) && cgroup_is_paused(engine_cgroup(c)),
        };
        job_init(&update->done.job, c->engine, c, &update_kind);
        if (job_fork(&update->done.job, NULL, 0, false, err) < 0) {
                job_deinit(&update->done.job);
                free(update);
                return -1;
        }
        update->json = NULL; /* was borrowed */
        if (ret)
                *ret = &update->done.job;
        return 0;
}
