/* SPDX-License-Identifier: Apache-2.0
 *
 * Stages as the shim sees them: fork, messages, the end. A stage has ended when it is reaped, not
 * when its socket is closed, since a process that it cloned may hold a copy for a moment. What it
 * said last is read then.
 *
 * Jobs are freed at the end of a round, so that a completion may do anything.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/engine/internal.h"

enum { MESSAGE_FDS_MAX = 2 };

void engine_warn(const struct engine *engine, const char *text)
{
        if (engine->warn)
                engine->warn(text, engine->warn_userdata);
}

static void on_free(struct loop_deferred *deferred)
{
        struct engine_job *job = container_of(deferred, struct engine_job, free_deferred);

        job_deinit(job);
        job->kind->free(job);
}

static void on_deferred(struct loop_deferred *deferred)
{
        struct engine_job *job = container_of(deferred, struct engine_job, deferred);

        if (!job->is_complete && job->kind->on_deferred)
                job->kind->on_deferred(job);
}

void job_init(struct engine_job *job, struct engine *engine, struct engine_container *container,
              const struct job_kind *kind)
{
        job->engine = engine;
        job->container = container;
        job->kind = kind;
        job->sock = -1;
        loop_deferred_init(&job->deferred, on_deferred);
        loop_deferred_init(&job->free_deferred, on_free);
        list_append(&engine->jobs, &job->node);
        if (container)
                container->n_jobs++;
}

/* Nothing more of the stage is to come. */
static void detach_stage(struct engine_job *job)
{
        job->watch = reaper_watch_free(job->watch);
        job->io = loop_io_free(job->io);
        job->sock = fd_close(job->sock);
        reaper_unexpect(job->engine->reaper, &job->expected);
        job->hook_group = 0;
}

void job_deinit(struct engine_job *job)
{
        detach_stage(job);
        loop_deferred_cancel(&job->deferred);
        loop_deferred_cancel(&job->free_deferred);
        list_remove(&job->node);
        if (job->container && !job->is_complete)
                job->container->n_jobs--;
}

void job_complete(struct engine_job *job)
{
        assert(!job->is_complete);
        CHAOS_POINT("job-complete");
        if (job->container)
                job->container->n_jobs--;
        job->container = NULL;
        job->is_complete = true;
        if (!job->watch)
                loop_defer(job->engine->loop, &job->free_deferred);
}

void job_fail(struct engine_job *job, const struct error *err)
{
        if (job->err.code != STATUS_OK)
                engine_warn(job->engine, err->msg);
        else
                job->err = *err;
}

void job_kill_stage(struct engine_job *job)
{
        /* It is not reaped yet, so the pid is its own. */
        if (job->watch)
                (void)kill(job->stage_pid, SIGKILL);
}

void job_give_up(struct engine_job *job, const struct error *err)
{
        job_fail(job, err);
        job->is_aborted = true;
        job_kill_stage(job);
}

/* What a caller calls it; the kind's name is its stage's. */
static const char *name_of(const struct engine_job *job)
{
        const char *colon = strchr(job->kind->name, ':');

        return colon ? colon + 1 : job->kind->name;
}

void job_cancel(struct engine_job *job)
{
        job->is_aborted = true;
        (void)error_set(&job->err, STATUS_CANCELED, "%s was cancelled", name_of(job));
        job_kill_stage(job);
}

void engine_job_abort(struct engine_job *job)
{
        if (!job->is_complete && !job->is_aborted && job->kind->abort)
                job->kind->abort(job);
}

static void end_stage(struct engine_job *job)
{
        if (!job->is_complete)
                job->kind->on_end(job);
}

