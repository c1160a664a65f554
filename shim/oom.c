/* SPDX-License-Identifier: Apache-2.0
 *
 * OOM kills: see oom.h. The kernel counts them, but does not say whom it has killed. So a kill is
 * free to be claimed by the next of our processes that SIGKILL has ended; it is nobody's after some
 * time, since it was then that of a child of theirs.
 */
#include "shim/oom.h"

#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/oom.h"

#include "shim/container.h"
#include "shim/log.h"
#include "shim/server_impl.h"
#include "shim/state.h"

struct oom {
        struct container *container;
        bool has_begun;
        struct cgroup_oom *watch; /* NULL: at rest */
        struct loop_io *io;
        struct loop_timer *timer; /* until it has begun: to begin; then for the next look */

        uint64_t rest_until_ns; /* no look before, unless something depends on it */

        struct cgroup_oom_past past; /* of now */

        unsigned long n_unlogged; /* kills */
        unsigned long n_left_out; /* events, not in the log yet either */
        uint64_t logged_ns;       /* 0: never */

        unsigned long n_free; /* kills that nobody has claimed */
        uint64_t seen_ns;     /* when the last of them was seen */
        enum cgroup_oom_level level;
        unsigned n_up;
};

/* A process that is killed takes its time to end: much memory, or a device that it waits for. */
static const uint64_t claim_ns = 10 * NSEC_PER_SEC;

/* Between two lines in the log about kills. */
#define LOG_PAUSE_NS NSEC_PER_SEC

/* From Create to the watch, if no Start comes. One that comes soon finds the shim free. */
#define BEGIN_NS (10 * NSEC_PER_MSEC)

uint64_t oom_rest_ns(uint64_t look_ns)
{
        static const uint64_t share = 32;
        static const uint64_t longest_ns = LIMIT_OOM_REST_MS * NSEC_PER_MSEC;

        return look_ns < longest_ns / share ? look_ns * share : longest_ns;
}

static void rest(struct oom *oom)
{
        struct shim_server *server = oom->container->server;

        oom->has_begun = true;
        oom->io = loop_io_free(oom->io);
        oom->timer = loop_timer_free(oom->timer);
        if (!oom->watch)
                return;
        /* Nobody waits at the shim's own end; whoever waits for an exit or a Delete would. */
        fd_close(server->retired_fd);
        server->retired_fd = cgroup_oom_retire(TAKE_PTR(oom->watch));
}

/* While containerd is away a container that runs out of memory all the time must not push exits out
 * of the queue. */
static unsigned long events_room(const struct oom *oom)
{
        size_t queued = publisher_n_queued(oom->container->server->publisher);
        size_t room = queued < LIMIT_OOM_BACKLOG ? LIMIT_OOM_BACKLOG - queued : 0;

        return room < LIMIT_OOM_EVENTS ? room : LIMIT_OOM_EVENTS;
}

/* What has happened since the last time. */
static void write_log(struct oom *oom)
{
        if (oom->n_unlogged > 0)
                log_info("out of memory: %lu killed, limit of: %s (%u up)", oom->n_unlogged,
                         cgroup_oom_level_name(oom->level), oom->n_up);
        if (oom->n_left_out > 0)
                log_warning("%lu events of OOM kills are left out", oom->n_left_out);
        oom->n_unlogged = 0;
        oom->n_left_out = 0;
        oom->logged_ns = clock_monotonic_ns();
}

static void tell(struct oom *oom, const struct cgroup_oom_news *news)
{
        struct container *c = oom->container;
        unsigned long n = events_room(oom);

        if (n > news->n_kills)
                n = news->n_kills;
        state_commit_late(c->server); /* it comes before the events are sent */
        oom->n_unlogged += news->n_kills;
        oom->n_left_out += news->n_kills - n;
        while (n-- > 0)
                publisher_publish_take(c->server->publisher, task_event_oom(c->id));
        oom->past.n_told += news->n_kills;
        oom->n_free += news->n_kills;
        oom->seen_ns = clock_monotonic_ns();
        oom->level = news->level;
        oom->n_up = news->n_up;
        if (oom->logged_ns == 0 || oom->seen_ns - oom->logged_ns > LOG_PAUSE_NS)
                write_log(oom);
}

static void look(struct oom *oom, bool last)
{
        struct cgroup_oom_news news;
        uint64_t begin = clock_monotonic_ns();
        uint64_t now;

        if (!oom->watch)
                return;
        cgroup_oom_read(oom->watch, last, &news);
        now = clock_monotonic_ns();
        oom->rest_until_ns = now + oom_rest_ns(now - begin);
        if (news.n_kills > 0)
                tell(oom, &news);
        if (last || news.is_over) {
                write_log(oom);
                rest(oom);
        }
        if (oom->watch && news.look_again_ms > 0)
                (void)loop_timer_set(oom->timer, news.look_again_ms * NSEC_PER_MSEC);
}

