/* SPDX-License-Identifier: Apache-2.0
 *
 * Creates that fail, are called off, or lose their stage or their shim. The end of every test looks
 * for what may have been left behind (world.h).
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/state.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

#define HOOK(kind, path, text)                                                        \
        "\"" kind "\":[{\"path\":\"" path "\",\"args\":[\"sh\",\"-c\",\"" text "\"]," \
        "\"env\":[\"PATH=/bin:/usr/bin\"]}]"

static void a_missing_program_fails_create_with_the_words_that_clients_look_for(void **state)
{
        struct world *w = *state;
        const struct box_config no_such = {.args = "[\"nope\"]"};
        const struct box_config no_path = {.args = "[\"/bin/nope\"]"};

        assert_non_null(strstr(world_try_create(w, &no_such),
                               "exec: \"nope\": executable file not found in $PATH"));
        assert_non_null(strstr(world_try_create(w, &no_path), "no such file or directory"));
        assert_false(world_has_cgroup(w));
        assert_false(world_has_state(w));
}

static void a_bundle_without_configuration_is_told(void **state)
{
        struct world *w = *state;
        struct engine_create args = {.id = "c", .bundle = "/nonexistent", .stdio = w->stdio};
        struct error err = ERROR_INIT;

        args.id = "../x";
        assert_int_equal(engine_create(w->engine, &args, NULL, NULL, &w->job, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        args.id = "c";
        args.bundle = "relative";
        assert_int_equal(engine_create(w->engine, &args, NULL, NULL, &w->job, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
}

static void a_bad_configuration_names_the_property(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.user = "{\"uid\":-1,\"gid\":0}"};
        const char *msg = world_try_create(w, &c);

        assert_non_null(strstr(msg, "config.json: process.user.uid"));
        assert_int_equal(w->created.err.code, STATUS_INVALID_ARGUMENT);
}

static void a_mount_that_fails_is_named_and_the_rootfs_unmounted(void **state)
{
        struct world *w = *state;
        static const char *const options[] = {"rbind"};
        struct engine_mount m = {.type = "bind", .options = options, .n_options = 1};
        char *source = str_printf("%s/image", w->box.dir);
        const struct box_config c = {
                .mounts = "[{\"destination\":\"/mnt\",\"type\":\"nosuchfs\",\"source\":\"x\"}]"};
        const char *msg;

        box_host(&w->box, "mv rootfs image");
        m.source = source;
        w->mounts = &m;
        w->n_mounts = 1;
        msg = world_try_create(w, &c);
        if (!strstr(msg, "nosuchfs"))
                fail_msg("%s", msg);
        assert_false(world_has_mount(w));
        assert_int_equal(access(w->box.rootfs, F_OK), -1); /* Create had made it */
        m.source = "/no/such/image";
        msg = world_try_create(w, NULL);
        assert_non_null(strstr(msg, "rootfs: mount '/no/such/image' (bind) on"));
        free(source);
}

static void a_failing_hook_undoes_all_and_runs_poststop(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .top = ",\"hooks\":{" HOOK("createRuntime", "/bin/sh",
                                           "echo no network; exit 1") "," HOOK("poststop",
                                                                               "/bin/sh",
                                                                               "cat >stopped") "}",
        };
        char *text;

        assert_string_equal(world_try_create(w, &c),
                            "createRuntime hook '/bin/sh': exit status 1: no network");
        text = world_file(w, "stopped");
        assert_non_null(strstr(text, "\"status\":\"stopped\""));
        free(text);
}

static void poststop_does_not_run_where_no_hook_of_create_has(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"nope\"]",
                .top = ",\"hooks\":{" HOOK("poststop", "/bin/sh", "cat >stopped") "}",
        };
        char *path = str_printf("%s/stopped", w->box.dir);

        assert_true(*world_try_create(w, &c));
        assert_int_equal(access(path, F_OK), -1);
        free(path);
}

static void a_failing_createcontainer_hook_fails_create(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .top = ",\"hooks\":{" HOOK("createContainer", "/bin/sh", "exit 2") "}",
        };

        assert_string_equal(world_try_create(w, &c),
                            "createContainer hook '/bin/sh': exit status 2");
}

/* ---- called off ---- */

static const struct box_config hanging = {
        .top = ",\"hooks\":{" HOOK(
                "createRuntime", "/bin/sh",
                "echo runs >hook; sleep 1000 & sleep 1000") "," HOOK("poststop", "/bin/sh",
                                                                     "cat >stopped") "}",
};

static void a_create_is_called_off_while_a_hook_hangs(void **state)
{
        struct world *w = *state;
        char *text;

        world_make_hook_fifo(w);
        world_begin_create(w, &hanging);
        world_await(w, &w->hook_runs);
        engine_job_abort(w->job);
        assert_false(w->created.has_come);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_CANCELED);
        text = world_file(w, "stopped"); /* the hook had run, so its counterpart has, too */
        free(text);
}

