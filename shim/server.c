/* SPDX-License-Identifier: Apache-2.0
 *
 * The root object: made in one order, destroyed in the other. A stop waits, within a bound, until a
 * Create under way is undone, containerd has the events, and clients have their answers. The
 * listener goes as soon as nothing is done to the container any more: its id may be used again at
 * once, and must not find a shim that refuses to create.
 */
#include "shim/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"
#include "pkg/state/vault.h"

#include "shim/exec_stream.h"
#include "shim/log.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

/* How often a stop looks whether the last answers are out: there is no callback for that. */
#define REPLY_POLL_NS (5 * NSEC_PER_MSEC)

static void on_bury(struct loop_deferred *deferred)
{
        struct shim_server *server = container_of(deferred, struct shim_server, bury);

        while (!list_is_empty(&server->dead_processes))
                process_free(list_first(&server->dead_processes, struct process, node));
        while (!list_is_empty(&server->dead_containers))
                container_free(list_first(&server->dead_containers, struct container, node));
}

void server_bury_process(struct shim_server *server, struct process *p)
{
        list_remove(&p->node);
        list_append(&server->dead_processes, &p->node);
        loop_defer(server->loop, &server->bury);
}

void server_bury_container(struct shim_server *server, struct container *c)
{
        assert(c->n_jobs == 0);
        list_append(&server->dead_containers, &c->node);
        loop_defer(server->loop, &server->bury);
}

/* ---- The end ---- */

static void close_listeners(struct shim_server *server)
{
        if (server->closed)
                return;
        server->closed = true;
        if (server->on_closing)
                server->on_closing(server->userdata);
        ttrpc_server_stop_listening(server->ttrpc);
        server->listen_fd = -1;
}

static void on_finish(struct loop_deferred *deferred)
{
        struct shim_server *server = container_of(deferred, struct shim_server, finish);

        close_listeners(server);
        server->on_finished(server->userdata);
}

static size_t n_jobs(const struct shim_server *server)
{
        return (server->creating ? server->creating->n_jobs : 0) +
               (server->container ? server->container->n_jobs : 0);
}

static void on_idle_publisher(void *userdata)
{
        server_advance_stop(userdata);
}

/* True when something is left that a stop waits for; it will then be asked again. */
static bool has_unfinished(struct shim_server *server)
{
        if (server->creating || n_jobs(server) > 0)
                return true;
        close_listeners(server);
        if (publisher_n_queued(server->publisher) > 0) {
                publisher_on_idle(server->publisher, on_idle_publisher, server);
                return true;
        }
        if (server->n_logs > 0)
                return true; /* a log is read to its end, though the container is gone */
        return ttrpc_server_has_queued(server->ttrpc) &&
               loop_timer_set(server->lifetime, REPLY_POLL_NS) == 0;
}

void server_advance_stop(struct shim_server *server)
{
        if (!server->stopping || server->finished)
                return;
        if (!server->stop_time_over && has_unfinished(server))
                return;
        server->finished = true;
        loop_timer_clear(server->stop_timer);
        loop_timer_clear(server->lifetime);
        loop_defer(server->loop, &server->finish);
}

static void on_stop_timer(struct loop_timer *timer, void *userdata)
{
        struct shim_server *server = userdata;

        (void)timer;
        log_warning("stop: time is over, %zu events and %zu jobs are left",
                    publisher_n_queued(server->publisher), n_jobs(server));
        server->stop_time_over = true;
        server_advance_stop(server);
}

/* One timer for two things that never are at once: being idle, and polling at the end. */
static void on_lifetime_timer(struct loop_timer *timer, void *userdata)
{
        struct shim_server *server = userdata;

        if (server->stopping)
                server_advance_stop(server);
        else
                lifetime_on_timer(timer, server);
}

void shim_server_stop(struct shim_server *server, const char *why)
{
        if (server->stopping)
                return;
        log_info("stopping: %s", why);
        server->stopping = true;
        loop_timer_clear(server->lifetime);
        upgrade_abort(server);
        if (server->creating)
                rpc_create_abort(server->creating);
        if (server->container && server->container->freeze)
                rpc_pause_end(server->container);
        if (server->container)
                container_end_streams(server->container);
        if (loop_timer_set(server->stop_timer, server->times.stop_ns) < 0)
                server->stop_time_over = true;
        state_commit(server);
        server_advance_stop(server);
}

/* ---- Making and freeing ---- */

static void on_connections(size_t n, void *userdata)
{
        (void)n;
        lifetime_touch(userdata);
}

