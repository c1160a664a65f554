/* SPDX-License-Identifier: Apache-2.0
 *
 * Containers with systemd_cgroup, with a helper that only notes what it was asked for: the cgroup
 * is then the engine's own work, and the requests are in the bundle.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

/* answer: a shell command that is run for a start. */
static void use_helper(struct world *w, const char *answer)
{
        FILE *f;

        (void)snprintf(w->helper, sizeof(w->helper), "%s/helper", w->box.dir);
        f = fopen(w->helper, "we");
        assert_non_null(f);
        (void)fprintf(f,
                      "#!/bin/sh\nPATH=/usr/bin:/bin\nread verb unit\n"
                      "{ echo \"$verb $unit\"; cat; } >>%s/requests\n"
                      "[ ! -e %s/refuse ] || { echo error refused; exit 1; }\n"
                      "[ ! -e %s/hang ] || exec sleep 1000\n"
                      "[ ! -p %s/hook ] || { echo >%s/hook; exec sleep 1000; }\n"
                      "[ \"$verb\" = start ] || { echo ok; exit; }\n%s\n",
                      w->box.dir, w->box.dir, w->box.dir, w->box.dir, w->box.dir, answer);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(w->helper, 0755), 0);
        engine_set_systemd_helper(w->engine, w->helper);
        w->systemd_cgroup = true;
        (void)snprintf(w->cgroup, sizeof(w->cgroup), "-.slice:belay-unit:%d", (int)getpid());
        (void)snprintf(w->scope, sizeof(w->scope), "/belay-unit-%d.scope", (int)getpid());
}

static void use_working_helper(struct world *w)
{
        char answer[128];

        (void)snprintf(answer, sizeof(answer), "echo ok /belay-unit-%d.scope", (int)getpid());
        use_helper(w, answer);
}

static char *requests(struct world *w)
{
        _cleanup_free_ char *path = str_printf("%s/requests", w->box.dir);
        char *text = NULL;

        assert_non_null(path);
        if (file_read(AT_FDCWD, path, 1 << 20, &text, NULL) < 0)
                return strdup("");
        return text;
}

static void assert_asked(struct world *w, const char *want)
{
        _cleanup_free_ char *text = requests(w);

        if (!strstr(text, want))
                fail_msg("'%s' was not asked for:\n%s", want, text);
}

static const struct box_config limits = {
        .linux_ = ",\"resources\":{\"pids\":{\"limit\":1}}",
};

static void a_container_is_started_with_a_scope_and_ends_with_it(void **state)
{
        struct world *w = *state;
        char line[64];

        use_working_helper(w);
        world_create(w, NULL);
        (void)snprintf(line, sizeof(line), "start belay-unit-%d.scope\n", (int)getpid());
        assert_asked(w, line);
        assert_asked(w, "s Slice -.slice\n");
        world_start(w);
        world_await(w, &w->init_exit.has_come);
        world_delete(w);
        (void)snprintf(line, sizeof(line), "stop belay-unit-%d.scope\n", (int)getpid());
        assert_asked(w, line);
}

static void the_keeper_has_gone_when_the_container_is_there(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *text = NULL;
        const char *pids;

        use_working_helper(w);
        world_create(w, NULL);
        text = requests(w);
        pids = strstr(text, "au PIDs ");
        assert_non_null(pids);
        assert_int_equal(kill((pid_t)strtol(pids + 8, NULL, 10), 0), -1);
        assert_int_equal(errno, ESRCH);
        world_delete(w);
}

static void a_limit_of_one_task_is_set_when_the_keeper_has_gone(void **state)
{
        struct world *w = *state;

        use_working_helper(w);
        world_create(w, &limits);
        assert_asked(w, "t TasksMax 2\n");
        assert_asked(w, ".scope\nt TasksMax 1\n");
        world_delete(w);
}

static void a_refusal_of_systemd_is_told_and_leaves_nothing(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *text = NULL;

        use_helper(w, "echo error no such thing; exit 1");
        assert_string_equal(world_try_create(w, NULL), "systemd: no such thing");
        text = requests(w);
        assert_null(strstr(text, "stop ")); /* it is not ours */
}

