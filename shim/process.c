/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes: see process.h.
 */
#include "shim/process.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"

#include "shim/attachments.h"
#include "shim/container.h"
#include "shim/exec_stream.h"
#include "shim/log.h"
#include "shim/log_stream.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

struct process *process_new(struct container *container, enum process_kind kind,
                            const struct process_request *request)
{
        struct process *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->container = container;
        p->kind = kind;
        p->state = PROCESS_CREATED;
        p->terminal = request->terminal;
        p->carried = request->carried;
        list_init(&p->node);
        state_entry_init(&container->server->state, &p->saved);
        list_init(&p->waiters);
        list_init(&p->parked);
        list_init(&p->logs);
        p->exec_id = strdup(request->exec_id);
        p->stdin_path = strdup(request->stdin_path);
        p->stdout_path = strdup(request->stdout_path);
        p->stderr_path = strdup(request->stderr_path);
        p->exit_event = task_event_exit_reserve();
        if (!p->exec_id || !p->stdin_path || !p->stdout_path || !p->stderr_path || !p->exit_event)
                return process_free(p);
        if (kind == PROCESS_EXEC) {
                list_append(&container->execs, &p->node);
                container->n_execs++;
                state_touch(p);
        }
        return p;
}

struct process *process_free(struct process *p)
{
        if (!p)
                return NULL;
        list_remove(&p->node);
        pending_fail(&p->waiters, STATUS_UNAVAILABLE, "the shim is ending");
        pending_fail(&p->parked, STATUS_UNAVAILABLE, "the shim is ending");
        if (p->start)
                ttrpc_call_fail(TAKE_PTR(p->start), STATUS_UNAVAILABLE, "the shim is ending");
        if (p->delete_)
                ttrpc_call_fail(TAKE_PTR(p->delete_), STATUS_UNAVAILABLE, "the shim is ending");
        process_end_streams(p);
        loop_timer_free(p->drain);
        io_stdio_free(p->stdio);
        if (p->impl)
                p->container->executor->ops->process_free(p->impl);
        task_event_free(p->exit_event);
        passed_deinit(&p->passed);
        exec_options_deinit(&p->options);
        list_remove(&p->saved.node);
        free(p->spec);
        free(p->exec_id);
        free(p->stdin_path);
        free(p->stdout_path);
        free(p->stderr_path);
        free(p);
        return NULL;
}

int process_may(const struct process *p, enum process_verb verb, struct error *err)
{
        enum process_state next;

        return process_next(p->kind, p->state, verb, &next, err);
}

int process_do(struct process *p, enum process_verb verb, struct error *err)
{
        enum process_state before = p->state;
        int r = process_next(p->kind, p->state, verb, &p->state, err);

        if (p->state != before)
                state_touch(p);
        return r;
}

bool process_is_paused(const struct process *p)
{
        return p->state == PROCESS_PAUSED || p->state == PROCESS_RESUMING;
}

void process_must(struct process *p, enum process_verb verb)
{
        struct error err = ERROR_INIT;
        int r = process_do(p, verb, &err);

        assert(r == 0);
        (void)r;
}

/* Its ends of FIFOs are to belong to whom the Create's options say: to the container's root in a
 * user namespace, who could not open /dev/stdout again otherwise. */
static int own_stdio(const struct process *p, struct error *err)
{
        const struct container *c = p->container;
        const int *fds = io_stdio_child_fds(p->stdio);

        if (p->terminal || (c->io_uid == 0 && c->io_gid == 0))
                return 0;
        for (int i = 0; i < 3; i++) {
                struct stat st;

                if (fstat(fds[i], &st) < 0 || !S_ISFIFO(st.st_mode))
                        continue;
                if (fchown(fds[i], c->io_uid, c->io_gid) < 0)
                        return error_errno(err, errno, "stdio %d: chown to %u:%u", i, c->io_uid,
                                           c->io_gid);
        }
        return 0;
}

static void on_stdio_drained(void *userdata)
{
        struct process *p = userdata;

        attachments_advance(p);
        log_streams_end(p);
        rpc_delete_drained(p);
}

static void on_stdio_report(const char *text, void *userdata)
{
        const struct process *p = userdata;

        log_write(LOG_WARNING, p->exec_id, "stdio: %s", text);
}

static void on_stdio_change(void *userdata)
{
        state_touch_late(userdata);
}

static struct io_stdio_config stdio_config(struct process *p)
{
        const struct shim_server *server = p->container->server;

        return (struct io_stdio_config){
                .loop = server->loop,
                .reaper = server->reaper,
                .in = p->stdin_path,
                .out = p->stdout_path,
                .err = p->stderr_path,
                .terminal = p->terminal,
                .carried = p->carried,
                .id = p->kind == PROCESS_INIT ? p->container->id : p->exec_id,
                .runtime_namespace = server->runtime_namespace,
                .on_report = on_stdio_report,
                .on_change = on_stdio_change,
                .userdata = p,
        };
}