static uint64_t time_or(uint64_t given, uint64_t otherwise)
{
        return given ? given : otherwise;
}

static void set_times(struct shim_times *ret, const struct shim_times *given)
{
        *ret = (struct shim_times){
                .unused_ns = time_or(given->unused_ns, SHIM_UNUSED_NS),
                .alone_ns = time_or(given->alone_ns, SHIM_ALONE_NS),
                .idle_ns = time_or(given->idle_ns, SHIM_IDLE_NS),
                .events_ns = time_or(given->events_ns, SHIM_EVENTS_NS),
                .stop_ns = time_or(given->stop_ns, SHIM_STOP_NS),
                .drain_ns = time_or(given->drain_ns, SHIM_DRAIN_NS),
                .stop_logger_ns = time_or(given->stop_logger_ns, SHIM_STOP_LOGGER_NS),
                .attach_drain_ns = time_or(given->attach_drain_ns, SHIM_ATTACH_DRAIN_NS),
                .execs_ns = time_or(given->execs_ns, SHIM_EXECS_NS),
                .attempt_ns = time_or(given->attempt_ns, SHIM_ATTEMPT_NS),
                .backoff_min_ns = time_or(given->backoff_min_ns, SHIM_BACKOFF_MIN_NS),
                .backoff_max_ns = time_or(given->backoff_max_ns, SHIM_BACKOFF_MAX_NS),
                .readers_ns = time_or(given->readers_ns, SHIM_READERS_NS),
                .upgrade_ns = time_or(given->upgrade_ns, SHIM_UPGRADE_NS),
        };
}

static int make_parts(struct shim_server *server, const struct shim_server_options *options,
                      struct error *err)
{
        struct publisher_options publisher = {
                .loop = server->loop,
                .address = options->ttrpc_address,
                .runtime_namespace = options->runtime_namespace,
                .attempt_ns = server->times.attempt_ns,
                .backoff_min_ns = server->times.backoff_min_ns,
                .backoff_max_ns = server->times.backoff_max_ns,
        };
        struct ttrpc_server_options ttrpc = {
                .check_peer = true,
                .on_connections = on_connections,
                .userdata = server,
        };

        if (server->vault) {
                ttrpc.keep = vault_region(server->vault, VAULT_CONNS, &ttrpc.keep_size);
                publisher.keep = vault_region(server->vault, VAULT_EVENTS, &publisher.keep_size);
                publisher.memory = vault_region(server->vault, VAULT_QUEUE, &publisher.memory_size);
        }
        server->runtime_namespace = strdup(options->runtime_namespace);
        server->id = strdup(options->id);
        server->bundle = strdup(options->bundle);
        server->lifetime = loop_timer_new(server->loop, on_lifetime_timer, server);
        server->stop_timer = loop_timer_new(server->loop, on_stop_timer, server);
        if (!server->runtime_namespace || !server->id || !server->bundle || !server->lifetime ||
            !server->stop_timer)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create server: no memory");
        server->bundle_fd = options->bundle_fd > 0
                                    ? fcntl(options->bundle_fd, F_DUPFD_CLOEXEC, 3)
                                    : open(server->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (server->bundle_fd < 0)
                return error_errno(err, errno, "open '%s'", server->bundle);
        publisher.dir_fd = server->bundle_fd;
        if (publisher_new(&server->publisher, &publisher, err) < 0 ||
            ttrpc_server_new(&server->ttrpc, server->loop, &ttrpc, err) < 0)
                return -1;
        if (service_register(server, err) < 0)
                return -1;
        return service_belay_register(server, err);
}

/* The state names a descriptor that is to be closed. */
static void on_late_close(void *userdata)
{
        state_commit_late(userdata);
}

int shim_server_new(struct shim_server **ret, const struct shim_server_options *options,
                    struct error *err)
{
        struct shim_server *server = calloc(1, sizeof(*server));

