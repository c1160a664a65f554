/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking over: see state.h. What the message says is our own word of some milliseconds ago, of this
 * version or of another one; so it is checked, but as one checks an argument and not an attack.
 *
 * It is done in two halves. What may fail comes first and has no effect; what has one cannot fail.
 * The second half settles what was under way at a crash: nobody waits for it any more, since its
 * call has been answered with Unavailable.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/kept.h"
#include "pkg/state/vault.h"

#include "belay/state/v1/shim.pb-c.h"
#include "shim/container.h"
#include "shim/exec_stream.h"
#include "shim/exits.h"
#include "shim/log.h"
#include "shim/oom.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

typedef Belay__State__V1__Shim shim_message;

/* Names in the message are for those who read it; what is restored goes by the numbers. */
static_assert((int)BELAY__STATE__V1__PROCESS_STATE__PROCESS_STATE_DELETING ==
                      (int)_PROCESS_STATE_MAX - 1,
              "the states of the message");
static_assert((int)BELAY__STATE__V1__EXIT_REASON__EXIT_REASON_UNKNOWN ==
                      (int)_RECORD_REASON_MAX - 1,
              "the reasons of the message");
static_assert((int)BELAY__STATE__V1__OOM_LEVEL__OOM_LEVEL_HOST == (int)_CGROUP_OOM_LEVEL_MAX - 1,
              "the levels of the message");

static void shim_message_free(shim_message *m)
{
        belay__state__v1__shim__free_unpacked(m, NULL);
}

static void shim_message_free_p(shim_message **m)
{
        if (*m)
                shim_message_free(*m);
}

/* ---- Reading ---- */

/* What a piece says of a process. */
struct entry {
        size_t piece;
        const Belay__State__V1__KeyedProcess *process;
};

/* The record's pieces, and what they say of processes. */
struct reading {
        Belay__State__V1__Change **pieces;
        size_t n_pieces;
        struct entry *entries; /* by key, and of one key the first piece first */
        size_t n_entries;
};

static void reading_deinit(struct reading *reading)
{
        for (size_t i = 0; i < reading->n_pieces; i++)
                belay__state__v1__change__free_unpacked(reading->pieces[i], NULL);
        free(reading->pieces);
        free(reading->entries);
}

static int read_piece(struct reading *reading, const uint8_t *data, size_t len, struct error *err)
{
        Belay__State__V1__Change **pieces =
                reallocarray(reading->pieces, reading->n_pieces + 1, sizeof(reading->pieces[0]));
        Belay__State__V1__Change *piece;

        if (!pieces)
                return error_no_memory(err);
        reading->pieces = pieces;
        piece = belay__state__v1__change__unpack(NULL, len, data);
        if (!piece)
                return error_set(err, STATUS_DATA_LOSS, "piece %zu of the state is no message",
                                 reading->n_pieces);
        reading->pieces[reading->n_pieces++] = piece;
        reading->n_entries += piece->n_processes;
        return 0;
}

static int compare_entries(const void *a, const void *b)
{
        const struct entry *one = a;
        const struct entry *other = b;

        if (one->process->key != other->process->key)
                return one->process->key < other->process->key ? -1 : 1;
        return (one->piece > other->piece) - (one->piece < other->piece);
}

static int sort_entries(struct reading *reading, struct error *err)
{
        size_t n = 0;

        reading->entries = calloc(reading->n_entries + 1, sizeof(reading->entries[0]));
        if (!reading->entries)
                return error_no_memory(err);
        for (size_t i = 0; i < reading->n_pieces; i++) {
                const Belay__State__V1__Change *piece = reading->pieces[i];

                for (size_t k = 0; k < piece->n_processes; k++)
                        reading->entries[n++] = (struct entry){i, piece->processes[k]};
        }
        qsort(reading->entries, n, sizeof(reading->entries[0]), compare_entries);
        if (n > 0 && reading->entries[0].process->key == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "a process without a key");
        return 0;
}

