/* SPDX-License-Identifier: Apache-2.0
 *
 * What is left of a container that another runtime was making when it was killed. runc and crun
 * make the cgroup first and take note of it later. It is where config.json says, so before the
 * launch a note is taken of what is not there yet: that alone is removed, with who is in it. The
 * note goes when the runtime has taken its own. Where a path that is not absolute leads depends on
 * the runtime; what systemd has made it removes by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/engine/internal.h"
#include "pkg/oci/spec.h"

CLEANUP_DEFINE(struct arena, arena_free)

/* Text of cgroup_format(), in the state directory. */
#define NOTE_FILE "launch.cgroup"

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

/* ---- The note ---- */

/* False if there is none. */
static bool mark_absent(struct cgroup *cg)
{
        bool found = false;

        for (size_t i = 0; i < cg->n_dirs; i++) {
                cg->dirs[i].created = access(cg->dirs[i].path, F_OK) < 0 && errno == ENOENT;
                found |= cg->dirs[i].created;
        }
        return found;
}

static int take_note(const char *bundle, const char *state_dir, struct arena *arena,
                     struct error *err)
{
        _cleanup_close_ int fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct cgroup cg;
        char *text;
        int r;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", state_dir);
        if (find(bundle, arena, &cg, err) < 0)
                return -1;
        if (!mark_absent(&cg)) {
                (void)unlinkat(fd, NOTE_FILE, 0);
                return 0;
        }
        if (cgroup_format(&cg, arena, &text, err) < 0)
                return -1;
        r = file_write_atomic(fd, NOTE_FILE, text, strlen(text), 0600);
        return r < 0 ? error_errno(err, -r, "write '" NOTE_FILE "'") : 0;
}

void engine_foreign_forget(const char *state_dir)
{
        _cleanup_close_ int fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0)
                (void)unlinkat(fd, NOTE_FILE, 0);
}

/* The processes of a runtime that was killed notice it and end; but for an init that waits for its
 * start already. */
static int remove_made(const struct cgroup *cg, int timeout_ms, struct error *err)
{
        struct cgroup made = {.n_dirs = 0};
        struct error in_use = ERROR_INIT;

        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (cg->dirs[i].created)
                        made.dirs[made.n_dirs++] = cg->dirs[i];
        }
        if (cgroup_remove_empty(&made, timeout_ms / 2, &in_use) == 0)
                return 0;
        if (cgroup_kill(&made, SIGKILL, timeout_ms / 4, err) < 0)
                return -1;
        return cgroup_remove_empty(&made, timeout_ms / 4, err);
}

static int clean_up(const char *state_dir, int timeout_ms, struct arena *arena, struct error *err)
{
        _cleanup_close_ int fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *text = NULL;
        struct cgroup cg;
        int r;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", state_dir);
        r = file_read(fd, NOTE_FILE, LIMIT_PROC_BYTES, &text, NULL);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_errno(err, -r, "read '" NOTE_FILE "'");
        if (cgroup_parse(text, arena, &cg, err) < 0 || remove_made(&cg, timeout_ms, err) < 0)
                return -1;
        (void)unlinkat(fd, NOTE_FILE, 0);
        return 0;
}

int engine_foreign_cleanup(const char *state_dir, int timeout_ms, struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = arena_new(STAGE_ARENA_BUDGET);

        if (!arena)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "clean up: no memory");
        return clean_up(state_dir, timeout_ms, arena, err);
}

/* ---- In a stage ---- */

struct foreign_job {
        struct done_job done;
        const char *bundle; /* borrowed; for the stage only */
        const char *state_dir;
};

static struct foreign_job *foreign_job(struct engine_job *job)
{
        return container_of(job, struct foreign_job, done.job);
}

static int note_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct foreign_job *f = foreign_job(job);

        return take_note(f->bundle, f->state_dir, stage->arena, err);
}

static int undo_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        return clean_up(foreign_job(job)->state_dir, UNDO_MS, stage->arena, err);
}

static void foreign_free(struct engine_job *job)
{
        free(foreign_job(job));
}

static const struct job_kind note_kind = {
        .name = "belay:note",
        .run = note_stage_run,
        .on_end = done_job_on_end,
        .free = foreign_free,
};

static const struct job_kind undo_kind = {
        .name = "belay:undo",
        .run = undo_stage_run,
        .on_end = done_job_on_end,
        .free = foreign_free,
};

static int run(struct engine *engine, const struct job_kind *kind, const struct foreign_job *args,
               struct error *err)
{
        struct foreign_job *f = malloc(sizeof(*f));

        if (!f)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: no memory", kind->name);
        *f = *args;
        job_init(&f->done.job, engine, NULL, kind);
        if (job_fork(&f->done.job, NULL, 0, false, err) < 0) {
                job_deinit(&f->done.job);
                free(f);
                return -1;
        }
        f->bundle = NULL; /* was borrowed */
        f->state_dir = NULL;
        return 0;
}

int engine_foreign_note(struct engine *engine, const char *bundle, const char *state_dir,
                        engine_done_fn fn, void *userdata, struct error *err)
{
        const struct foreign_job args = {
                .done = {.fn = fn, .userdata = userdata},
                .bundle = bundle,
                .state_dir = state_dir,
        };

        return run(engine, &note_kind, &args, err);
}

int engine_foreign_undo(struct engine *engine, const char *state_dir, engine_done_fn fn,
                        void *userdata, struct error *err)
{
        const struct foreign_job args = {
                .done = {.fn = fn, .userdata = userdata},
                .state_dir = state_dir,
        };

        return run(engine, &undo_kind, &args, err);
}
