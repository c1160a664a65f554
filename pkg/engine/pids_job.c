/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes of a cgroup below which a container has made cgroups without number: the tree is
 * walked in a stage, which leaves the pids in a memfd and is ended when it takes too long.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/internal.h"

struct pids_job {
        struct engine_job job;
        const struct cgroup *cg; /* borrowed; for the stage only */
        int memfd;
        engine_pids_fn fn;
        void *userdata;
};

static struct pids_job *pids_job(struct engine_job *job)
{
        return container_of(job, struct pids_job, job);
}

static int pids_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct pids_job *p = pids_job(job);
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0;
        int r;

        (void)stage;
        (void)alarm(LIMIT_PIDS_SECONDS);
        if (cgroup_pids(p->cg, &pids, &n, err) < 0)
                return -1;
        r = fd_write_all(p->memfd, pids, n * sizeof(*pids));
        return r < 0 ? error_errno(err, -r, "list pids") : 0;
}

static void on_pids_end(struct engine_job *job)
{
        struct pids_job *p = pids_job(job);
        struct error err = job->err;
        const pid_t *pids = NULL;
        struct stat st = {0};
        void *map = MAP_FAILED;

        if (err.code == STATUS_OK && fstat(p->memfd, &st) == 0 && st.st_size > 0) {
                map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, p->memfd, 0);
                if (map == MAP_FAILED)
                        (void)error_errno(&err, errno, "list pids: mmap");
                else
                        pids = map;
        }
        job_complete(job);
        if (err.code != STATUS_OK)
                p->fn(&err, NULL, 0, p->userdata);
        else
                p->fn(NULL, pids, pids ? (size_t)st.st_size / sizeof(*pids) : 0, p->userdata);
        if (pids)
                (void)munmap(map, (size_t)st.st_size);
}

static void pids_free(struct engine_job *job)
{
        fd_close(pids_job(job)->memfd);
        free(pids_job(job));
}

static const struct job_kind pids_kind = {
        .name = "belay:pids",
        .run = pids_stage_run,
        .on_end = on_pids_end,
        .free = pids_free,
};

int engine_list_pids(struct engine *engine, const struct cgroup *cg, engine_pids_fn fn,
                     void *userdata, struct error *err)
{
        struct pids_job *p = malloc(sizeof(*p));

        if (!p)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "list pids: no memory");
        *p = (struct pids_job){
                .cg = cg,
                .memfd = memfd_create("belay-pids", MFD_CLOEXEC),
                .fn = fn,
                .userdata = userdata,
        };
        if (p->memfd < 0) {
                free(p);
                return error_errno(err, errno, "list pids: memfd_create");
        }
        job_init(&p->job, engine, NULL, &pids_kind);
        if (job_fork(&p->job, &p->memfd, 1, false, err) < 0) {
                job_deinit(&p->job);
                pids_free(&p->job);
                return -1;
        }
        p->cg = NULL; /* was borrowed */
        return 0;
}
