/* SPDX-License-Identifier: Apache-2.0
 *
 * Delete: one stage that takes the container away. The completion waits for init to be reaped, so
 * that the exit of a container that had to be killed is told first.
 */
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/teardown.h"

static int delete_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct engine_container *c = job->container;
        struct oci_spec *spec = NULL;
        struct teardown t = {
                .id = c->id,
                .bundle = c->bundle,
                .state_dir = c->state_dir,
                .cgroup = c->cgroup,
                .systemd_helper = c->engine->systemd_helper,
                .pidfd = c->init && !c->init->has_exited ? c->init->pidfd : -1,
                .unmount = c->unmount,
                .unmount_how = c->nested ? ROOTFS_UNMOUNT_NESTED : ROOTFS_UNMOUNT_SIMPLE,
                .again = true,
                .stage = stage,
                .arena = stage->arena,
        };

        if (c->facts.has_poststop && container_parse_config(c, stage->arena, &spec, err) < 0)
                stage_send_warning(stage, err);
        t.poststop = spec;
        return teardown_run(&t, err);
}

static void on_delete_end(struct engine_job *job)
{
        struct engine_process *init = job->container->init;

        if (init && !init->has_exited) {
                init->waiter = job;
                return;
        }
        done_job_on_end(job);
}

static const struct job_kind delete_kind = {
        .name = "belay:delete",
        .run = delete_stage_run,
        .on_end = on_delete_end,
        .on_deferred = on_delete_end,
        .free = done_job_free,
};

int engine_delete(struct engine_container *c, engine_done_fn fn, void *userdata, struct error *err)
{
        int keep[2] = {c->config_fd, -1};

        if (c->init && !c->init->has_exited) {
                process_kill(c->init);
                keep[1] = c->init->pidfd;
        }
        return job_run_stage(c, &delete_kind, 0, keep, 2, fn, userdata, NULL, err);
}