static void want(const struct oom *oom, int what)
{
        if (oom->io)
                (void)loop_io_want(oom->io, what);
}

/* A container that makes and removes cgroups, or runs out of memory all the time, has news without
 * end: then it is looked at from time to time. */
static void look_in_time(struct oom *oom)
{
        uint64_t now = clock_monotonic_ns();

        if (now < oom->rest_until_ns) {
                if (loop_timer_set(oom->timer, oom->rest_until_ns - now) == 0)
                        want(oom, 0);
                return;
        }
        look(oom, false);
        want(oom, LOOP_READ);
}

static void on_readable(struct loop_io *io, int fd, int what, void *userdata)
{
        (void)io;
        (void)fd;
        (void)what;
        look_in_time(userdata);
}

/* ---- Its life ---- */

static int watch(struct oom *oom, const struct cgroup *cg, struct error *err)
{
        struct loop *loop = oom->container->server->loop;

        if (cgroup_oom_resume(cg, &oom->past, &oom->watch, err) < 0)
                return -1;
        if (!oom->past.knows_before)
                state_commit_late(oom->container->server);
        oom->past.knows_before = true;
        oom->past.n_before = cgroup_oom_n_before(oom->watch);
        if (cgroup_oom_is_blind(oom->watch))
                log_info("OOM kills are looked for every %d ms: there is no %s left",
                         LIMIT_OOM_BLIND_MS,
                         cgroup_oom_fd(oom->watch) < 0
                                 ? "epoll"
                                 : "inotify instance (fs.inotify.max_user_instances)");
        if (cgroup_oom_fd(oom->watch) < 0)
                return 0;
        oom->io = loop_io_new(loop, cgroup_oom_fd(oom->watch), LOOP_PRIORITY_RPC, on_readable, oom);
        if (!oom->io || loop_io_want(oom->io, LOOP_READ) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch for OOM kills: no memory");
        return 0;
}

static void begin(struct oom *oom)
{
        struct container *c = oom->container;
        struct error err = ERROR_INIT;

        loop_timer_clear(oom->timer);
        oom->has_begun = true;
        if (watch(oom, c->executor->ops->cgroup(c->impl), &err) < 0) {
                log_write(err.code == STATUS_NOT_FOUND ? LOG_DEBUG : LOG_WARNING, NULL,
                          "OOM kills are not seen: %s", err.msg);
                c->oom = oom_free(oom);
                return;
        }
        look(oom, false);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        struct oom *oom = userdata;

        (void)timer;
        if (oom->has_begun)
                look_in_time(oom);
        else
                begin(oom);
}

void oom_start(struct container *c)
{
        struct oom *oom = c->executor->ops->cgroup(c->impl) ? calloc(1, sizeof(*oom)) : NULL;

        if (!oom)
                return;
        oom->container = c;
        oom->timer = loop_timer_new(c->server->loop, on_timer, oom);
        if (!oom->timer || loop_timer_set(oom->timer, BEGIN_NS) < 0) {
                log_warning("OOM kills are not seen: no memory");
                loop_timer_free(oom->timer);
                free(oom);
                return;
        }
        c->oom = oom;
}

void oom_resume(struct container *c, const struct cgroup_oom_past *past)
{
        oom_start(c);
        if (c->oom)
                c->oom->past = *past;
}

struct cgroup_oom_past oom_past(const struct container *c)
{
        bool goes_on = c->oom && (c->oom->watch || !c->oom->has_begun);

        return goes_on ? c->oom->past : (struct cgroup_oom_past){.n_told = 0};
}

void oom_start_now(struct container *c)
{
        if (c->oom && !c->oom->has_begun)
                begin(c->oom);
}

void oom_stop(struct container *c)
{
        oom_start_now(c);
        if (c->oom)
                look(c->oom, true);
}

struct oom *oom_free(struct oom *oom)
{
        if (oom)
                rest(oom);
        free(oom);
        return NULL;
}

/* ---- Whose they are ---- */

void oom_claim(struct container *c, struct process_exit *exit)
{
        struct oom *oom;

        oom_start_now(c);
        oom = c->oom;
        if (!oom)
                return;
        look(oom, false);
        if (oom->n_free == 0 || clock_monotonic_ns() - oom->seen_ns > claim_ns)
                return;
        oom->n_free--;
        exit->oom_killed = true;
        exit->oom_level = oom->level;
        exit->oom_up = oom->n_up;
}

void oom_disclaim(struct container *c)
{
        oom_start_now(c);
        if (!c->oom)
                return;
        look(c->oom, false);
        c->oom->n_free = 0;
}
