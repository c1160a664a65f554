/* SPDX-License-Identifier: Apache-2.0
 *
 * Start: opens the gate, and reads from it what becomes of execve. Its other end is CLOEXEC, so EOF
 * after EXECUTING is a success; a program that ends at once has run, too, and its exit follows.
 * Only poststart hooks need a stage.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/hooks.h"
#include "pkg/engine/internal.h"

struct start_job {
        struct engine_job job;
        engine_done_fn fn;
        void *userdata;
        struct loop_io *gate_io;
        bool is_executing;
        bool holds_init; /* init's exit is told after the completion */
};

static struct start_job *start_job(struct engine_job *job)
{
        return container_of(job, struct start_job, job);
}

static void start_free(struct engine_job *job)
{
        struct start_job *start = start_job(job);

        loop_io_free(start->gate_io);
        free(start);
}

static void release_init(struct start_job *start)
{
        struct engine_process *init = start->job.container->init;

        if (start->holds_init && init)
                process_release(init);
        start->holds_init = false;
}

static void complete(struct engine_job *job)
{
        struct start_job *start = start_job(job);
        struct error err = job->err;

        release_init(start);
        job_complete(job);
        start->fn(err.code != STATUS_OK ? &err : NULL, start->userdata);
}

/* ---- poststart hooks ---- */

static void on_hook_group(pid_t group, void *userdata)
{
        stage_send_hook(userdata, group);
}

static int poststart_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct engine_container *c = job->container;
        struct hook_state state = {
                .id = c->id,
                .status = "running",
                .pid = c->init_pid,
                .bundle = c->bundle,
        };
        struct hook_context context = {
                .kind = "poststart",
                .cwd = c->bundle,
                .default_env = environ,
                .on_group = on_hook_group,
                .userdata = stage,
        };
        struct oci_spec *spec;
        char *json;

        if (container_parse_config(c, stage->arena, &spec, err) < 0)
                return -1;
        state.oci_version = spec->version;
        state.annotations = spec->annotations;
        state.n_annotations = spec->n_annotations;
        if (hook_state_format(&state, stage->arena, &json, err) < 0)
                return -1;
        context.state_json = json;
        return hooks_run(&spec->hooks.poststart, &context, err);
}

/* runtime.md of 1.3: the failure of a poststart hook stops the container. */
static void on_poststart_end(struct engine_job *job)
{
        if (job->err.code != STATUS_OK && job->container->init)
                process_kill(job->container->init);
        complete(job);
}

static void poststart_abort(struct engine_job *job)
{
        if (job->sock >= 0)
                job_cancel(job);
}

static const struct job_kind poststart_kind = {
        .name = "belay:poststart",
        .run = poststart_stage_run,
        .on_end = on_poststart_end,
        .abort = poststart_abort,
        .free = start_free,
};

/* ---- the gate ---- */

static void on_started(struct engine_job *job)
{
        struct engine_container *c = job->container;
        struct error err = ERROR_INIT;

        if (job->err.code != STATUS_OK || !c->facts.has_poststart) {
                complete(job);
                return;
        }
        /* The program runs. A hook may take any time, so its end is told without waiting. */
        release_init(start_job(job));
        job->kind = &poststart_kind;
        if (job_fork(job, &c->config_fd, 1, false, &err) < 0) {
                job_fail(job, &err);
                on_poststart_end(job);
        }
}

/* EOF came too early. An init that has died closes its gate before it can be reaped: so its end is
 * waited for, to be told. */
static void on_early_end(struct engine_job *job)
{
        struct engine_process *init = job->container->init;
        struct error err = ERROR_INIT;

        if (init && !init->has_exited) {
                init->waiter = job;
                return;
        }
        (void)error_set(&err, STATUS_UNKNOWN,
                        "start: the container's init has ended before it executed its program");
        err.errnum = ECHILD;
        process_explain_end(init, &err);
        if (job->err.code == STATUS_OK)
                job_fail(job, &err);
        complete(job);
}

static void on_gate_eof(struct start_job *start)
{
        struct engine_job *job = &start->job;

        start->gate_io = loop_io_free(start->gate_io);
        job->container->gate = fd_close(job->container->gate);
        /* The image before may have opened the gate, and have read what init said then. */
        if (!start->is_executing && !job->container->is_restored && job->err.code == STATUS_OK)
                on_early_end(job);
        else
                on_started(job);
}

static void on_gate(struct loop_io *io, int fd, int what, void *userdata)
{
        struct start_job *start = userdata;

        (void)what;
        for (;;) {
                struct message msg;
                int r = message_recv(fd, &msg, NULL, NULL);

                if (message_is_later(io, r))
                        return;
                if (r <= 0) {
                        on_gate_eof(start);
                        return;
                }
                if (msg.type == MESSAGE_EXECUTING) {
                        start->is_executing = true;
                } else if (msg.type == MESSAGE_ERROR && !start->job.is_aborted) {
                        struct error err = ERROR_INIT;

                        message_get_error(&msg, &err);
                        job_fail(&start->job, &err);
                }
        }
}

/* Init's end closes the gate, and so ends the job. */
static void start_abort(struct engine_job *job)
{
        job_cancel(job);
        if (job->container->init)
                process_kill(job->container->init);
}

static const struct job_kind start_kind = {
        .name = "start",
        .on_deferred = on_early_end,
        .abort = start_abort,
        .free = start_free,
};

static int open_gate(struct start_job *start, struct engine_container *c, struct error *err)
{
        int r;

        start->gate_io = loop_io_new(c->engine->loop, c->gate, LOOP_PRIORITY_RPC, on_gate, start);
        if (!start->gate_io || loop_io_want(start->gate_io, LOOP_READ) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "start: no memory");
        (void)fd_set_nonblock(c->gate, 1);
        r = message_send_simple(c->gate, MESSAGE_GO, 0);
        if ((r == -EPIPE || r == -ECONNRESET) && c->is_restored)
                return 0; /* the gate was opened before the restore, just so */
        if (r == -EPIPE || r == -ECONNRESET)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "start: the container's init has ended");
        if (r < 0)
                return error_errno(err, -r, "start: open the gate");
        return 0;
}

int engine_start(struct engine_container *c, engine_done_fn fn, void *userdata,
                 struct engine_job **ret, struct error *err)
{
        struct start_job *start;

        if (c->gate < 0)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "start: the container has been started already");
        if (!c->init || c->init->has_exited)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "start: the container's init has ended");
        start = calloc(1, sizeof(*start));
        if (!start)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "start: no memory");
        start->fn = fn;
        start->userdata = userdata;
        job_init(&start->job, c->engine, c, &start_kind);
        if (open_gate(start, c, err) < 0) {
                job_deinit(&start->job);
                start_free(&start->job);
                return -1;
        }
        process_hold(c->init);
        start->holds_init = true;
        if (ret)
                *ret = &start->job;
        return 0;
}
