/* SPDX-License-Identifier: Apache-2.0
 *
 * Hooks, with shell scripts: exact environment, state on stdin, and every way to fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/engine/hooks.h"

#include "test/unit/unit.h"

enum { BUDGET = 1 << 20, TEST_LIMIT_S = 60 };

struct fixture {
        char dir[32];
        char *argv[4];
        char *envp[2];
        struct oci_hook hook;
        struct hook_context context;
        pid_t groups[4]; /* as told */
        size_t n_groups;
};

static void on_group(pid_t group, void *userdata)
{
        struct fixture *f = userdata;

        assert_true(f->n_groups < UNIT_COUNT(f->groups));
        f->groups[f->n_groups++] = group;
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        memcpy(f->dir, "/tmp/belay-hooks-XXXXXX", sizeof("/tmp/belay-hooks-XXXXXX"));
        assert_non_null(mkdtemp(f->dir));
        f->argv[0] = (char *)"the-hook";
        f->argv[1] = (char *)"-c";
        f->envp[0] = (char *)"ONLY=this one";
        f->hook = (struct oci_hook){
                .path = (char *)"/bin/sh",
                .args = {.items = f->argv, .n = 3},
                .has_env = true,
                .env = {.items = f->envp, .n = 1},
        };
        f->context = (struct hook_context){
                .kind = "createRuntime",
                .state_json = "{}",
                .cwd = f->dir,
                .on_group = on_group,
                .userdata = f,
        };
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        char *path = str_printf("%s/out", f->dir);

        (void)unlink(path);
        free(path);
        (void)rmdir(f->dir);
        free(f);
        (void)alarm(0);
        return 0;
}

static int run_script(struct fixture *f, const char *script, struct error *err)
{
        f->argv[2] = (char *)script;
        return hook_run(&f->hook, &f->context, err);
}

static char *read_out(struct fixture *f)
{
        char *text = NULL;
        int dir = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(file_read(dir, "out", 65536, &text, NULL), 0);
        close(dir);
        return text;
}

static void a_hook_gets_the_state_on_its_stdin_and_runs_in_the_bundle(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        char *text;

        f->context.state_json = "{\"id\":\"x\"}";
        assert_int_equal(run_script(f, "cat >out; pwd >>out", &err), 0);
        text = read_out(f);
        assert_int_equal(strncmp(text, "{\"id\":\"x\"}/tmp/belay-hooks-", 27), 0);
        free(text);
        assert_int_equal(f->n_groups, 2);
        assert_true(f->groups[0] > 0);
        assert_int_equal(f->groups[1], 0);
}

static void a_hook_has_its_own_environment_and_no_other(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        char *text;

        assert_int_equal(setenv("LEAK", "1", 1), 0);
        assert_int_equal(run_script(f, "tr '\\0' '\\n' </proc/self/environ >out", &err), 0);
        text = read_out(f);
        assert_null(strstr(text, "LEAK"));
        assert_non_null(strstr(text, "ONLY=this one\n"));
        free(text);
}

static void a_hook_without_an_environment_gets_the_one_of_its_kind(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        char *const env[] = {(char *)"KIND=1", NULL};
        char *text;

        f->hook.has_env = false;
        f->context.default_env = env;
        assert_int_equal(run_script(f, "tr '\\0' '\\n' </proc/self/environ >out", &err), 0);
        text = read_out(f);
        assert_non_null(strstr(text, "KIND=1\n"));
        assert_null(strstr(text, "ONLY"));
        free(text);
        /* `"env": []` does say it */
        f->hook.has_env = true;
        f->envp[0] = NULL;
        f->hook.env.n = 0;
        assert_int_equal(run_script(f, "tr '\\0' '\\n' </proc/self/environ >out", &err), 0);
        text = read_out(f);
        assert_null(strstr(text, "KIND"));
        free(text);
}