static void a_create_is_called_off_at_once(void **state)
{
        struct world *w = *state;

        for (int i = 0; i < 20; i++) {
                world_begin_create(w, NULL);
                if (i % 2 == 1)
                        usleep((useconds_t)i * 200); /* somewhere in the middle of it */
                engine_job_abort(w->job);
                engine_job_abort(w->job);
                world_await(w, &w->created.has_come);
                assert_int_equal(w->created.err.code, STATUS_CANCELED);
                assert_false(world_has_cgroup(w));
        }
}

static void a_start_is_called_off_while_a_poststart_hook_hangs(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .script = "exit 3",
                .top = ",\"hooks\":{" HOOK("poststart", "/bin/sh",
                                           "echo runs >hook; sleep 1000 & sleep 1000") "}",
        };

        world_make_hook_fifo(w);
        world_create(w, &c);
        world_begin_start(w);
        world_await(w, &w->hook_runs);
        world_await(w, &w->init_exit.has_come); /* is not held up by the hook */
        assert_int_equal(world_exit_status(&w->init_exit), 3);
        assert_false(w->started.has_come);
        engine_job_abort(w->job);
        engine_job_abort(w->job);
        world_await(w, &w->started.has_come);
        assert_int_equal(w->started.err.code, STATUS_CANCELED);
        world_delete(w);
}

static void a_start_is_called_off_while_a_start_container_hook_hangs(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .script = "exit 3",
                .top = ",\"hooks\":{" HOOK("startContainer", "/bin/sh", "sleep 1000") "}",
        };

        world_create(w, &c);
        world_begin_start(w);
        engine_job_abort(w->job);
        world_await(w, &w->started.has_come);
        assert_int_equal(w->started.err.code, STATUS_CANCELED);
        assert_string_equal(w->started.err.msg, "start was cancelled");
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
        world_delete(w);
}

static void a_stage_that_dies_is_undone(void **state)
{
        struct world *w = *state;
        char *text;

        world_make_hook_fifo(w);
        world_begin_create(w, &hanging);
        world_await(w, &w->hook_runs);
        assert_int_equal(kill(w->job->stage_pid, SIGKILL), 0);
        world_await(w, &w->created.has_come);
        assert_string_equal(w->created.err.msg, "belay:create: the stage ended with signal 9");
        assert_int_equal(w->created.err.code, STATUS_INTERNAL);
        text = world_file(w, "stopped");
        free(text);
}

static void an_init_that_dies_during_its_set_up_is_told(void **state)
{
        struct world *w = *state;

        world_make_hook_fifo(w);
        world_begin_create(w, &hanging);
        world_await(w, &w->hook_runs);
        assert_int_equal(kill(w->job->container->init_pid, SIGKILL), 0);
        assert_int_equal(kill(-w->job->hook_group, SIGKILL), 0);
        world_await(w, &w->created.has_come);
        assert_string_equal(w->created.err.msg, "createRuntime hook '/bin/sh': killed by signal 9");
}

/* ---- without a shim ---- */

enum { UNTIL_CREATED, UNTIL_STARTED, UNTIL_HOOK };

/* A process that does what a shim does, says so, and then is killed. */
static void lose_shim(struct world *w, const struct box_config *config, int until)
{
        int pipe_fds[2];
        pid_t shim;
        char c;

        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        shim = fork();
        assert_true(shim >= 0);
        if (shim == 0) {
                struct error err = ERROR_INIT;
                struct world own = *w;

                if (loop_new(&own.loop, &err) < 0 || reaper_new(&own.reaper, own.loop, &err) < 0 ||
                    engine_new(&own.engine, own.loop, own.reaper, &err) < 0)
                        _exit(1);
                if (until == UNTIL_HOOK) {
                        world_make_hook_fifo(&own);
                        world_begin_create(&own, config);
                        world_await(&own, &own.hook_runs);
                } else {
                        world_create(&own, config);
                        if (until == UNTIL_STARTED)
                                world_start(&own);
                }
                (void)!write(pipe_fds[1], "x", 1);
                for (;;)
                        (void)pause();
        }
        close(pipe_fds[1]);
        assert_int_equal(read(pipe_fds[0], &c, 1), 1);
        close(pipe_fds[0]);
        assert_int_equal(kill(shim, SIGKILL), 0);
        assert_int_equal(waitpid(shim, NULL, 0), shim);
}