/* The last that is said of each process, into the message. */
static int read_processes(const struct reading *reading, Belay__State__V1__Container *m,
                          struct error *err)
{
        m->processes = calloc(reading->n_entries + 1, sizeof(m->processes[0]));
        if (!m->processes)
                return error_no_memory(err);
        for (size_t i = 0; i < reading->n_entries; i++) {
                const Belay__State__V1__KeyedProcess *entry = reading->entries[i].process;
                bool is_last = i + 1 == reading->n_entries ||
                               reading->entries[i + 1].process->key != entry->key;
                Belay__State__V1__Process *p;

                if (!is_last || entry->gone)
                        continue;
                p = belay__state__v1__process__unpack(NULL, entry->process.len,
                                                      entry->process.data);
                if (!p)
                        return error_set(err, STATUS_DATA_LOSS,
                                         "process %llu of the state is no message",
                                         (unsigned long long)entry->key);
                p->key = entry->key;
                m->processes[m->n_processes++] = p;
        }
        return 0;
}

/* The last that is said of all but the processes. */
static int read_shim(const struct reading *reading, shim_message **ret, struct error *err)
{
        const ProtobufCBinaryData *shim = NULL;

        for (size_t i = 0; i < reading->n_pieces; i++) {
                if (reading->pieces[i]->shim.len > 0)
                        shim = &reading->pieces[i]->shim;
        }
        *ret = shim ? belay__state__v1__shim__unpack(NULL, shim->len, shim->data) : NULL;
        if (!*ret)
                return error_set(err, STATUS_DATA_LOSS, "the state does not tell of the shim");
        if ((*ret)->container && (*ret)->container->n_processes > 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "processes that have no key");
        return 0;
}

int state_read(const struct vault *vault, shim_message **ret, struct error *err)
{
        _cleanup_(reading_deinit) struct reading reading = {.n_pieces = 0};
        _cleanup_(shim_message_free_p) shim_message *m = NULL;
        const void *data = NULL;
        size_t len = 0;
        size_t at = 0;
        int r;

        while ((r = vault_next(vault, VAULT_SHIM, &at, &data, &len, err)) > 0) {
                if (read_piece(&reading, data, len, err) < 0)
                        return -1;
        }
        if (r < 0 || sort_entries(&reading, err) < 0 || read_shim(&reading, &m, err) < 0)
                return -1;
        if (m->container && read_processes(&reading, m->container, err) < 0)
                return -1;
        *ret = TAKE_PTR(m);
        return 0;
}

/* ---- A process ---- */

static int restore_exit(struct process_exit *exit, const Belay__State__V1__Exit *m,
                        struct error *err)
{
        if (!m)
                return 0;
        if ((unsigned)m->reason >= _RECORD_REASON_MAX ||
            (unsigned)m->oom_level >= _CGROUP_OOM_LEVEL_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "an exit's reason %u, level %u",
                                 (unsigned)m->reason, (unsigned)m->oom_level);
        *exit = (struct process_exit){
                .known = m->known,
                .told = m->told,
                .status = m->status,
                .signal = m->signal,
                .core_dumped = m->core_dumped,
                .oom_killed = m->oom_killed,
                .oom_level = (enum cgroup_oom_level)m->oom_level,
                .oom_up = m->oom_up,
                .reason = (enum record_reason)m->reason,
                .at = clock_ns_timespec((uint64_t)m->at_ns),
        };
        return 0;
}

/* Of an exec that has not been started. */
static int restore_request(struct process *p, const Belay__State__V1__Process *m, struct error *err)
{
        p->options.ignore_paused = m->ignore_paused;
        p->options.own_child = m->own_child;
        if (*m->cgroup) {
                p->options.cgroup = strdup(m->cgroup);
                if (!p->options.cgroup)
                        return error_no_memory(err);
        }
        if (m->spec.len > 0) {
                p->spec = malloc(m->spec.len + 1);
                if (!p->spec)
                        return error_no_memory(err);
                memcpy(p->spec, m->spec.data, m->spec.len);
                p->spec[m->spec.len] = '\0';
                p->spec_len = m->spec.len;
        }
        if (!*m->passed)
                return 0;
        p->passed.map = strdup(m->passed);
        if (!p->passed.map)
                return error_no_memory(err);
        p->passed.n_listen = m->passed_listen;
        return kept_take(m->passed_pidfd, KEPT_ANY, "the process of passed descriptors",
                         &p->passed.pidfd, err);
}

