/* SPDX-License-Identifier: Apache-2.0
 *
 * Creates whose stage has nothing left to do: the shim hears init itself, and must undo all when
 * that fails. The end of every test looks for what may have been left behind (world.h).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/engine/internal.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

#define HOOK(kind, text)                                                                      \
        "\"" kind "\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"" text "\"],\"env\":[" \
        "\"PATH=/bin:/usr/bin\"]}]"

/* Init's own hook, which no stage has a part in. */
static const struct box_config hanging = {
        .top = ",\"hooks\":{" HOOK("createContainer", "echo runs >hook; sleep 1000") "}",
};

/* Whose gate cannot be watched until its create has failed; NULL: all can. */
static const struct world *unwatchable;

/* In libc's place, for libevent: as when the user has too many watches, epoll_ctl(2). */
int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
        if (op == EPOLL_CTL_ADD && unwatchable && !unwatchable->created.has_come &&
            fd == unwatchable->job->container->gate) {
                errno = ENOSPC;
                return -1;
        }
        return (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

static void on_tick(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

/* Until the stage is gone, of which the engine tells nobody. */
static void await_end_of_stage(struct world *w)
{
        struct loop_timer *tick = loop_timer_new(w->loop, on_tick, w->loop);
        struct error err;

        assert_non_null(tick);
        while (w->job->watch) {
                assert_int_equal(loop_timer_set(tick, NSEC_PER_MSEC), 0);
                assert_int_equal(loop_run(w->loop, &err), 0);
        }
        loop_timer_free(tick);
}

static void begin_hanging(struct world *w)
{
        world_make_hook_fifo(w);
        world_begin_create(w, &hanging);
        world_await(w, &w->hook_runs);
        await_end_of_stage(w);
        assert_false(w->created.has_come);
        assert_true(world_has_cgroup(w));
}

static void a_create_is_called_off_when_the_stage_has_gone(void **state)
{
        struct world *w = *state;

        begin_hanging(w);
        engine_job_abort(w->job);
        engine_job_abort(w->job);
        assert_false(w->created.has_come);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_CANCELED);
        assert_false(world_has_cgroup(w));
}

static void an_init_that_dies_when_the_stage_has_gone_is_told(void **state)
{
        struct world *w = *state;

        begin_hanging(w);
        assert_int_equal(kill(w->job->container->init_pid, SIGKILL), 0);
        world_await(w, &w->created.has_come);
        assert_string_equal(w->created.err.msg,
                            "the container's process has ended during its set-up (signal 9)");
        assert_false(world_has_cgroup(w));
}

/* The stage's last message is read while it is reaped. */
static void a_gate_that_cannot_be_watched_fails_the_create_when_the_stage_has_ended(void **state)
{
        struct world *w = *state;
        siginfo_t info;

        world_begin_create(w, &hanging);
        unwatchable = w;
        assert_int_equal(waitid(P_PID, (id_t)w->job->stage_pid, &info, WEXITED | WNOWAIT), 0);
        world_await(w, &w->created.has_come);
        unwatchable = NULL;
        assert_int_equal(w->created.err.code, STATUS_RESOURCE_EXHAUSTED);
        assert_string_equal(w->created.err.msg, "create: no memory");
        assert_false(world_has_cgroup(w));
}

static void an_init_that_fails_when_the_stage_has_gone_says_why(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .top = ",\"hooks\":{" HOOK("createContainer", "exit 7") "}",
        };

        assert_string_equal(world_try_create(w, &c),
                            "createContainer hook '/bin/sh': exit status 7");
        assert_false(world_has_cgroup(w));
}

/* Binds are handed over by the stage, which is there until the last of them. */
static void a_container_with_binds_loses_its_stage_behind_the_last(void **state)
{
        struct world *w = *state;
        struct box_config c = hanging;

        c.mounts = "[{\"destination\":\"/one\",\"type\":\"bind\",\"source\":\"/bin\","
                   "\"options\":[\"bind\"]},"
                   "{\"destination\":\"/tmp\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
                   "{\"destination\":\"/tmp/two\",\"type\":\"bind\",\"source\":\"/bin\","
                   "\"options\":[\"rbind\",\"ro\"]}]";
        world_make_hook_fifo(w);
        world_begin_create(w, &c);
        world_await(w, &w->hook_runs);
        await_end_of_stage(w);
        engine_job_abort(w->job);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_CANCELED);
}

enum { BINDS = 40 };

static void add_mount(char **json, const char *destination, const char *type, const char *source,
                      const char *options)
{
        _cleanup_free_ char *before = *json;

        *json = str_printf("%s%c{\"destination\":\"%s\",\"type\":\"%s\",\"source\":\"%s\","
                           "\"options\":[%s]}",
                           before, strlen(before) > 1 ? ',' : ' ', destination, type, source,
                           options);
        assert_non_null(*json);
}

/* Directories (even) and files (odd) at /m/b<i>, among them a remount and a new mount. With `fail`
 * the third is a file for a directory's place. On the heap. */
static char *many_binds(const struct world *w, bool fail)
{
        _cleanup_free_ char *file = str_printf("%s/config.json", w->box.dir);
        _cleanup_free_ char *json = strdup("[");

        add_mount(&json, "/m", "tmpfs", "m", "");
        for (int i = 0; i < BINDS; i++) {
                char where[32];

                (void)snprintf(where, sizeof(where), "/m/b%d", i);
                if (i == 2 && fail)
                        add_mount(&json, "/m/b0", "bind", file, "\"bind\"");
                else
                        add_mount(&json, where, "bind", i % 2 ? file : w->box.dir, "\"rbind\"");
                if (i == 5)
                        add_mount(&json, "/m/b4", "bind", "", "\"bind\",\"remount\",\"noexec\"");
                if (i == 32)
                        add_mount(&json, "/m/b32", "tmpfs", "m", "");
        }
        return str_printf("%s]", json);
}

static void more_binds_than_are_handed_over_at_once_all_arrive(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *mounts = many_binds(w, false);
        const struct box_config c = {
                .mounts = mounts,
                .script = "i=0; while [ $i -lt 40 ]; do"
                          "  if [ $i = 32 ]; then [ -d /m/b32 ] && ! [ -e /m/b32/config.json ];"
                          "  elif [ $((i % 2)) = 0 ]; then [ -e /m/b$i/config.json ];"
                          "  else [ -f /m/b$i ]; fi || exit 1; i=$((i + 1)); done; exit 9",
        };

        assert_int_equal(world_run(w, &c), 9);
}

/* The stage may be about to hand over the next when the child fails with one of the first. */
static void a_bind_of_many_that_fails_says_why(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *mounts = many_binds(w, true);
        const struct box_config c = {.mounts = mounts};

        assert_non_null(strstr(world_try_create(w, &c), "is a directory"));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_create_is_called_off_when_the_stage_has_gone),
                CASE(an_init_that_dies_when_the_stage_has_gone_is_told),
                CASE(a_gate_that_cannot_be_watched_fails_the_create_when_the_stage_has_ended),
                CASE(an_init_that_fails_when_the_stage_has_gone_says_why),
                CASE(a_container_with_binds_loses_its_stage_behind_the_last),
                CASE(more_binds_than_are_handed_over_at_once_all_arrive),
                CASE(a_bind_of_many_that_fails_says_why),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
