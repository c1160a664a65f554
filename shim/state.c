/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the state: see state.h. One piece of the vault's record holds all that one commit writes,
 * so that no two parts of it can disagree. When most of the record is out of date it is put anew,
 * so the cost of a commit does not grow with the number of execs that there are.
 */
#include "shim/state.h"

#include <stdalign.h>
#include <stddef.h>

#include "pkg/base/arena.h"
#include "pkg/base/chaos.h"
#include "pkg/base/checksum.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/kept.h"
#include "pkg/state/vault.h"

#include "shim/container.h"
#include "shim/log.h"
#include "shim/save.h"
#include "shim/server_impl.h"

CLEANUP_DEFINE(struct arena, arena_free)

enum {
        STATE_BUDGET = 32 << 20, /* the messages and their packed form, of LIMIT_EXECS execs */
        ROOM_BYTES = 6 << 10,    /* of that on the stack: enough for most commits */
        RECORD_BYTES_MIN = 4096, /* a record that is no larger is not put anew for its size */
};

/* What a commit is about to write. */
struct commit {
        struct shim_server *server;
        struct arena *arena;
        bool all;
        Belay__State__V1__Change change;
};

static void on_late(struct loop_deferred *deferred)
{
        struct state *state = container_of(deferred, struct state, late);

        state_commit(container_of(state, struct shim_server, state));
}

void state_init(struct state *state)
{
        list_init(&state->touched);
        loop_deferred_init(&state->late, on_late);
        state->is_stale = true;
}

void state_entry_init(struct state *state, struct state_entry *entry)
{
        list_init(&entry->node);
        entry->key = ++state->last_key;
}

void state_entry_restore(struct state *state, struct state_entry *entry, uint64_t key)
{
        entry->key = key;
        if (key > state->last_key)
                state->last_key = key;
}

void state_touch(struct process *p)
{
        if (p->kind == PROCESS_EXEC && p->saved.key > 0 && list_is_empty(&p->saved.node))
                list_append(&p->container->server->state.touched, &p->saved.node);
}

void state_commit_late(struct shim_server *server)
{
        if (server->vault && !server->restoring)
                loop_defer(server->loop, &server->state.late);
}

void state_touch_late(struct process *p)
{
        state_touch(p);
        state_commit_late(p->container->server);
}

void state_forget(struct process *p)
{
        struct state *state = &p->container->server->state;

        list_remove(&p->saved.node);
        if (p->saved.len > 0) {
                state->is_stale |= state->gone > 0;
                state->gone = p->saved.key;
                state->processes_len -= p->saved.len;
        }
        p->saved = (struct state_entry){.node = LIST_INIT(p->saved.node)};
}

/* ---- A commit ---- */

/* Packed into the arena; false without memory. */
static bool pack(const ProtobufCMessage *message, struct arena *arena, ProtobufCBinaryData *ret)
{
        ret->len = protobuf_c_message_get_packed_size(message);
        ret->data = arena_alloc(arena, ret->len);
        if (!ret->data)
                return false;
        (void)protobuf_c_message_pack(message, ret->data);
        return true;
}

static int commit_shim(struct commit *commit, struct error *err)
{
        struct state *state = &commit->server->state;
        Belay__State__V1__Shim *m = NULL;
        ProtobufCBinaryData packed;
        uint64_t sum;

        if (save_shim(commit->server, commit->arena, &m, err) < 0)
                return -1;
        if (!pack(&m->base, commit->arena, &packed))
                return error_no_memory(err);
        sum = checksum(packed.data, packed.len);
        if (!commit->all && sum == state->shim_sum && packed.len == state->shim_len)
                return 0;
        state->shim_sum = sum;
        state->shim_len = packed.len;
        commit->change.shim = packed;
        return 0;
}

/* There is room for it in the change. */
static int commit_entry(struct commit *commit, uint64_t key, const ProtobufCBinaryData *packed,
                        struct error *err)
{
        Belay__State__V1__KeyedProcess *entry = arena_alloc(commit->arena, sizeof(*entry));

        if (!entry)
                return error_no_memory(err);
        belay__state__v1__keyed_process__init(entry);
        entry->key = key;
        entry->gone = !packed;
        if (packed)
                entry->process = *packed;
        commit->change.processes[commit->change.n_processes++] = entry;
        return 0;
}

