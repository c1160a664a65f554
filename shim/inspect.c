/* SPDX-License-Identifier: Apache-2.0
 *
 * See inspect.h. The vault's message is unpacked again for it: this is rare, and there is no second
 * home of what is in there.
 */
#include "shim/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/state/vault.h"

#include "belay/state/v1/inspect.pb-c.h"
#include "shim/log.h"
#include "shim/message_json.h"
#include "shim/server_impl.h"
#include "shim/state.h"
#include "shim/upgrade.h"

CLEANUP_DEFINE(struct arena, arena_free)

/* For what is made here; the unpacked message is beside it. */
enum { BUDGET = 8 << 20 };

/* In the log a process has a few lines: its exit, its stdio and the like are one each. */
enum { LOG_ONE_LINE_FROM = 5, LOG_BYTES_MAX = 8 << 20 };

static int no_memory(struct error *err)
{
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "inspect: no memory");
}

static uint32_t count(const struct list *l)
{
        uint32_t n = 0;

        for (const struct list *node = l->next; node != l; node = node->next)
                n++;
        return n;
}

/* ---- What is under way ---- */

static void fill_process(const struct process *p, Belay__State__V1__ProcessUnderWay *m)
{
        belay__state__v1__process_under_way__init(m);
        m->exec_id = p->exec_id;
        m->waits = count(&p->waiters);
        m->parked = count(&p->parked);
        m->start = p->start != NULL;
        m->delete_ = p->delete_ != NULL;
        m->undrained = p->stdio && p->exit.known && !io_stdio_is_drained(p->stdio);
}

static int add_process(const struct process *p, struct arena *arena,
                       Belay__State__V1__UnderWay *under_way)
{
        Belay__State__V1__ProcessUnderWay m;
        Belay__State__V1__ProcessUnderWay *kept;

        fill_process(p, &m);
        if (!m.waits && !m.parked && !m.start && !m.delete_ && !m.undrained)
                return 0;
        kept = arena_alloc(arena, sizeof(*kept));
        if (!kept)
                return -1;
        *kept = m;
        under_way->processes[under_way->n_processes++] = kept;
        return 0;
}

static int fill_under_way(const struct shim_server *server, struct arena *arena,
                          Belay__State__V1__UnderWay *m)
{
        const struct container *c = server->container;
        struct upgrade_obstacle obstacle;

        if (server->creating)
                m->creating = server->creating->id;
        m->jobs =
                (uint32_t)((c ? c->n_jobs : 0) + (server->creating ? server->creating->n_jobs : 0));
        m->events_queued = publisher_n_queued(server->publisher);
        m->stopping = server->stopping;
        if (upgrade_obstacle(server, &obstacle)) {
                m->obstacle = arena_strdup(arena, obstacle.text);
                if (!m->obstacle)
                        return -1;
        }
        if (!c)
                return 0;
        m->processes = arena_calloc(arena, c->n_execs + 1, sizeof(void *));
        if (!m->processes || add_process(c->init, arena, m) < 0)
                return -1;
        list_for_each(p, &c->execs, struct process, node) {
                if (add_process(p, arena, m) < 0)
                        return -1;
        }
        return 0;
}

/* ---- What is in the vault ---- */

static int fill_exits(const struct shim_server *server, struct arena *arena,
                      Belay__State__V1__Inspection *m)
{
        struct reaper_exit exit;
        size_t n = 0;
        size_t i = 0;

        while (reaper_next_note(server->reaper, &i, &exit))
                n++;
        m->exits = arena_calloc(arena, n + 1, sizeof(void *));
        if (!m->exits)
                return -1;
        i = 0;
        while (m->n_exits < n && reaper_next_note(server->reaper, &i, &exit)) {
                Belay__State__V1__SeenExit *seen = arena_alloc(arena, sizeof(*seen));

                if (!seen)
                        return -1;
                belay__state__v1__seen_exit__init(seen);
                seen->pid = exit.pid;
                seen->code = exit.code;
                seen->status = exit.status;
                seen->at_ns = (int64_t)clock_timespec_ns(&exit.at);
                m->exits[m->n_exits++] = seen;
        }
        return 0;
}

/* *ret is the caller's; NULL: nothing was written yet. */
static int read_state(const struct shim_server *server, Belay__State__V1__Shim **ret,
                      struct error *err)
{
        struct error why = ERROR_INIT;

        *ret = NULL;
        if (state_read(server->vault, ret, &why) == 0 || why.code == STATUS_NOT_FOUND)
                return 0;
        if (err)
                *err = why;
        return -1;
}

static int fill(const struct shim_server *server, struct arena *arena, char *reason,
                Belay__State__V1__Inspection *m)
{
        size_t n_conns;
        size_t n_calls;

        m->version = (char *)server->version;
        m->generation = vault_generation(server->vault);
        m->vault_minor = vault_minor(server->vault);
        m->reason = reason;
        ttrpc_server_count_kept(server->ttrpc, &n_conns, &n_calls);
        m->connections = (uint32_t)n_conns;
        m->calls = (uint32_t)n_calls;
        return fill_exits(server, arena, m) < 0 || fill_under_way(server, arena, m->under_way) < 0
                       ? -1
                       : 0;
}

int inspect_json(const struct shim_server *server, unsigned one_line_from, size_t bytes_max,
                 char **ret, size_t *ret_len, struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = arena_new(BUDGET);
        Belay__State__V1__Inspection m = BELAY__STATE__V1__INSPECTION__INIT;
        Belay__State__V1__UnderWay under_way = BELAY__STATE__V1__UNDER_WAY__INIT;
        char reason[VAULT_REASON_MAX];
        int r;

        if (!server->vault)
                return error_set(err, STATUS_UNIMPLEMENTED, "this shim keeps no state");
        vault_reason(server->vault, reason);
        m.under_way = &under_way;
        if (!arena || fill(server, arena, reason, &m) < 0)
                return no_memory(err);
        if (read_state(server, &m.shim, err) < 0)
                return -1;
        r = message_json(&m.base, one_line_from, bytes_max, ret, ret_len, err);
        if (m.shim)
                belay__state__v1__shim__free_unpacked(m.shim, NULL);
        return r;
}

void shim_server_dump(const struct shim_server *server)
{
        _cleanup_free_ char *json = NULL;
        struct error err = ERROR_INIT;
        char *rest = NULL;
        size_t len = 0;

        log_info("=== BEGIN state dump ===");
        if (inspect_json(server, LOG_ONE_LINE_FROM, LOG_BYTES_MAX, &json, &len, &err) < 0)
                log_error("dump: %s", err.msg);
        for (char *line = json ? strtok_r(json, "\n", &rest) : NULL; line;
             line = strtok_r(NULL, "\n", &rest))
                log_info("dump: %s", line);
        log_info("=== END state dump ===");
}