static void cleanup_kills_a_container_that_has_outlived_its_shim(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .top = ",\"hooks\":{" HOOK("poststop", "/bin/sh", "cat >stopped") "}",
        };
        struct error err = ERROR_INIT;
        bool killed = false;
        pid_t pid = 0;
        char *text;

        lose_shim(w, &c, UNTIL_STARTED);
        assert_true(world_has_cgroup(w));
        assert_int_equal(engine_cleanup(w->box.dir, "another", NULL, &pid, &killed, &err), -1);
        assert_int_equal(err.code, STATUS_FAILED_PRECONDITION);
        assert_true(world_has_cgroup(w));
        assert_int_equal(engine_cleanup(w->box.dir, "the-container", NULL, &pid, &killed, &err), 0);
        assert_true(killed);
        assert_true(pid > 0);
        assert_false(world_has_cgroup(w));
        assert_false(world_has_state(w));
        text = world_file(w, "stopped");
        free(text);
        assert_int_equal(engine_cleanup(w->box.dir, "the-container", NULL, &pid, &killed, &err), 0);
        assert_false(killed);
        assert_int_equal(pid, 0);
}

struct warnings {
        struct error items[4];
        size_t n;
};

static void on_warning(const struct error *warning, void *userdata)
{
        struct warnings *w = userdata;

        assert_true(w->n < UNIT_COUNT(w->items));
        w->items[w->n++] = *warning;
}

static void cleanup_ends_hooks_that_take_too_long_and_says_which(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .top = ",\"hooks\":{\"poststop\":["
                       "{\"path\":\"/bin/sleep\",\"args\":[\"sleep\",\"1000\"],\"timeout\":100},"
                       "{\"path\":\"/bin/true\"}]}",
        };
        struct warnings warnings = {.n = 0};
        struct engine_cleanup_limits limits = {
                .on_warning = on_warning,
                .userdata = &warnings,
        };
        struct error err = ERROR_INIT;
        bool killed = false;
        pid_t pid = 0;

        lose_shim(w, &c, UNTIL_STARTED);
        limits.deadline_ns = clock_monotonic_ns() + 100 * NSEC_PER_SEC;
        limits.hooks_deadline_ns = clock_monotonic_ns() + 2 * NSEC_PER_SEC;
        assert_int_equal(engine_cleanup(w->box.dir, "the-container", &limits, &pid, &killed, &err),
                         0);
        assert_true(killed);
        assert_false(world_has_cgroup(w));
        assert_false(world_has_state(w));
        assert_int_equal(warnings.n, 2);
        assert_string_equal(warnings.items[0].msg,
                            "poststop hook '/bin/sleep': was ended when time was up");
        assert_string_equal(warnings.items[1].msg,
                            "poststop hook '/bin/true': was not run, since time was up");
}

