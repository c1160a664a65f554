/* SPDX-License-Identifier: Apache-2.0
 *
 * The rootfs alone, in stages of its own: for a container that another runtime makes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/rootfs_mounts.h"

enum { ROOTFS_MODE = 0711 };

struct rootfs_job {
        struct done_job done;
        const char *bundle; /* borrowed; for the stage only, like the mounts */
        const struct engine_mount *mounts;
        size_t n_mounts;
};

static struct rootfs_job *rootfs_job(struct engine_job *job)
{
        return container_of(job, struct rootfs_job, done.job);
}

static char *rootfs_path(const struct rootfs_job *job, struct stage *stage, struct error *err)
{
        char *path = arena_printf(stage->arena, "%s/rootfs", job->bundle);

        if (!path)
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "rootfs: no memory");
        return path;
}

static int mount_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct rootfs_job *r = rootfs_job(job);
        const char *rootfs = rootfs_path(r, stage, err);
        struct error undo = ERROR_INIT;

        if (!rootfs)
                return -1;
        if (mkdir(rootfs, ROOTFS_MODE) < 0 && errno != EEXIST)
                return error_errno(err, errno, "mkdir '%s'", rootfs);
        if (rootfs_mount(rootfs, r->mounts, r->n_mounts, stage->arena, err) == 0)
                return 0;
        if (rootfs_unmount(rootfs, ROOTFS_UNMOUNT_NESTED, &undo) < 0)
                stage_send_warning(stage, &undo);
        return -1;
}

static int unmount_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const char *rootfs = rootfs_path(rootfs_job(job), stage, err);

        if (!rootfs)
                return -1;
        if (rootfs_unmount(rootfs, ROOTFS_UNMOUNT_NESTED, err) < 0)
                return error_prefix(err, "rootfs");
        return 0;
}

static void rootfs_free(struct engine_job *job)
{
        free(rootfs_job(job));
}

static const struct job_kind mount_kind = {
        .name = "belay:mount",
        .run = mount_stage_run,
        .on_end = done_job_on_end,
        .free = rootfs_free,
};

static const struct job_kind unmount_kind = {
        .name = "belay:unmount",
        .run = unmount_stage_run,
        .on_end = done_job_on_end,
        .free = rootfs_free,
};

static int run(struct engine *engine, const struct job_kind *kind, const struct rootfs_job *args,
               struct error *err)
{
        struct rootfs_job *r = malloc(sizeof(*r));

        if (!r)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: no memory", kind->name);
        *r = *args;
        job_init(&r->done.job, engine, NULL, kind);
        if (job_fork(&r->done.job, NULL, 0, false, err) < 0) {
                job_deinit(&r->done.job);
                free(r);
                return -1;
        }
        r->bundle = NULL; /* was borrowed */
        r->mounts = NULL;
        return 0;
}

int engine_rootfs_mount(struct engine *engine, const char *bundle,
                        const struct engine_mount *mounts, size_t n, engine_done_fn fn,
                        void *userdata, struct error *err)
{
        const struct rootfs_job args = {
                .done = {.fn = fn, .userdata = userdata},
                .bundle = bundle,
                .mounts = mounts,
                .n_mounts = n,
        };

        return run(engine, &mount_kind, &args, err);
}

int engine_rootfs_unmount(struct engine *engine, const char *bundle, engine_done_fn fn,
                          void *userdata, struct error *err)
{
        const struct rootfs_job args = {
                .done = {.fn = fn, .userdata = userdata},
                .bundle = bundle,
        };

        return run(engine, &unmount_kind, &args, err);
}
