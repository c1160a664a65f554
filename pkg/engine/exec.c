/* SPDX-License-Identifier: Apache-2.0
 *
 * Exec, in the shim: starts the stage and hands out the process. The exit of the process is held
 * back until then.
 */
#include <errno.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/internal.h"

static struct exec_job *exec_job(struct engine_job *job)
{
        return container_of(job, struct exec_job, job);
}

static void on_message(struct engine_job *job, const struct message *msg, int *fds, size_t n_fds)
{
        struct exec_job *exec = exec_job(job);
        struct error err = ERROR_INIT;

        if (msg->type == MESSAGE_CLONED && n_fds == 1 && !exec->process) {
                exec->process = process_new_consume(job->engine, msg->value, TAKE_FD(fds[0]),
                                                    exec->is_orphan);
                if (exec->process)
                        return;
                (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED, "exec: no memory");
        } else if (msg->type == MESSAGE_TERMINAL && n_fds == 1 && exec->terminal_fd < 0) {
                exec->terminal_fd = fds[0];
                return;
        } else {
                (void)error_set(&err, STATUS_INTERNAL, "exec: unexpected message of the stage");
        }
        for (size_t i = 0; i < n_fds; i++)
                fd_close(fds[i]);
        job_give_up(job, &err);
}

static void finish_failure(struct engine_job *job)
{
        struct exec_job *exec = exec_job(job);
        struct error err;

        if (exec->process && !exec->process->has_exited) {
                process_kill(exec->process);
                exec->process->waiter = job;
                return;
        }
        process_explain_end(exec->process, &job->err);
        err = job->err;
        exec->process = engine_process_free(exec->process);
        job_complete(job);
        exec->fn(&err, NULL, -1, exec->userdata);
}

static void on_exec_end(struct engine_job *job)
{
        struct exec_job *exec = exec_job(job);
        struct engine_process *process = exec->process;

        if (!job->is_done || !process) {
                finish_failure(job);
                return;
        }
        exec->process = NULL;
        job_complete(job);
        process_release(process);
        exec->fn(NULL, process, TAKE_FD(exec->terminal_fd), exec->userdata);
}

static void exec_abort(struct engine_job *job)
{
        if (job->sock < 0)
                return; /* it is failing already */
        job_cancel(job);
        if (exec_job(job)->process)
                process_kill(exec_job(job)->process);
}

static void exec_free(struct engine_job *job)
{
        struct exec_job *exec = exec_job(job);

        engine_process_free(exec->process);
        fd_close(exec->terminal_fd);
        free(exec);
}

static const struct job_kind exec_kind = {
        .name = "belay:exec",
        .run = exec_stage_run,
        .on_message = on_message,
        .on_end = on_exec_end,
        .on_deferred = finish_failure,
        .abort = exec_abort,
        .free = exec_free,
};

int engine_exec(struct engine_container *c, const struct engine_exec *args, engine_exec_fn fn,
                void *userdata, struct engine_job **ret, struct error *err)
{
        struct exec_job *exec;
        int keep[7];
        int r;

        if (!c->init || c->init->has_exited)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "exec: the container's init has ended");
        exec = calloc(1, sizeof(*exec));
        if (!exec)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec: no memory");
        exec->args = *args;
        exec->is_orphan = c->engine->orphans && !args->own_child;
        exec->fn = fn;
        exec->userdata = userdata;
        exec->terminal_fd = -1;
        job_init(&exec->job, c->engine, c, &exec_kind);
        keep[0] = c->init->pidfd;
        keep[1] = c->seccomp_fd;
        keep[5] = c->config_fd;
        for (int i = 0; i < 3; i++)
                keep[2 + i] = args->terminal ? -1 : args->stdio[i];
        keep[6] = args->passed.map ? args->passed.pidfd : -1;
        r = job_fork(&exec->job, keep, 7, true, err);
        exec->args = (struct engine_exec){0}; /* was borrowed */
        if (r < 0) {
                job_deinit(&exec->job);
                exec_free(&exec->job);
                return -1;
        }
        if (ret)
                *ret = &exec->job;
        return 0;
}
