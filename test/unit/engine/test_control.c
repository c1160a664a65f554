/* SPDX-License-Identifier: Apache-2.0
 *
 * Pause, resume and update of a container by the engine, on this host's cgroups.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

static const struct box_config sleeper = {.args = "[\"/bin/sleep\",\"1000\"]"};

/* A file of the container's cgroup: of a v1 controller, or of v2 where that is all. */
static char *cgroup_text(const struct world *w, const char *controller, const char *v1_file,
                         const char *v2_file)
{
        char path[256];
        char *text = NULL;

        (void)snprintf(path, sizeof(path), "/sys/fs/cgroup/%s%s/%s", controller, w->cgroup,
                       v1_file);
        if (access(path, F_OK) < 0)
                (void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", w->cgroup, v2_file);
        assert_int_equal(file_read(AT_FDCWD, path, 256, &text, NULL), 0);
        text[strcspn(text, "\n")] = '\0';
        return text;
}

static bool is_frozen(const struct world *w)
{
        char *text = cgroup_text(w, "freezer", "freezer.state", "cgroup.freeze");
        bool frozen = strcmp(text, "FROZEN") == 0 || strcmp(text, "1") == 0;

        assert_true(frozen || strcmp(text, "THAWED") == 0 || strcmp(text, "0") == 0);
        free(text);
        return frozen;
}

static void on_done(const struct error *err, void *userdata)
{
        struct world *w = userdata;

        w->killed = (struct world_result){.has_come = true};
        if (err)
                w->killed.err = *err;
        loop_quit(w->loop);
}

typedef int (*verb_fn)(struct engine_container *c, engine_done_fn fn, void *userdata,
                       struct engine_job **ret, struct error *err);

static const char *try_verb(struct world *w, verb_fn verb)
{
        struct error err = ERROR_INIT;

        w->killed.has_come = false;
        assert_int_equal(verb(w->container, on_done, w, NULL, &err), 0);
        assert_false(w->killed.has_come);
        world_await(w, &w->killed.has_come);
        return w->killed.err.msg;
}

static const char *try_update(struct world *w, const char *json)
{
        _cleanup_free_ char *copy = strdup(json);
        struct error err = ERROR_INIT;

        w->killed.has_come = false;
        assert_int_equal(engine_update(w->container, copy, strlen(copy), on_done, w, NULL, &err),
                         0);
        memset(copy, '!', strlen(copy)); /* it is borrowed for the call only */
        world_await(w, &w->killed.has_come);
        return w->killed.err.msg;
}

static void run(struct world *w)
{
        world_create(w, &sleeper);
        world_start(w);
}

static void a_paused_container_is_frozen_until_it_is_resumed(void **state)
{
        struct world *w = *state;

        run(w);
        assert_string_equal(try_verb(w, engine_pause), "");
        assert_true(is_frozen(w));
        assert_string_equal(try_verb(w, engine_pause), "");
        assert_string_equal(try_verb(w, engine_resume), "");
        assert_false(is_frozen(w));
        assert_string_equal(try_verb(w, engine_resume), "");
}

static void an_aborted_pause_leaves_no_frozen_container(void **state)
{
        struct world *w = *state;

        run(w);
        for (int i = 0; i < 20; i++) {
                struct engine_job *job = NULL;
                struct error err = ERROR_INIT;

                w->killed.has_come = false;
                assert_int_equal(engine_pause(w->container, on_done, w, &job, &err), 0);
                if (i % 2)
                        usleep((useconds_t)(i * 100)); /* any moment of the stage's is right */
                engine_job_abort(job);
                world_await(w, &w->killed.has_come);
                assert_int_equal(w->killed.err.code, STATUS_CANCELED);
                assert_string_equal(w->killed.err.msg, "pause was cancelled");
                assert_false(is_frozen(w));
        }
        assert_string_equal(w->warning, "");
}

static void sigkill_and_a_thaw_end_a_paused_container(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;

        run(w);
        assert_string_equal(try_verb(w, engine_pause), "");
        assert_int_equal(engine_process_signal(w->init, SIGKILL, &err), 0);
        assert_int_equal(cgroup_thaw(engine_cgroup(w->container), 0, &err), 0);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
}

static void kill_all_ends_a_paused_container(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;

        run(w);
        assert_string_equal(try_verb(w, engine_pause), "");
        assert_int_equal(engine_kill_all(w->container, SIGKILL, on_done, w, &err), 0);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
        world_await(w, &w->killed.has_come);
}

static void a_paused_container_can_be_deleted_by_force(void **state)
{
        struct world *w = *state;

        run(w);
        assert_string_equal(try_verb(w, engine_pause), "");
        world_delete(w);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
        assert_false(world_has_cgroup(w));
}

static void a_paused_container_can_be_cleaned_up_without_its_engine(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;
        bool killed = false;
        pid_t pid = 0;

        run(w);
        assert_string_equal(try_verb(w, engine_pause), "");
        assert_int_equal(engine_cleanup(w->box.dir, "the-container", NULL, &pid, &killed, &err), 0);
        assert_true(killed);
        world_await(w, &w->init_exit.has_come);
}

static void an_update_changes_what_it_names(void **state)
{
        struct world *w = *state;
        char *text;

        run(w);
        assert_string_equal(try_update(w, "{\"pids\":{\"limit\":77}}"), "");
        text = cgroup_text(w, "pids", "pids.max", "pids.max");
        assert_string_equal(text, "77");
        free(text);
}

static void an_update_that_is_no_resources_is_refused(void **state)
{
        struct world *w = *state;

        run(w);
        assert_string_not_equal(try_update(w, "{"), "");
        assert_int_equal(w->killed.err.code, STATUS_INVALID_ARGUMENT);
        assert_string_not_equal(try_update(w, "{\"pids\":{\"limit\":\"many\"}}"), "");
        assert_int_equal(w->killed.err.code, STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(w->killed.err.msg, "pids.limit"));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_paused_container_is_frozen_until_it_is_resumed),
                CASE(an_aborted_pause_leaves_no_frozen_container),
                CASE(sigkill_and_a_thaw_end_a_paused_container),
                CASE(kill_all_ends_a_paused_container),
                CASE(a_paused_container_can_be_deleted_by_force),
                CASE(a_paused_container_can_be_cleaned_up_without_its_engine),
                CASE(an_update_changes_what_it_names),
                CASE(an_update_that_is_no_resources_is_refused),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