static void no_descriptor_leaks_into_a_hook(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        char *text;

        assert_int_equal(run_script(f, "ls /proc/self/fd | tr '\\n' ' ' >out", &err), 0);
        text = read_out(f);
        assert_string_equal(text, "0 1 2 3 "); /* 3: ls reads the directory */
        free(text);
}

static void a_failure_tells_path_status_and_the_last_words(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(run_script(f, "echo first; echo cannot do >&2; exit 3", &err), -1);
        assert_string_equal(err.msg,
                            "createRuntime hook '/bin/sh': exit status 3: first cannot do");
}

static void only_the_end_of_much_output_is_told(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(run_script(f, "seq 1 50000; echo the end; exit 1", &err), -1);
        assert_non_null(strstr(err.msg, "49999 50000 the end"));
        assert_true(strlen(err.msg) < 300);
}

static void a_death_by_signal_is_told(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(run_script(f, "kill -9 $$", &err), -1);
        assert_string_equal(err.msg, "createRuntime hook '/bin/sh': killed by signal 9");
}

static void a_missing_program_is_told(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        f->hook.path = (char *)"/no/such/hook";
        assert_int_equal(run_script(f, "", &err), -1);
        assert_string_equal(err.msg, "createRuntime hook '/no/such/hook': cannot execute: No such "
                                     "file or directory");
}

static void a_hook_without_a_timeout_ends_with_the_callers_deadline(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        uint64_t before = clock_monotonic_ns();

        f->context.deadline_ns = before + 200 * NSEC_PER_MSEC;
        assert_int_equal(run_script(f, "echo hanging; sleep 1000 & wait", &err), -1);
        assert_string_equal(err.msg,
                            "createRuntime hook '/bin/sh': has no timeout of its own and was "
                            "ended when time was up: hanging");
        assert_true(clock_monotonic_ns() - before >= 200 * NSEC_PER_MSEC);
        err = ERROR_INIT;
        f->context.deadline_ns = before; /* is over, but not for a hook with a timeout */
        f->hook.has_timeout = true;
        f->hook.timeout_s = 100;
        assert_int_equal(run_script(f, "exit 0", &err), 0);
}

static void no_hook_outlasts_the_final_deadline(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        f->hook.has_timeout = true;
        f->hook.timeout_s = 100;
        f->context.final_ns = clock_monotonic_ns() + 200 * NSEC_PER_MSEC;
        assert_int_equal(run_script(f, "echo hanging; sleep 1000 & wait", &err), -1);
        assert_string_equal(err.msg,
                            "createRuntime hook '/bin/sh': was ended when time was up: hanging");
        assert_int_equal(run_script(f, "exit 0", &err), -1);
        assert_int_equal(err.code, STATUS_DEADLINE_EXCEEDED);
        assert_string_equal(err.msg,
                            "createRuntime hook '/bin/sh': was not run, since time was up");
        f->context.final_ns = clock_monotonic_ns() + 100 * NSEC_PER_SEC;
        f->hook.timeout_s = 1;
        assert_int_equal(run_script(f, "sleep 1000 & wait", &err), -1);
        assert_string_equal(err.msg, "createRuntime hook '/bin/sh': timed out after 1 s");
}

static void a_timeout_ends_the_hook_and_its_children(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        uint64_t before = clock_monotonic_ns();

        f->hook.has_timeout = true;
        f->hook.timeout_s = 1;
        assert_int_equal(run_script(f, "echo hanging; sleep 1000 & wait", &err), -1);
        assert_string_equal(err.msg, "createRuntime hook '/bin/sh': timed out after 1 s: hanging");
        assert_true(clock_monotonic_ns() - before < 20 * NSEC_PER_SEC);
        /* The sleep is an orphan of ours, since we are a subreaper, and dead. */
        assert_true(waitpid(-1, NULL, 0) > 0);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
}

static void a_daemon_left_behind_does_not_hold_the_hook_up(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        uint64_t before = clock_monotonic_ns();

        assert_int_equal(run_script(f, "sleep 1000 & exit 0", &err), 0);
        assert_true(clock_monotonic_ns() - before < 20 * NSEC_PER_SEC);
        assert_int_equal(kill(-f->groups[0], SIGKILL), 0);
        assert_true(waitpid(-1, NULL, 0) > 0);
}