static int restore_stream(struct process *p, const Belay__State__V1__Process *m, struct error *err)
{
        int fds[EXEC_STREAM_OUTPUTS];

        for (size_t i = 0; i < EXEC_STREAM_OUTPUTS; i++) {
                fds[i] = -1;
                if (i < m->n_stream_outputs && kept_take(m->stream_outputs[i], KEPT_PIPE,
                                                         "output of a stream", &fds[i], err) < 0)
                        return -1;
        }
        return exec_stream_restore(p, fds, err);
}

static int restore_process(struct container *c, const Belay__State__V1__Process *m,
                           struct error *err)
{
        const struct process_request request = {
                .exec_id = m->exec_id,
                .stdin_path = m->stdin_path,
                .stdout_path = m->stdout_path,
                .stderr_path = m->stderr_path,
                .terminal = m->terminal,
                .carried = m->carried,
        };
        bool is_init = !*m->exec_id;
        struct process *p = process_new(c, is_init ? PROCESS_INIT : PROCESS_EXEC, &request);

        if (!p)
                return error_no_memory(err);
        state_entry_restore(&c->server->state, &p->saved, m->key);
        if (is_init)
                c->init = p;
        if ((unsigned)m->state >= _PROCESS_STATE_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "state %u", (unsigned)m->state);
        p->state = (enum process_state)m->state;
        p->stdin_closed = m->stdin_closed;
        p->start_failed = m->start_failed;
        p->width = (uint16_t)m->width;
        p->height = (uint16_t)m->height;
        p->pid = m->pid;
        p->start_ticks = m->start_ticks;
        p->started_at = clock_ns_timespec((uint64_t)m->started_at_ns);
        p->drain_waited = m->drain_waited;
        if (restore_exit(&p->exit, m->exit, err) < 0 || restore_request(p, m, err) < 0)
                return -1;
        if (m->stdio && process_restore_stdio(p, m->stdio, err) < 0)
                return -1;
        if (c->executor->ops->process_restore(c->impl, m, &p->impl, err) < 0)
                return -1;
        return m->n_stream_outputs > 0 ? restore_stream(p, m, err) : 0;
}

/* ---- What was under way ---- */

/* Its Start had not been answered: what it had made was killed with its stage. */
static void settle_exec(struct process *p)
{
        if (p->state == PROCESS_STARTING) {
                p->container->n_live_execs++;
                exits_exec_not_started(p);
        }
        if (p->state == PROCESS_DELETING)
                p->state = PROCESS_STOPPED;
}

static void settle_init(struct process *p)
{
        struct container *c = p->container;

        switch (p->state) {
        case PROCESS_STARTING:
                p->state =
                        c->executor->ops->is_created(c->impl) ? PROCESS_CREATED : PROCESS_RUNNING;
                if (p->state == PROCESS_RUNNING)
                        publisher_publish_take(c->server->publisher,
                                               task_event_start(c->id, p->pid));
                break;
        case PROCESS_PAUSING: /* shim_server_let_go() thaws it when nobody can freeze it again */
                p->state = PROCESS_RUNNING;
                break;
        case PROCESS_RESUMING:
                p->state = PROCESS_PAUSED;
                break;
        case PROCESS_DELETING:
                p->state = PROCESS_STOPPED;
                break;
        case PROCESS_CREATED:
        case PROCESS_RUNNING:
        case PROCESS_PAUSED:
        case PROCESS_DISCARDED:
        case PROCESS_STOPPED:
        case _PROCESS_STATE_MAX:
                break;
        }
}

static void go_on(struct process *p)
{
        if (p->impl && !p->exit.known) {
                exits_watch(p);
                if (p->kind == PROCESS_EXEC && p->state != PROCESS_CREATED)
                        p->container->n_live_execs++;
        }
}

