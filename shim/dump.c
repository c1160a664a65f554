/* SPDX-License-Identifier: Apache-2.0
 *
 * The state dump that SIGUSR1 asks for: what an operator wants to know of a shim that seems stuck,
 * as lines of the log.
 */
#include "shim/log.h"
#include "shim/server_impl.h"

static size_t count(const struct list *l)
{
        size_t n = 0;

        for (const struct list *node = l->next; node != l; node = node->next)
                n++;
        return n;
}

static void dump_process(const struct process *p)
{
        log_write(LOG_INFO, p->exec_id,
                  "dump: {\"process\":\"%s\",\"state\":\"%s\",\"pid\":%d,\"terminal\":%s,"
                  "\"exit_known\":%s,\"exit_told\":%s,\"status\":%u,\"drained\":%s,"
                  "\"start\":%s,\"delete\":%s,\"waits\":%zu,\"parked\":%zu}",
                  p->kind == PROCESS_INIT ? "init" : "exec", process_state_name(p->state),
                  (int)p->pid, p->terminal ? "true" : "false", p->exit.known ? "true" : "false",
                  p->exit.told ? "true" : "false", (unsigned)p->exit.status,
                  !p->stdio || io_stdio_is_drained(p->stdio) ? "true" : "false",
                  p->start ? "true" : "false", p->delete_ ? "true" : "false", count(&p->waiters),
                  count(&p->parked));
}

static void dump_container(const char *what, const struct container *c)
{
        if (!c)
                return;
        log_info("dump: {\"%s\":\"%s\",\"bundle\":\"%s\",\"execs\":%zu,\"live_execs\":%zu,"
                 "\"init_reaped\":%s,\"jobs\":%zu}",
                 what, c->id, c->bundle, c->n_execs, c->n_live_execs,
                 c->init_reaped ? "true" : "false", c->n_jobs);
        dump_process(c->init);
        list_for_each(p, &c->execs, struct process, node)
                dump_process(p);
}

void shim_server_dump(const struct shim_server *server)
{
        log_info("=== BEGIN state dump ===");
        log_info("dump: {\"shim\":\"%s\",\"bundle\":\"%s\",\"connections\":%zu,"
                 "\"events_queued\":%zu,\"events_lost\":%zu,\"stopping\":%s}",
                 server->id, server->bundle, ttrpc_server_n_connections(server->ttrpc),
                 publisher_n_queued(server->publisher), publisher_n_lost(server->publisher),
                 server->stopping ? "true" : "false");
        dump_container("creating", server->creating);
        dump_container("container", server->container);
        log_info("=== END state dump ===");
}