static int commit_process(struct commit *commit, struct process *p, struct error *err)
{
        struct state *state = &commit->server->state;
        struct state_entry *saved = &p->saved;
        Belay__State__V1__Process *m = NULL;
        ProtobufCBinaryData packed;
        uint64_t sum;

        list_remove(&saved->node);
        if (save_process(p, commit->arena, &m, err) < 0)
                return -1;
        if (!pack(&m->base, commit->arena, &packed))
                return error_no_memory(err);
        sum = checksum(packed.data, packed.len);
        if (!commit->all && sum == saved->sum && packed.len == saved->len)
                return 0;
        state->processes_len += packed.len - (commit->all ? 0 : saved->len);
        saved->sum = sum;
        saved->len = packed.len;
        return commit_entry(commit, saved->key, &packed, err);
}

static int commit_processes(struct commit *commit, struct container *c, struct error *err)
{
        struct state *state = &commit->server->state;
        size_t room = 2; /* the init, and one that is gone */

        if (commit->all)
                room += c->n_execs;
        list_for_each(entry, &state->touched, struct state_entry, node)
                room++;
        commit->change.processes =
                arena_calloc(commit->arena, room, sizeof(commit->change.processes[0]));
        if (!commit->change.processes)
                return error_no_memory(err);
        if (commit_process(commit, c->init, err) < 0)
                return -1;
        if (commit->all) {
                list_for_each(p, &c->execs, struct process, node) {
                        if (commit_process(commit, p, err) < 0)
                                return -1;
                }
                return 0;
        }
        while (!list_is_empty(&state->touched)) {
                struct process *p = list_first(&state->touched, struct process, saved.node);

                if (commit_process(commit, p, err) < 0)
                        return -1;
        }
        return state->gone > 0 ? commit_entry(commit, state->gone, NULL, err) : 0;
}

/* A record that is mostly out of date is put anew. */
static bool is_too_long(const struct shim_server *server, size_t more)
{
        size_t needed = 2 * (server->state.shim_len + server->state.processes_len);

        return vault_size(server->vault, VAULT_SHIM) + more >
               (needed > RECORD_BYTES_MIN ? needed : RECORD_BYTES_MIN);
}

/* 1: all is to be written, since too much was written already. */
static int write_change(struct commit *commit, struct error *err)
{
        struct shim_server *server = commit->server;
        const Belay__State__V1__Change *change = &commit->change;
        ProtobufCBinaryData packed;

        if (change->n_processes == 0 && change->shim.len == 0)
                return 0;
        if (!pack(&change->base, commit->arena, &packed))
                return error_no_memory(err);
        if (commit->all)
                return vault_put(server->vault, VAULT_SHIM, packed.data, packed.len, err);
        if (is_too_long(server, packed.len))
                return 1;
        return vault_add(server->vault, VAULT_SHIM, packed.data, packed.len, err);
}

static int write_state(struct shim_server *server, bool all, struct error *err)
{
        _Alignas(max_align_t) uint8_t room[ROOM_BYTES];
        _cleanup_(arena_free_p) struct arena *arena =
                arena_new_in(room, sizeof(room), STATE_BUDGET);
        struct commit commit = {
                .server = server,
                .arena = arena,
                .all = all,
                .change = BELAY__STATE__V1__CHANGE__INIT,
        };

        if (all)
                server->state.processes_len = 0;
        if (commit_shim(&commit, err) < 0)
                return -1;
        if (server->container && commit_processes(&commit, server->container, err) < 0)
                return -1;
        return write_change(&commit, err);
}

static void commit(struct shim_server *server, bool all)
{
        struct state *state = &server->state;
        struct error err = ERROR_INIT;
        int r;

        if (!server->vault || server->restoring)
                return;
        CHAOS_POINT("commit");
        vault_set_needed(server->vault,
                         publisher_n_in_memory(server->publisher) > 0 ? VAULT_QUEUE_MINOR : 0);
        all |= state->is_stale || state->container != server->container;
        r = write_state(server, all, &err);
        if (r == 1)
                r = write_state(server, true, &err);
        if (r < 0 && !state->has_failed)
                log_error("keep the state: %s: it is that of before until this ends", err.msg);
        state->has_failed = r < 0;
        state->is_stale = r < 0;
        state->container = server->container;
        state->gone = 0;
        CHAOS_POINT("committed");
        if (r < 0)
                return;
        kept_late_settle();
        reaper_settle(server->reaper);
}

void state_commit(struct shim_server *server)
{
        commit(server, false);
}

void state_commit_all(struct shim_server *server)
{
        commit(server, true);
}