        if (!server)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create server: no memory");
        server->loop = options->loop;
        server->retired_fd = -1;
        server->bundle_fd = -1;
        server->reaper = options->reaper;
        server->executor = options->executor;
        server->binary_executor = options->binary_executor;
        server->on_closing = options->on_closing;
        server->on_finished = options->on_finished;
        server->userdata = options->userdata;
        server->version = options->version;
        server->vault = options->vault;
        server->upgrade_ops = options->upgrade_ops;
        server->listen_fd = -1;
        set_times(&server->times, &options->times);
        list_init(&server->dead_processes);
        list_init(&server->dead_containers);
        loop_deferred_init(&server->bury, on_bury);
        loop_deferred_init(&server->finish, on_finish);
        state_init(&server->state);
        if (make_parts(server, options, err) < 0) {
                shim_server_free(server);
                return -1;
        }
        if (server->vault)
                kept_late_begin(on_late_close, server);
        lifetime_touch(server);
        *ret = server;
        return 0;
}

bool shim_server_is_busy(const struct shim_server *server)
{
        return n_jobs(server) > 0;
}

struct shim_server *shim_server_free(struct shim_server *server)
{
        if (!server)
                return NULL;
        /* No callback of a connection that goes may start a timer again. */
        server->stopping = true;
        server->finished = true;
        kept_late_end();
        loop_deferred_cancel(&server->bury);
        loop_deferred_cancel(&server->finish);
        upgrade_deinit(server);
        on_bury(&server->bury);
        server->creating = container_free(server->creating);
        server->container = container_free(server->container);
        loop_deferred_cancel(&server->state.late);
        ttrpc_server_free(server->ttrpc);
        publisher_free(server->publisher);
        loop_timer_free(server->lifetime);
        loop_timer_free(server->stop_timer);
        free(server->previous);
        free(server->runtime_namespace);
        free(server->id);
        free(server->bundle);
        fd_close(server->retired_fd);
        fd_close(server->bundle_fd);
        free(server);
        return NULL;
}

int shim_server_listen_take(struct shim_server *server, int fd, struct error *err)
{
        if (ttrpc_server_listen_take(server->ttrpc, fd, err) < 0)
                return -1;
        server->listen_fd = fd;
        state_commit(server);
        return 0;
}

/*
 * Of the calls without an answer. After an upgrade they are those that wait, and go on waiting.
 * After a crash those that only look or wait do so again, one that was at work then once: it may be
 * what crashes, but a containerd that comes back and gets an error gives the container up. Of the
 * others nobody knows how far they had come. A stream goes on from where it was, unless it
 * was being worked at, or the image before could not tell where that is.
 */
static const char *refuse_call(const struct ttrpc_restored_call *call, void *userdata)
{
        static const char *const harmless[] = {"State", "Wait",   "Connect", "Pids",
                                               "Stats", "Status", "Inspect"};
        const struct shim_server *server = userdata;

        if (call->kind != TTRPC_UNARY && call->in_handler)
                return "the shim crashed while it was at work on this stream";
        if (call->kind != TTRPC_UNARY)
                return call->has_note ? NULL
                                      : "the shim was restarted, and the stream ends with it";
        if (server->upgrade.state == UPGRADE_DONE)
                return NULL;
        for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
                if (!call->was_tried && strcmp(call->method, harmless[i]) == 0)
                        return NULL;
        }
        return "the shim was restarted while the call was under way";
}

int shim_server_restore(struct shim_server *server, struct error *err)
{
        if (state_restore(server, err) < 0)
                return -1;
        return ttrpc_server_restore(server->ttrpc, err);
}

void shim_server_resume(struct shim_server *server)
{
        const struct ttrpc_restore how = {.refuse = refuse_call, .userdata = server};
        size_t n_dropped;

        state_resume(server);
        n_dropped = ttrpc_server_resume(server->ttrpc, &how);
        if (server->container)
                exec_streams_settle(server->container);
        server->upgrade.state = UPGRADE_NONE;
        if (n_dropped > 0)
                log_warning("%zu connections could not be kept", n_dropped);
}

void shim_server_hear(struct shim_server *server)
{
        ttrpc_server_hear(server->ttrpc);
        state_commit(server);
        lifetime_touch(server);
        if (server->rest.stopping)
                shim_server_stop(server, "it was, before the crash");
}

bool shim_server_was_upgraded(const struct shim_server *server)
{
        return server->was_upgraded;
}

bool shim_server_has_container(const struct shim_server *server)
{
        return server->container != NULL;
}

bool shim_server_had_container(const struct shim_server *server)
{
        return server->had_container;
}

bool shim_server_owns_children(const struct shim_server *server)
{
        const struct container *c = server->container;

        return !c || c->executor->ops->has_private_pid_namespace(c->impl);
}

int shim_server_listener(const struct shim_server *server)
{
        return server->listen_fd;
}

void shim_server_upgrade(struct shim_server *server)
{
        struct error err = ERROR_INIT;

        if (upgrade_begin(server, "", NULL, &err) < 0)
                log_error("upgrade: %s", err.msg);
}

int shim_server_adopt_consume(struct shim_server *server, int fd, struct error *err)
{
        return ttrpc_server_adopt_consume(server->ttrpc, fd, err);
}