static void a_unit_that_is_there_already_is_told_as_such(void **state)
{
        struct world *w = *state;

        use_helper(w, "echo exists unit x; exit 1");
        assert_string_equal(world_try_create(w, NULL), "systemd: unit x");
        assert_int_equal(w->created.err.code, STATUS_ALREADY_EXISTS);
}

static void a_helper_that_dies_is_told(void **state)
{
        struct world *w = *state;

        use_helper(w, "kill -9 $$");
        assert_non_null(strstr(world_try_create(w, NULL), "without an answer"));
}

static void a_scope_that_is_elsewhere_is_refused_and_stopped(void **state)
{
        struct world *w = *state;

        use_helper(w, "echo ok /elsewhere/x.scope");
        assert_non_null(strstr(world_try_create(w, NULL), "in cgroup '/elsewhere/x.scope'"));
        assert_int_equal(w->created.err.code, STATUS_FAILED_PRECONDITION);
        assert_asked(w, "stop ");
}

static void a_failure_later_stops_the_unit(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .linux_ =
                        ",\"resources\":{\"hugepageLimits\":[{\"pageSize\":\"3MB\",\"limit\":1}]}"};

        use_working_helper(w);
        assert_string_not_equal(world_try_create(w, &c), "");
        assert_asked(w, "stop ");
}

static void without_the_helper_the_error_says_what_is_missing(void **state)
{
        struct world *w = *state;

        use_working_helper(w);
        assert_int_equal(unlink(w->helper), 0);
        assert_non_null(strstr(world_try_create(w, NULL), "needs belay-systemd beside the shim"));
        assert_int_equal(w->created.err.code, STATUS_FAILED_PRECONDITION);
        engine_set_systemd_helper(w->engine, NULL);
        assert_non_null(strstr(world_try_create(w, NULL), "needs belay-systemd beside the shim"));
}

static void an_update_goes_to_systemd_too(void **state)
{
        struct world *w = *state;
        const char json[] = "{\"pids\":{\"limit\":9}}";
        struct error err = ERROR_INIT;

        use_working_helper(w);
        world_create(w, &limits);
        world_update(w, json, &err);
        assert_string_equal(err.msg, "");
        assert_asked(w, "t TasksMax 9\n");
        world_delete(w);
}

/* Of either version; on the heap. */
static char *pids_max(const struct world *w)
{
        _cleanup_free_ char *v1 = str_printf("/sys/fs/cgroup/pids%s/pids.max", w->scope);
        _cleanup_free_ char *v2 = str_printf("/sys/fs/cgroup%s/pids.max", w->scope);
        char *text = NULL;

        if (file_read(AT_FDCWD, v1, 64, &text, NULL) < 0)
                assert_int_equal(file_read(AT_FDCWD, v2, 64, &text, NULL), 0);
        return text;
}

static void put_empty(const char *path)
{
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(close(fd), 0);
}

static void limits_that_systemd_refuses_are_set_back(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *refuse = str_printf("%s/refuse", w->box.dir);
        _cleanup_free_ char *before = NULL;
        _cleanup_free_ char *after = NULL;
        struct error err = ERROR_INIT;

        use_working_helper(w);
        world_create(w, NULL);
        before = pids_max(w);
        put_empty(refuse);
        world_update(w, "{\"pids\":{\"limit\":9}}", &err);
        assert_string_equal(err.msg, "systemd: refused");
        after = pids_max(w);
        assert_string_equal(after, before);
        assert_int_equal(unlink(refuse), 0);
        world_delete(w);
}