int process_open_stdio(struct process *p, struct error *err)
{
        const struct io_stdio_config config = stdio_config(p);

        if (io_stdio_open(&p->stdio, &config, err) < 0 || own_stdio(p, err) < 0)
                return -1;
        io_stdio_on_drained(p->stdio, on_stdio_drained, p);
        if (p->stdin_closed)
                io_stdio_close_stdin(p->stdio);
        return 0;
}

int process_restore_stdio(struct process *p, const Belay__State__V1__Stdio *message,
                          struct error *err)
{
        const struct io_stdio_config config = stdio_config(p);

        if (io_stdio_restore(&p->stdio, &config, message, err) < 0)
                return -1;
        io_stdio_on_drained(p->stdio, on_stdio_drained, p);
        return 0;
}

int process_resize(struct process *p, uint32_t width, uint32_t height, struct error *err)
{
        if (width > UINT16_MAX || height > UINT16_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "terminal size %ux%u is too large",
                                 width, height);
        if (process_do(p, VERB_RESIZE, err) < 0)
                return -1;
        p->width = (uint16_t)width;
        p->height = (uint16_t)height;
        state_touch(p);
        state_commit(p->container->server);
        return p->impl ? io_stdio_resize(p->stdio, p->width, p->height, err) : 0;
}

int process_close_stdin(struct process *p, struct error *err)
{
        if (process_do(p, VERB_CLOSE_IO, err) < 0)
                return -1;
        p->stdin_closed = true;
        if (p->stdio)
                io_stdio_close_stdin(p->stdio);
        state_touch(p);
        state_commit(p->container->server);
        attachments_end_stdin(p);
        return 0;
}

void process_end_streams(struct process *p)
{
        attachments_end(p);
        exec_stream_end(p);
        if (p->container->server->stopping && p->stdio && !io_stdio_is_drained(p->stdio))
                log_streams_stop(p);
        else
                log_streams_end(p);
}

static void on_stdio_ready(const struct error *err, void *userdata)
{
        struct process *p = userdata;

        TAKE_PTR(p->stdio_fn)(err, p);
}

bool process_await_stdio(struct process *p, process_stdio_fn fn)
{
        if (io_stdio_is_ready(p->stdio))
                return false;
        p->stdio_fn = fn;
        io_stdio_on_ready(p->stdio, on_stdio_ready, p);
        return true;
}

void process_abort_stdio(struct process *p)
{
        struct error err = ERROR_INIT;

        if (!p->stdio_fn)
                return;
        io_stdio_on_ready(p->stdio, NULL, NULL);
        (void)error_set(&err, STATUS_CANCELED, "given up while the logging binary was starting");
        on_stdio_ready(&err, p);
}

void process_set_pid(struct process *p, pid_t pid)
{
        p->pid = pid;
        p->started_at = clock_realtime();
        p->start_ticks = process_start_ticks(pid);
}

int process_attach_take(struct process *p, struct executor_process *impl, int terminal_fd,
                        struct error *err)
{
        p->impl = impl;
        if (p->pid == 0)
                process_set_pid(p, p->container->executor->ops->process_pid(impl));
        io_stdio_close_child_fds(p->stdio);
        state_touch(p);
        if (!p->terminal) {
                fd_close(terminal_fd);
                return 0;
        }
        if (io_stdio_attach_terminal_take(p->stdio, terminal_fd, err) < 0) {
                fd_close(terminal_fd);
                return -1;
        }
        if (p->width > 0 || p->height > 0)
                return io_stdio_resize(p->stdio, p->width, p->height, err);
        return 0;
}

void process_write_record(const struct process *p)
{
        struct shim_record record = {
                .pid = p->pid,
                .start_ticks = p->start_ticks,
                .started_at = p->started_at,
                .paused = process_is_paused(p) && !p->exit.known,
                .exited = p->exit.known,
                .exit_status = p->exit.status,
                .signal = p->exit.signal,
                .core_dumped = p->exit.core_dumped,
                .oom_killed = p->exit.oom_killed,
                .oom_level = p->exit.oom_level,
                .oom_up = p->exit.oom_up,
                .reason = p->exit.reason,
                .exited_at = p->exit.at,
                .drain_known = p->drain_waited,
                .drained = !p->stdio || io_stdio_status(p->stdio).is_complete,
        };
        struct error err = ERROR_INIT;

        (void)snprintf(record.id, sizeof(record.id), "%s", p->container->id);
        (void)snprintf(record.exec_id, sizeof(record.exec_id), "%s", p->exec_id);
        if (shim_record_write(p->container->server->bundle_fd, &record, &err) < 0)
                log_write(LOG_ERROR, p->exec_id, "%s", err.msg);
}