/* ---- The container ---- */

static int restore_container(struct shim_server *server, const Belay__State__V1__Container *m,
                             struct error *err)
{
        struct container *c = container_new(server, m->id, m->bundle, err);

        if (!c)
                return -1;
        server->container = c;
        if (m->by_binary)
                c->executor = server->binary_executor;
        if (!c->executor)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "a runtime binary's container is not supported here");
        c->io_uid = m->io_uid;
        c->io_gid = m->io_gid;
        c->init_reaped = m->init_reaped;
        c->rest_is_due = m->rest_is_due;
        c->is_unwanted = m->is_unwanted;
        c->execs_wait_over = m->execs_wait_over;
        if (c->executor->ops->container_restore(c->executor->impl, m, &c->impl, err) < 0)
                return -1;
        for (size_t i = 0; i < m->n_processes; i++) {
                if ((i == 0) != !*m->processes[i]->exec_id)
                        return error_set(err, STATUS_INVALID_ARGUMENT, "process '%s': %s",
                                         m->processes[i]->exec_id,
                                         i == 0 ? "it comes before the init" : "a second init");
                if (restore_process(c, m->processes[i], err) < 0)
                        return error_prefix(err, "process '%s'", m->processes[i]->exec_id);
        }
        if (!c->init)
                return error_set(err, STATUS_INVALID_ARGUMENT, "a container without an init");
        return 0;
}

static void container_go_on(struct container *c, const struct cgroup_oom_past *oom)
{
        if (!c->init->exit.told)
                oom_resume(c, oom);
        settle_init(c->init);
        go_on(c->init);
        list_for_each_safe(p, &c->execs, struct process, node) {
                settle_exec(p);
                go_on(p);
        }
        exits_advance(c);
}

int state_restore(struct shim_server *server, struct error *err)
{
        _cleanup_(shim_message_free_p) shim_message *m = NULL;

        if (state_read(server->vault, &m, err) < 0)
                return -1;
        if (*m->bundle) {
                free(server->bundle);
                server->bundle = strdup(m->bundle);
                if (!server->bundle)
                        return error_no_memory(err);
        }
        if (strcmp(m->id, server->id) != 0 ||
            strcmp(m->runtime_namespace, server->runtime_namespace) != 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "the state is that of '%s/%s'",
                                 m->runtime_namespace, m->id);
        CHAOS_POINT("restore");
        server->restoring = true;
        server->had_container = m->had_container;
        server->listen_fd = (int)m->listener - 1;
        server->was_upgraded = m->upgrading;
        server->upgrade.state = m->upgrading ? UPGRADE_DONE : UPGRADE_NONE;
        free(server->previous);
        server->previous = strdup(m->version);
        server->rest = (struct state_rest){
                .stopping = m->stopping,
        };
        if (m->container)
                server->rest.oom = (struct cgroup_oom_past){
                        .knows_before = m->container->oom_before > 0,
                        .n_before = m->container->oom_before - 1,
                        .n_told = m->container->oom_kills,
                };
        if (m->container && restore_container(server, m->container, err) < 0)
                return -1;
        publisher_set_file(server->publisher, m->events_file);
        return publisher_restore(server->publisher, m->next_event_seq, m->events_lost, err);
}

void state_resume(struct shim_server *server)
{
        CHAOS_POINT("container-restored");
        publisher_resume(server->publisher);
        CHAOS_POINT("events-restored");
        if (server->container)
                container_go_on(server->container, &server->rest.oom);
        server->restoring = false;
        CHAOS_POINT("restored");
        publisher_renumber(server->publisher);
        state_commit_all(server);
}

void shim_server_let_go(struct shim_server *server)
{
        struct container *c = server->container;

        if (!c)
                return;
        if (c->init->state == PROCESS_CREATED || c->init->state == PROCESS_RUNNING)
                rpc_pause_thaw(c);
        if (c->executor->ops->undo_execs)
                c->executor->ops->undo_execs(c->impl);
        exits_kill_rest(c);
}