static void a_systemd_that_hangs_does_not_keep_a_clean_up_from_the_rest(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *hang = str_printf("%s/hang", w->box.dir);
        struct engine_cleanup_limits until = {.deadline_ns = 0};
        struct error err = ERROR_INIT;
        bool killed = false;
        pid_t pid = 0;

        use_working_helper(w);
        world_create(w, NULL);
        put_empty(hang);
        until.deadline_ns = clock_monotonic_ns() + NSEC_PER_SEC;
        assert_int_equal(engine_cleanup(w->box.dir, "the-container", &until, &pid, &killed, &err),
                         -1);
        assert_non_null(strstr(err.msg, "systemd: the answer of"));
        assert_true(killed);
        assert_false(world_has_cgroup(w));
        assert_int_equal(unlink(hang), 0);
        world_await(w, &w->init_exit.has_come);
        world_delete(w);
}

static void on_updated(const struct error *err, void *userdata)
{
        struct world *w = userdata;

        w->updated.has_come = true;
        w->updated.err = err ? *err : ERROR_INIT;
        loop_quit(w->loop);
}

/* Of v1's freezer, which alone is used to stop a container meanwhile; false: it is not there. */
static bool freezer_state(const struct world *w, char state[16])
{
        _cleanup_free_ char *path = str_printf("/sys/fs/cgroup/freezer%s/freezer.state", w->scope);
        _cleanup_free_ char *text = NULL;

        if (access(path, F_OK) < 0)
                return false;
        assert_int_equal(file_read(AT_FDCWD, path, 64, &text, NULL), 0);
        (void)snprintf(state, 16, "%.*s", (int)strcspn(text, "\n"), text);
        return true;
}

/* systemd does not answer while the container is stopped, and the update is killed there. */
static void kill_an_update_of_devices(struct world *w, const char *state_after)
{
        static const char json[] = "{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
                                   "{\"allow\":true,\"type\":\"c\",\"major\":10,"
                                   "\"minor\":200,\"access\":\"rwm\"}]}";
        _cleanup_free_ char *fifo = str_printf("%s/hook", w->box.dir);
        struct engine_job *job = NULL;
        struct error err = ERROR_INIT;
        char frozen[16];

        world_make_hook_fifo(w);
        assert_int_equal(engine_update(w->container, json, strlen(json), on_updated, w, &job, &err),
                         0);
        world_await(w, &w->hook_runs);
        if (freezer_state(w, frozen))
                assert_string_equal(frozen, "FROZEN");
        engine_job_abort(job);
        world_await(w, &w->updated.has_come);
        assert_int_equal(w->updated.err.code, STATUS_CANCELED);
        if (freezer_state(w, frozen))
                assert_string_equal(frozen, state_after);
        assert_int_equal(unlink(fifo), 0);
}

static void an_update_that_is_killed_leaves_no_stopped_container(void **state)
{
        struct world *w = *state;

        use_working_helper(w);
        world_create(w, NULL);
        kill_an_update_of_devices(w, "THAWED");
        world_start(w);
        world_await(w, &w->init_exit.has_come);
        world_delete(w);
}

static void an_update_that_is_killed_leaves_a_paused_container_paused(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;

        use_working_helper(w);
        world_create(w, NULL);
        assert_int_equal(cgroup_freeze(engine_cgroup(w->container), 2000, &err), 0);
        kill_an_update_of_devices(w, "FROZEN");
        world_delete(w);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_container_is_started_with_a_scope_and_ends_with_it),
                CASE(the_keeper_has_gone_when_the_container_is_there),
                CASE(a_limit_of_one_task_is_set_when_the_keeper_has_gone),
                CASE(a_refusal_of_systemd_is_told_and_leaves_nothing),
                CASE(a_unit_that_is_there_already_is_told_as_such),
                CASE(a_helper_that_dies_is_told),
                CASE(a_scope_that_is_elsewhere_is_refused_and_stopped),
                CASE(a_failure_later_stops_the_unit),
                CASE(without_the_helper_the_error_says_what_is_missing),
                CASE(an_update_goes_to_systemd_too),
                CASE(limits_that_systemd_refuses_are_set_back),
                CASE(a_systemd_that_hangs_does_not_keep_a_clean_up_from_the_rest),
                CASE(an_update_that_is_killed_leaves_no_stopped_container),
                CASE(an_update_that_is_killed_leaves_a_paused_container_paused),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
