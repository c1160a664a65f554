/* SPDX-License-Identifier: Apache-2.0
 *
 * belay events: lines of JSON, as runc has them, until the container ends. OOM kills are counted by
 * the kernel, so none is missed between two looks; the last look is after the end.
 */
#include <containerd/task/v2/task.pb-c.h>
#include <containerd/v1/types/task.pb-c.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"

#include "cmd/belay/container.h"
#include "cmd/belay/duration.h"
#include "cmd/belay/metrics.h"
#include "cmd/belay/verbs.h"

#define INTERVAL_DEFAULT "5s"

struct events {
        const struct args *args;
        struct container *container;
        uint64_t interval_ns;
        uint64_t oom_kills; /* that were told, or were before */
        bool tick;
        bool ended;
};

int verb_events_check(const struct args *args, struct error *err)
{
        uint64_t interval;

        if (args->interval && duration_parse(args->interval, &interval, err) < 0)
                return error_prefix(err, "--interval");
        return 0;
}

/* Takes the line. Who reads must have it at once. */
static int print(char *line, struct error *err)
{
        int r = line ? puts(line) : 0;

        if (!line)
                return error_errno(err, ENOMEM, "events");
        free(line);
        if (r < 0 || fflush(stdout) != 0)
                return error_errno(err, errno, "write to standard output");
        return 0;
}

/* The kills since the last look, one line each. */
static int tell_kills(struct events *e, const struct metrics *metrics, struct error *err)
{
        struct metrics_summary summary;

        metrics_summarize(metrics, &summary);
        for (; e->oom_kills < summary.oom_kills; e->oom_kills++) {
                if (print(metrics_oom_event(e->args->id), err) < 0)
                        return -1;
        }
        return 0;
}

static int look(struct events *e, bool with_stats, struct error *err)
{
        _cleanup_(metrics_deinit) struct metrics metrics = {NULL};

        if (task_stats(e->container->task, e->args->id, &metrics, err) < 0 ||
            tell_kills(e, &metrics, err) < 0)
                return -1;
        return with_stats ? print(metrics_event(&metrics, e->args->id), err) : 0;
}

static void on_tick(struct loop_timer *timer, void *userdata)
{
        struct events *e = userdata;

        (void)timer;
        e->tick = true;
        loop_quit(e->container->loop);
}

/* Also when the shim is gone: it was deleted. */
static void on_end(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        struct events *e = userdata;

        (void)err;
        (void)response;
        e->ended = true;
        loop_quit(e->container->loop);
}

static int begin(struct events *e, struct loop_timer *timer, struct error *err)
{
        Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        _cleanup_(metrics_deinit) struct metrics metrics = {NULL};
        struct metrics_summary summary;

        if (task_stats(e->container->task, e->args->id, &metrics, err) < 0)
                return -1;
        metrics_summarize(&metrics, &summary);
        e->oom_kills = summary.oom_kills;
        if (!timer || loop_timer_set(timer, e->interval_ns) < 0)
                return error_errno(err, ENOMEM, "events");
        request.id = (char *)e->args->id;
        return task_send(e->container->task, "Wait", &request.base, on_end, e, err);
}

static int follow(struct events *e, struct loop_timer *timer, struct error *err)
{
        struct error gone = ERROR_INIT;
        int r = 0;

        while (r == 0 && !e->ended) {
                r = loop_run(e->container->loop, err);
                if (r < 0 || !e->tick)
                        continue;
                e->tick = false;
                r = look(e, true, &gone);
                /* It may end, and be deleted, between two calls. */
                if (r < 0 && !e->ended && task_await_close(e->container->task, 0))
                        e->ended = true;
                if (r < 0 && e->ended)
                        return 0;
                if (r < 0)
                        *err = gone;
                else if (loop_timer_set(timer, e->interval_ns) < 0)
                        r = error_errno(err, ENOMEM, "events");
        }
        if (r == 0)
                (void)look(e, false, &gone); /* its cgroup may be gone by now */
        return r;
}

int verb_events(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        _cleanup_(task_state_deinit) struct task_state state = {0};
        struct events e = {.args = args, .container = &c};
        struct loop_timer *timer;
        int r;

        *ret_status = 0;
        if (duration_parse(args->interval ? args->interval : INTERVAL_DEFAULT, &e.interval_ns,
                           err) < 0 ||
            container_open(&c, args, NULL, err) < 0 ||
            task_state(c.task, args->id, "", &state, err) < 0)
                return -1;
        if (state.status == CONTAINERD__V1__TYPES__STATUS__STOPPED)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "container with id %s is not running", args->id);
        if (args->stats) {
                e.oom_kills = UINT64_MAX; /* none is told */
                return look(&e, true, err);
        }
        timer = loop_timer_new(c.loop, on_tick, &e);
        r = begin(&e, timer, err);
        if (r == 0)
                r = follow(&e, timer, err);
        /* Wait's answer must not find what is on our stack. */
        if (!e.ended)
                task_disconnect(c.task);
        loop_timer_free(timer);
        return r;
}
