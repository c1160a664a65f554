/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine and its containers, as far as no stage is needed: see engine.h.
 */
#include "pkg/engine/engine.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/internal.h"

enum {
        CGROUP_ARENA_BUDGET = 1 << 20,
        KILL_TIMEOUT_MS = 2000,
};

CLEANUP_DEFINE(struct arena, arena_free)
CLEANUP_DEFINE(struct engine_container, engine_container_free)

int engine_new(struct engine **ret, struct loop *loop, struct reaper *reaper, struct error *err)
{
        struct engine *engine = calloc(1, sizeof(*engine));

        if (!engine)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create engine: no memory");
        engine->loop = loop;
        engine->reaper = reaper;
        list_init(&engine->jobs);
        *ret = engine;
        return 0;
}

void engine_set_orphans(struct engine *engine)
{
        engine->orphans = true;
}

void engine_set_systemd_helper(struct engine *engine, char *path)
{
        engine->systemd_helper = path;
}

struct engine *engine_free(struct engine *engine)
{
        if (!engine)
                return NULL;
        list_for_each_safe(job, &engine->jobs, struct engine_job, node) {
                /* Their completions will never run. */
                job_kill_stage(job);
                job_deinit(job);
                job->kind->free(job);
        }
        free(engine);
        return NULL;
}

void engine_on_warning(struct engine *engine, void (*fn)(const char *text, void *userdata),
                       void *userdata)
{
        engine->warn = fn;
        engine->warn_userdata = userdata;
}

struct engine_container *engine_container_new(struct engine *engine, const char *id,
                                              const char *bundle, const char *state_dir)
{
        _cleanup_(engine_container_free_p) struct engine_container *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        c->engine = engine;
        c->gate = -1;
        c->seccomp_fd = -1;
        c->config_fd = -1;
        c->id = strdup(id);
        c->bundle = strdup(bundle);
        c->state_dir = strdup(state_dir ? state_dir : bundle);
        return c->id && c->bundle && c->state_dir ? TAKE_PTR(c) : NULL;
}

struct engine_container *engine_container_free(struct engine_container *c)
{
        if (!c)
                return NULL;
        assert(c->n_jobs == 0);
        if (c->init)
                c->init->container = NULL;
        fd_close(c->gate);
        fd_close(c->seccomp_fd);
        fd_close(c->config_fd);
        arena_free(c->cgroup_arena);
        free(c->cgroup);
        free(c->state_dir);
        free(c->bundle);
        free(c->id);
        free(c);
        return NULL;
}

int container_parse_config(const struct engine_container *c, struct arena *arena,
                           struct oci_spec **ret, struct error *err)
{
        const void *json;
        size_t len;

        json = stage_map(c->config_fd, &len, err);
        if (!json)
                return -1;
        return oci_spec_parse(json, len, arena, ret, err);
}

bool engine_has_private_pid_namespace(const struct engine_container *c)
{
        return c->facts.private_pid;
}

int container_cgroup(const struct engine_container *c, struct arena **ret_arena, struct cgroup *ret,
                     struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = arena_new(CGROUP_ARENA_BUDGET);

        if (!arena)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cgroup: no memory");
        if (cgroup_parse(c->cgroup, arena, ret, err) < 0)
                return -1;
        *ret_arena = TAKE_PTR(arena);
        return 0;
}

const struct cgroup *engine_cgroup(const struct engine_container *c)
{
        return c->cgroup_arena ? &c->cgroup_parsed : NULL;
}

static int kill_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct done_job *d = container_of(job, struct done_job, job);
        struct cgroup cg;

        if (cgroup_parse(job->container->cgroup, stage->arena, &cg, err) < 0)
                return -1;
        return cgroup_kill(&cg, d->signo, KILL_TIMEOUT_MS, err);
}

static const struct job_kind kill_kind = {
        .name = "belay:kill",
        .run = kill_stage_run,
        .on_end = done_job_on_end,
        .free = done_job_free,
};

int engine_kill_all(struct engine_container *c, int signo, engine_done_fn fn, void *userdata,
                    struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = NULL;
        struct error result = ERROR_INIT;
        struct cgroup cg;

        if (container_cgroup(c, &arena, &cg, err) < 0)
                return -1;
        if (signo == SIGKILL && !cgroup_has_kill(&cg))
                return job_run_stage(c, &kill_kind, signo, NULL, 0, fn, userdata, NULL, err);
        (void)cgroup_kill(&cg, signo, 0, &result);
        return job_report(c->engine, c, &result, fn, userdata, err);
}
