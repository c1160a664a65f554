/* SPDX-License-Identifier: Apache-2.0
 *
 * Creates whose stage has nothing left to do: the shim hears init itself, and must undo all when
 * that fails. The end of every test looks for what may have been left behind (world.h).
 */
#include <signal.h>

#include "pkg/base/clock.h"
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

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_create_is_called_off_when_the_stage_has_gone),
                CASE(an_init_that_dies_when_the_stage_has_gone_is_told),
                CASE(an_init_that_fails_when_the_stage_has_gone_says_why),
                CASE(a_container_with_binds_loses_its_stage_behind_the_last),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
