/* SPDX-License-Identifier: Apache-2.0
 *
 * The state as messages: see save.h. What is borrowed is not copied, and what follows from a
 * request is written as the request had it.
 */
#include "shim/save.h"

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/kept.h"
#include "pkg/cgroup/oom.h"

#include "shim/container.h"
#include "shim/exec_stream.h"
#include "shim/oom.h"
#include "shim/server_impl.h"

static Belay__State__V1__Exit *save_exit(const struct process_exit *exit, struct arena *arena)
{
        Belay__State__V1__Exit *m = arena_alloc(arena, sizeof(*m));

        if (!m)
                return NULL;
        belay__state__v1__exit__init(m);
        m->known = exit->known;
        m->told = exit->told;
        m->status = exit->status;
        m->signal = exit->signal;
        m->core_dumped = exit->core_dumped;
        m->oom_killed = exit->oom_killed;
        m->oom_level = (uint32_t)exit->oom_level;
        m->oom_up = exit->oom_up;
        m->reason = (uint32_t)exit->reason;
        m->at_ns = (int64_t)clock_timespec_ns(&exit->at);
        return m;
}

/* An exec's request, as long as it has not been started. */
static void save_request(const struct process *p, Belay__State__V1__Process *m)
{
        if (p->spec) {
                m->spec.data = (uint8_t *)p->spec;
                m->spec.len = p->spec_len;
        }
        m->ignore_paused = p->options.ignore_paused;
        m->own_child = p->options.own_child;
        if (p->options.cgroup)
                m->cgroup = p->options.cgroup;
        if (!p->passed.map)
                return;
        m->passed = p->passed.map;
        m->passed_pidfd = kept_number(p->passed.pidfd);
        m->passed_listen = p->passed.n_listen;
}

static int save_stream(const struct exec_stream *s, struct arena *arena,
                       Belay__State__V1__Process *m)
{
        int fds[EXEC_STREAM_OUTPUTS];

        m->stream_outputs = arena_calloc(arena, EXEC_STREAM_OUTPUTS, sizeof(uint32_t));
        if (!m->stream_outputs)
                return -1;
        exec_stream_save(s, fds);
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++)
                m->stream_outputs[i] = kept_number(fds[i]);
        m->n_stream_outputs = EXEC_STREAM_OUTPUTS;
        return 0;
}

/* An exec whose Start is under way: whoever restores it lets the Start fail, and needs no more. */
static bool is_half_made(const struct process *p)
{
        return p->kind == PROCESS_EXEC && p->state == PROCESS_STARTING;
}

int save_process(const struct process *p, struct arena *arena, Belay__State__V1__Process **ret,
                 struct error *err)
{
        const struct executor_ops *ops = p->container->executor->ops;
        Belay__State__V1__Process *m = arena_alloc(arena, sizeof(*m));

        if (!m)
                return error_no_memory(err);
        belay__state__v1__process__init(m);
        m->exec_id = p->exec_id;
        m->state = (uint32_t)p->state;
        m->stdin_closed = p->stdin_closed;
        m->terminal = p->terminal;
        m->carried = p->carried;
        m->start_failed = p->start_failed;
        m->width = p->width;
        m->height = p->height;
        m->stdin_path = p->stdin_path;
        m->stdout_path = p->stdout_path;
        m->stderr_path = p->stderr_path;
        m->pid = p->pid;
        m->start_ticks = p->start_ticks;
        m->started_at_ns = (int64_t)clock_timespec_ns(&p->started_at);
        m->drain_waited = p->drain_waited;
        m->exit = save_exit(&p->exit, arena);
        if (!m->exit)
                return error_no_memory(err);
        if (is_half_made(p)) {
                *ret = m;
                return 0;
        }
        save_request(p, m);
        if (p->stdio && io_stdio_save(p->stdio, arena, &m->stdio, err) < 0)
                return error_prefix(err, "stdio of '%s'", p->exec_id);
        if (p->impl && ops->process_save(p->impl, arena, m, err) < 0)
                return error_prefix(err, "process %d", (int)p->pid);
        if (p->stream && save_stream(p->stream, arena, m) < 0)
                return error_no_memory(err);
        *ret = m;
        return 0;
}

static int save_container(const struct container *c, struct arena *arena,
                          Belay__State__V1__Container **ret, struct error *err)
{
        Belay__State__V1__Container *m = arena_alloc(arena, sizeof(*m));
        const struct cgroup_oom_past oom = oom_past(c);

        if (!m)
                return error_no_memory(err);
        belay__state__v1__container__init(m);
        m->id = c->id;
        m->bundle = c->bundle;
        m->by_binary = c->executor == c->server->binary_executor;
        m->io_uid = c->io_uid;
        m->io_gid = c->io_gid;
        m->init_reaped = c->init_reaped;
        m->rest_is_due = c->rest_is_due;
        m->is_unwanted = c->is_unwanted;
        m->execs_wait_over = c->execs_wait_over;
        m->oom_kills = oom.n_told;
        m->oom_before = oom.knows_before ? oom.n_before + 1 : 0;
        if (c->impl && c->executor->ops->container_save(c->impl, arena, m, err) < 0)
                return error_prefix(err, "container '%s'", c->id);
        *ret = m;
        return 0;
}

int save_shim(const struct shim_server *server, struct arena *arena, Belay__State__V1__Shim **ret,
              struct error *err)
{
        Belay__State__V1__Shim *m = arena_alloc(arena, sizeof(*m));

        if (!m)
                return error_no_memory(err);
        belay__state__v1__shim__init(m);
        m->id = server->id;
        m->runtime_namespace = server->runtime_namespace;
        m->bundle = server->bundle;
        m->had_container = server->had_container;
        m->next_event_seq = publisher_next_seq(server->publisher);
        m->events_lost = publisher_n_lost(server->publisher);
        m->events_file = kept_number(publisher_file(server->publisher));
        m->upgrading = server->upgrade.state == UPGRADE_EXECUTING;
        m->listener = kept_number(server->listen_fd);
        if (server->version)
                m->version = (char *)server->version;
        m->stopping = server->stopping || server->rest.stopping;
        if (server->container && save_container(server->container, arena, &m->container, err) < 0)
                return -1;
        *ret = m;
        return 0;
}