static void on_message(struct engine_job *job, const struct message *msg, int *fds, size_t n_fds)
{
        struct error err = ERROR_INIT;
        bool is_own = n_fds == 0;

        CHAOS_POINT("stage-said");
        if (is_own && msg->type == MESSAGE_WARNING) {
                message_get_error(msg, &err);
                engine_warn(job->engine, err.msg);
        } else if (is_own && msg->type == MESSAGE_HOOK) {
                job->hook_group = msg->value;
                if (job->container)
                        job->container->poststop_due = true;
        } else if (is_own && msg->type == MESSAGE_ERROR) {
                message_get_error(msg, &err);
                if (job->is_aborted)
                        return;
                job->has_reported = true;
                job_fail(job, &err);
        } else if (is_own && msg->type == MESSAGE_DONE) {
                if (job->is_aborted)
                        return;
                job->is_done = true;
                job->result = msg->value;
                end_stage(job);
        } else if (job->kind->on_message) {
                job->kind->on_message(job, msg, fds, n_fds);
        } else {
                for (size_t i = 0; i < n_fds; i++)
                        fd_close(fds[i]);
        }
}

/* What it said, or the descriptors that came with it, is lost. */
static void lose_message(struct engine_job *job, int r)
{
        struct error err = ERROR_INIT;

        if (job->is_aborted)
                return;
        if (r == -EMSGSIZE)
                (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                                "%s: no room for the descriptors that the stage has sent",
                                name_of(job));
        else
                (void)error_set(&err, STATUS_INTERNAL, "%s: damaged message of the stage",
                                name_of(job));
        job_give_up(job, &err);
}

/* Handles all that is there; false if there may be more, which has to be tried again. */
static bool drain(struct engine_job *job)
{
        while (!job->is_complete && job->sock >= 0) {
                struct message msg;
                int fds[MESSAGE_FDS_MAX];
                size_t n_fds = MESSAGE_FDS_MAX;
                int r = message_recv(job->sock, &msg, fds, &n_fds);

                if (r > 0) {
                        on_message(job, &msg, fds, n_fds);
                        continue;
                }
                if (message_is_later(job->io, r))
                        return r == -EAGAIN;
                if (r == -EMSGSIZE || r == -EBADMSG)
                        lose_message(job, r);
                (void)loop_io_want(job->io, 0); /* its end comes through the reaper */
                return true;
        }
        if (job->io)
                (void)loop_io_want(job->io, 0);
        return true;
}

/* It has been reaped, and its last words have been read. */
static void on_stage_gone(struct engine_job *job, bool was_ended)
{
        const struct reaper_exit *exit = &job->stage_exit;
        pid_t group = job->hook_group;

        detach_stage(job);
        if (job->is_complete) {
                loop_defer(job->engine->loop, &job->free_deferred);
                return;
        }
        if (was_ended || job->is_done)
                return; /* on_end has been called, and waits for something else */
        if (group > 0)
                (void)kill(-group, SIGKILL); /* the stage has died during a hook */
        if (job->err.code == STATUS_OK) {
                struct error err = ERROR_INIT;

                (void)error_set(&err, STATUS_INTERNAL, "%s: the stage ended with %s %d",
                                job->kind->name,
                                exit->code == CLD_EXITED ? "exit status" : "signal", exit->status);
                job_fail(job, &err);
        }
        end_stage(job);
}

static void hear_stage(struct engine_job *job)
{
        bool was_ended = job->is_done;

        if (!drain(job) && loop_io_want(job->io, LOOP_READ) == 0)
                return;
        if (job->is_reaped)
                on_stage_gone(job, was_ended);
}

static void on_readable(struct loop_io *io, int fd, int what, void *userdata)
{
        (void)io;
        (void)fd;
        (void)what;
        hear_stage(userdata);
}

static void on_stage_reaped(const struct reaper_exit *exit, void *userdata)
{
        struct engine_job *job = userdata;

        job->watch = NULL;
        job->stage_exit = *exit;
        job->is_reaped = true;
        hear_stage(job);
}