static void an_init_at_the_gate_ends_with_its_shim(void **state)
{
        struct world *w = *state;
        struct arena *arena = arena_new(1 << 20);
        int bundle = open(w->box.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct engine_state s;
        struct error err = ERROR_INIT;
        siginfo_t info;
        bool killed = false;
        pid_t pid = 0;

        lose_shim(w, NULL, UNTIL_CREATED);
        assert_int_equal(engine_state_read(bundle, arena, &s, &err), 1);
        /* It is an orphan of ours now, and ends by itself. */
        assert_int_equal(waitid(P_PID, (id_t)s.pid, &info, WEXITED | WNOWAIT), 0);
        arena_free(arena);
        close(bundle);
        assert_int_equal(engine_cleanup(w->box.dir, "the-container", NULL, &pid, &killed, &err), 0);
        assert_int_equal(pid, info.si_pid);
        assert_false(killed);
        assert_false(world_has_cgroup(w));
}

static void cleanup_removes_what_a_lost_create_has_left(void **state)
{
        struct world *w = *state;
        static const char *const options[] = {"rbind"};
        struct engine_mount m = {.type = "bind", .options = options, .n_options = 1};
        char *source = str_printf("%s/image", w->box.dir);
        /* Of a hook only the leader dies with its stage, so it has no children here. */
        const struct box_config c = {
                .top = ",\"hooks\":{" HOOK("prestart", "/bin/sh",
                                           "echo runs >hook; exec sleep 1000") "}",
        };
        struct error err = ERROR_INIT;
        bool killed;
        pid_t pid;

        box_host(&w->box, "mv rootfs image");
        m.source = source;
        w->mounts = &m;
        w->n_mounts = 1;
        lose_shim(w, &c, UNTIL_HOOK);
        assert_true(world_has_mount(w));
        assert_int_equal(engine_cleanup(w->box.dir, "the-container", NULL, &pid, &killed, &err), 0);
        assert_false(world_has_cgroup(w));
        assert_false(world_has_mount(w));
        free(source);
        w->mounts = NULL;
        w->n_mounts = 0;
}

static void cleanup_of_nothing_is_fine(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;
        bool killed = true;
        pid_t pid = 1;

        assert_int_equal(engine_cleanup(w->box.dir, "c", NULL, &pid, &killed, &err), 0);
        assert_int_equal(pid, 0);
        assert_false(killed);
        assert_int_equal(engine_cleanup("/no/such/bundle", "c", NULL, &pid, &killed, &err), 0);
}

/* By a runtime that was killed. */
static struct cgroup make_cgroup(const struct world *w, struct arena *arena)
{
        struct cgroup_layout layout;
        struct error err = ERROR_INIT;
        struct cgroup cg;

        assert_int_equal(cgroup_layout_read(arena, &layout, &err), 0);
        assert_int_equal(cgroup_plan(&layout, w->cgroup, "c", arena, &cg, &err), 0);
        assert_int_equal(cgroup_create(&cg, &err), 0);
        assert_true(world_has_cgroup(w));
        return cg;
}

struct noted {
        struct loop *loop;
        bool done;
        struct error err;
};

static void on_noted(const struct error *err, void *userdata)
{
        struct noted *noted = userdata;

        noted->done = true;
        if (err)
                noted->err = *err;
        loop_quit(noted->loop);
}

static void take_note(struct world *w)
{
        struct noted noted = {.loop = w->loop, .err = ERROR_INIT};
        struct error err = ERROR_INIT;

        assert_int_equal(
                engine_foreign_note(w->engine, w->box.dir, w->box.dir, on_noted, &noted, &err), 0);
        world_await(w, &noted.done);
        assert_string_equal(noted.err.msg, "");
}

static void a_cgroup_that_another_runtime_was_going_to_make_is_removed_if_it_is_empty(void **state)
{
        struct world *w = *state;
        struct arena *arena = arena_new(1 << 20);
        struct error err = ERROR_INIT;
        struct cgroup cg;

        (void)world_try_create(w, &(struct box_config){.args = "[\"nope\"]"});
        take_note(w);
        (void)make_cgroup(w, arena);
        assert_int_equal(engine_foreign_cleanup(w->box.dir, 0, &err), 0);
        assert_false(world_has_cgroup(w));
        assert_int_equal(engine_foreign_cleanup(w->box.dir, 0, &err), 0);
        /* A configuration that the engine refuses may be the other's all the same. */
        box_host(&w->box, "sed -i 's/\"ociVersion\" *: *\"[^\"]*\"/\"ociVersion\":\"9.9.9\"/' "
                          "config.json; grep -q 9.9.9 config.json");
        take_note(w);
        (void)make_cgroup(w, arena);
        assert_int_equal(engine_foreign_cleanup(w->box.dir, 0, &err), 0);
        assert_false(world_has_cgroup(w));
        /* It has been made, and the runtime takes care of it. */
        take_note(w);
        cg = make_cgroup(w, arena);
        engine_foreign_forget(w->box.dir);
        assert_int_equal(engine_foreign_cleanup(w->box.dir, 0, &err), 0);
        assert_true(world_has_cgroup(w));
        /* It was there before. */
        take_note(w);
        assert_int_equal(engine_foreign_cleanup(w->box.dir, 0, &err), 0);
        assert_true(world_has_cgroup(w));
        assert_int_equal(cgroup_remove(&cg, 0, &err), 0);
        /* Without a configuration nobody knows of it. */
        box_host(&w->box, "rm config.json");
        take_note(w);
        cg = make_cgroup(w, arena);
        assert_int_equal(engine_foreign_cleanup(w->box.dir, 0, &err), 0);
        assert_true(world_has_cgroup(w));
        assert_int_equal(cgroup_remove(&cg, 0, &err), 0);
        arena_free(arena);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_missing_program_fails_create_with_the_words_that_clients_look_for),
                CASE(a_bundle_without_configuration_is_told),
                CASE(a_bad_configuration_names_the_property),
                CASE(a_mount_that_fails_is_named_and_the_rootfs_unmounted),
                CASE(a_failing_hook_undoes_all_and_runs_poststop),
                CASE(poststop_does_not_run_where_no_hook_of_create_has),
                CASE(a_failing_createcontainer_hook_fails_create),
                CASE(a_create_is_called_off_while_a_hook_hangs),
                CASE(a_create_is_called_off_at_once),
                CASE(a_start_is_called_off_while_a_poststart_hook_hangs),
                CASE(a_start_is_called_off_while_a_start_container_hook_hangs),
                CASE(a_stage_that_dies_is_undone),
                CASE(an_init_that_dies_during_its_set_up_is_told),
                CASE(cleanup_kills_a_container_that_has_outlived_its_shim),
                CASE(cleanup_ends_hooks_that_take_too_long_and_says_which),
                CASE(an_init_at_the_gate_ends_with_its_shim),
                CASE(cleanup_removes_what_a_lost_create_has_left),
                CASE(cleanup_of_nothing_is_fine),
                CASE(a_cgroup_that_another_runtime_was_going_to_make_is_removed_if_it_is_empty),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