static void the_first_failure_ends_the_list(void **state)
{
        struct fixture *f = *state;
        struct oci_hook hooks[2] = {f->hook, f->hook};
        char *bad[] = {(char *)"sh", (char *)"-c", (char *)"echo ran >>out; exit 1", NULL};
        struct oci_hook_list list = {.items = hooks, .n = 2};
        struct error err = ERROR_INIT;
        char *text;

        hooks[0].args.items = bad;
        hooks[1].args.items = bad;
        assert_int_equal(hooks_run(&list, &f->context, &err), -1);
        text = read_out(f);
        assert_string_equal(text, "ran\n");
        free(text);
}

static void the_state_is_json_whatever_the_annotations_hold(void **state)
{
        const struct oci_key_value annotations[] = {
                {(char *)"a\"b", (char *)"line\nback\\slash\x01\x7f"},
                {(char *)"uml\xc3\xa4ut", (char *)""},
        };
        const struct hook_state s = {
                .oci_version = "1.2.0",
                .id = "c1",
                .status = "creating",
                .pid = 42,
                .bundle = "/run/b",
                .annotations = annotations,
                .n_annotations = 2,
        };
        struct arena *arena = arena_new(BUDGET);
        struct error err = ERROR_INIT;
        struct json_object *o;
        struct json_object *child;
        struct json_object *value;
        char *json;

        assert_int_equal(hook_state_format(&s, arena, &json, &err), 0);
        o = json_tokener_parse(json);
        assert_non_null(o);
        assert_true(json_object_object_get_ex(o, "pid", &child));
        assert_int_equal(json_object_get_int(child), 42);
        assert_true(json_object_object_get_ex(o, "status", &child));
        assert_string_equal(json_object_get_string(child), "creating");
        assert_true(json_object_object_get_ex(o, "annotations", &child));
        assert_true(json_object_object_get_ex(child, annotations[0].key, &value));
        assert_string_equal(json_object_get_string(value), annotations[0].value);
        assert_true(json_object_object_get_ex(child, annotations[1].key, &value));
        (void)json_object_put(o);
        arena_free(arena);
}

static void a_stopped_container_has_no_pid(void **state)
{
        const struct hook_state s = {
                .oci_version = "1.2.0", .id = "c1", .status = "stopped", .bundle = "/b"};
        struct arena *arena = arena_new(BUDGET);
        struct error err = ERROR_INIT;
        char *json;

        assert_int_equal(hook_state_format(&s, arena, &json, &err), 0);
        assert_string_equal(json, "{\"ociVersion\":\"1.2.0\",\"id\":\"c1\",\"status\":\"stopped\","
                                  "\"bundle\":\"/b\"}");
        arena_free(arena);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_hook_gets_the_state_on_its_stdin_and_runs_in_the_bundle),
                CASE(a_hook_has_its_own_environment_and_no_other),
                CASE(a_hook_without_an_environment_gets_the_one_of_its_kind),
                CASE(no_descriptor_leaks_into_a_hook),
                CASE(a_failure_tells_path_status_and_the_last_words),
                CASE(only_the_end_of_much_output_is_told),
                CASE(a_death_by_signal_is_told),
                CASE(a_missing_program_is_told),
                CASE(a_timeout_ends_the_hook_and_its_children),
                CASE(a_hook_without_a_timeout_ends_with_the_callers_deadline),
                CASE(no_hook_outlasts_the_final_deadline),
                CASE(a_daemon_left_behind_does_not_hold_the_hook_up),
                CASE(the_first_failure_ends_the_list),
                cmocka_unit_test(the_state_is_json_whatever_the_annotations_hold),
                cmocka_unit_test(a_stopped_container_has_no_pid),
        };

        /* What whoever runs the test has left open is none of the hook's business. */
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ||
            close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