static _Noreturn void stage_main(struct engine_job *job, int sock, pid_t parent, const int *keep,
                                 size_t n_keep)
{
        struct stage stage = {.sock = sock};
        struct error err = ERROR_INIT;
        int all[STAGE_KEEP_MAX];
        int r = -1;

        assert(n_keep < STAGE_KEEP_MAX);
        for (size_t i = 0; i < n_keep; i++)
                all[i] = keep[i];
        all[n_keep] = sock;
        stage_enter(job->kind->name, parent, all, n_keep + 1);
        stage.arena = arena_new(STAGE_ARENA_BUDGET);
        if (!stage.arena)
                (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED, "stage: no memory");
        else
                r = job->kind->run(job, &stage, &err);
        if (r < 0)
                (void)message_send_error(sock, MESSAGE_ERROR, &err);
        else
                (void)message_send_simple(sock, MESSAGE_DONE, r);
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

int job_fork(struct engine_job *job, const int *keep, size_t n_keep, bool expect, struct error *err)
{
        _cleanup_close_ int ours = -1;
        _cleanup_close_ int theirs = -1;
        pid_t parent = getpid();
        int socks[2];
        pid_t pid;

        assert(!job->watch && !job->io && job->sock < 0);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return error_errno(err, errno, "start a stage: socketpair");
        ours = socks[0];
        theirs = socks[1];
        (void)fd_set_nonblock(ours, 1);
        job->io = loop_io_new(job->engine->loop, ours, LOOP_PRIORITY_RPC, on_readable, job);
        if (!job->io || loop_io_want(job->io, LOOP_READ) < 0) {
                job->io = loop_io_free(job->io);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "start a stage: no memory");
        }
        pid = fork();
        if (pid < 0) {
                (void)error_errno(err, errno, "start a stage: fork");
                job->io = loop_io_free(job->io);
                return -1;
        }
        CHAOS_POINT(pid == 0 ? "stage" : "stage-forked");
        if (pid == 0)
                stage_main(job, theirs, parent, keep, n_keep);
        job->watch = reaper_watch_new(job->engine->reaper, pid, on_stage_reaped, job);
        if (!job->watch) {
                (void)kill(pid, SIGKILL);
                job->io = loop_io_free(job->io);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "start a stage: no memory");
        }
        if (expect)
                reaper_expect(job->engine->reaper, &job->expected);
        job->stage_pid = pid;
        job->is_reaped = false;
        job->is_done = false;
        job->has_reported = false;
        job->sock = TAKE_FD(ours);
        return 0;
}

/* ---- jobs with nothing but a result ---- */

void done_job_free(struct engine_job *job)
{
        free(container_of(job, struct done_job, job));
}

void done_job_on_end(struct engine_job *job)
{
        struct done_job *d = container_of(job, struct done_job, job);
        struct error err = job->err;

        job_complete(job);
        d->fn(err.code != STATUS_OK ? &err : NULL, d->userdata);
}

static const struct job_kind report_kind = {
        .name = "report",
        .on_deferred = done_job_on_end,
        .free = done_job_free,
};

int job_report(struct engine *engine, struct engine_container *c, const struct error *result,
               engine_done_fn fn, void *userdata, struct error *err)
{
        struct done_job *d = calloc(1, sizeof(*d));

        if (!d)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        d->fn = fn;
        d->userdata = userdata;
        job_init(&d->job, engine, c, &report_kind);
        d->job.err = *result;
        loop_defer(engine->loop, &d->job.deferred);
        return 0;
}

int job_run_stage(struct engine_container *c, const struct job_kind *kind, int signo,
                  const int *keep, size_t n_keep, engine_done_fn fn, void *userdata,
                  struct engine_job **ret, struct error *err)
{
        struct done_job *d = calloc(1, sizeof(*d));

        if (!d)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: no memory", kind->name);
        d->fn = fn;
        d->userdata = userdata;
        d->signo = signo;
        job_init(&d->job, c->engine, c, kind);
        if (job_fork(&d->job, keep, n_keep, false, err) < 0) {
                job_deinit(&d->job);
                free(d);
                return -1;
        }
        if (ret)
                *ret = &d->job;
        return 0;
}
