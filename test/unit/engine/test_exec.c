/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes that are executed in a running container.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

static const struct box_config sleeping = {.args = "[\"/bin/sleep\",\"1000\"]"};

#define PROCESS(args, more)                                                                    \
        "{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"args\":" args \
                more "}"
#define SHELL(script) PROCESS("[\"sh\",\"-c\",\"" script "\"]", "")

static void run_container(struct world *w, const struct box_config *config)
{
        world_create(w, config);
        world_start(w);
}

static void exec_ok(struct world *w, const char *process_json)
{
        assert_string_equal(world_try_exec(w, process_json, false), "");
        world_await(w, &w->exec_exit.has_come);
        assert_true(w->exec_exit.order > w->execed.order);
}

static void a_process_runs_and_its_status_is_told(void **state)
{
        struct world *w = *state;
        char *out;

        run_container(w, &sleeping);
        exec_ok(w, SHELL("echo hello; exit 5"));
        assert_int_equal(world_exit_status(&w->exec_exit), 5);
        assert_int_equal(w->exec_exit.exit.pid, engine_process_pid(w->exec));
        out = world_output(w);
        assert_string_equal(out, "hello\n");
        free(out);
        assert_false(w->init_exit.has_come);
}

static void a_short_process_is_told_after_it_was_announced(void **state)
{
        struct world *w = *state;

        run_container(w, &sleeping);
        for (int i = 0; i < 30; i++) {
                exec_ok(w, PROCESS("[\"/bin/true\"]", ""));
                assert_int_equal(world_exit_status(&w->exec_exit), 0);
                world_free_exec(w);
        }
}

static void it_is_in_the_namespaces_and_cgroup_of_the_container(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .namespaces = "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},"
                              "{\"type\":\"uts\"},{\"type\":\"network\"},{\"type\":\"cgroup\"}]",
        };
        char *out;
        char *half;

        run_container(w, &c);
        exec_ok(w, SHELL("for n in pid mnt ipc uts net cgroup; do "
                         "[ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || "
                         "exit 1; done"));
        assert_int_equal(world_exit_status(&w->exec_exit), 0);
        world_free_exec(w);
        exec_ok(w, SHELL("cat /proc/self/cgroup; cat /proc/1/cgroup"));
        out = world_output(w);
        half = out + strlen(out) / 2;
        assert_int_equal(strncmp(out, half, strlen(half)), 0);
        assert_null(strstr(out, "belay-test")); /* the cgroup namespace hides it */
        free(out);
}

static void a_missing_program_is_told_with_the_words_that_clients_look_for(void **state)
{
        struct world *w = *state;

        run_container(w, &sleeping);
        assert_non_null(strstr(world_try_exec(w, PROCESS("[\"nope\"]", ""), false),
                               "exec: \"nope\": executable file not found in $PATH"));
        assert_non_null(strstr(world_try_exec(w, "{\"args\":1}", false), "process."));
        assert_int_equal(w->execed.err.code, STATUS_INVALID_ARGUMENT);
        exec_ok(w, PROCESS("[\"true\"]", ""));
}

static void it_has_the_capabilities_of_the_container_and_not_the_shims(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .process = ",\"capabilities\":{\"bounding\":[\"CAP_CHOWN\"],"
                           "\"effective\":[\"CAP_CHOWN\"],\"permitted\":[\"CAP_CHOWN\"]}",
        };
        char *out;

        run_container(w, &c);
        exec_ok(w, SHELL("grep -E '^Cap(Eff|Bnd|Inh)' /proc/self/status"));
        out = world_output(w);
        assert_string_equal(out, "CapInh:\t0000000000000000\nCapEff:\t0000000000000001\n"
                                 "CapBnd:\t0000000000000001\n");
        free(out);
}

static void it_is_under_the_seccomp_filter_of_the_container(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .linux_ = ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
                          "{\"names\":[\"mkdir\",\"mkdirat\"],\"action\":\"SCMP_ACT_ERRNO\","
                          "\"errnoRet\":38}]}",
        };
        char *out;

        run_container(w, &c);
        exec_ok(w, SHELL("mkdir /tmp/x"));
        assert_int_equal(world_exit_status(&w->exec_exit), 1);
        out = world_output(w);
        assert_non_null(strstr(out, "Function not implemented"));
        free(out);
        world_free_exec(w);
        exec_ok(w, PROCESS("[\"mkdir\",\"/tmp/x\"]", ",\"noNewPrivileges\":true"));
        assert_int_equal(world_exit_status(&w->exec_exit), 1);
}

/* Before it has begun to execute its program an end is a failure, with its cause. */
static void a_process_that_dies_during_its_set_up_is_told_with_the_signal(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .process = ",\"noNewPrivileges\":true", /* init's filter comes last */
                .linux_ = ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
                          "{\"names\":[\"setresgid\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"}]}",
        };

        run_container(w, &c);
        assert_string_equal(world_try_exec(w, SHELL("true"), false),
                            "the container's process has ended during its set-up (signal 31)");
        assert_false(w->init_exit.has_come);
}

/* Nothing but the stage knows of the process, or it is hung up anywhere on its way. */
static void an_exec_is_called_off_at_any_time(void **state)
{
        struct world *w = *state;
        struct engine_exec args = {
                .exec_id = "e1",
                .process_json = PROCESS("[\"/bin/sleep\",\"1000\"]", ""),
                .stdio = w->stdio,
        };
        size_t n = 0;

        args.process_json_len = strlen(args.process_json);
        run_container(w, &sleeping);
        for (int i = 0; i < 20; i++) {
                world_begin_exec(w, &args);
                if (i % 2 == 1)
                        usleep((useconds_t)i * 200); /* somewhere in the middle of it */
                engine_job_abort(w->job);
                engine_job_abort(w->job);
                assert_false(w->execed.has_come);
                world_await(w, &w->execed.has_come);
                assert_int_equal(w->execed.err.code, STATUS_CANCELED);
                assert_string_equal(w->execed.err.msg, "exec was cancelled");
                assert_null(w->exec);
        }
        assert_false(w->init_exit.has_come);
        /* None of them lives on; one that the engine had not heard of ends by its gate, soon. */
        for (int i = 0; i < 5000 && n != 1; i++) {
                struct error err = ERROR_INIT;
                pid_t *pids = NULL;

                assert_int_equal(cgroup_pids(engine_cgroup(w->container), &pids, &n, &err), 0);
                free(pids);
                usleep(1000);
        }
        assert_int_equal(n, 1);
        exec_ok(w, SHELL("true"));
}

static void limits_are_its_own(void **state)
{
        struct world *w = *state;
        char *out;

        run_container(w, &sleeping);
        exec_ok(w, PROCESS("[\"sh\",\"-c\",\"ulimit -n\"]",
                           ",\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":77,\"soft\":77}]"));
        out = world_output(w);
        assert_string_equal(out, "77\n");
        free(out);
}

static void a_terminal_is_handed_over(void **state)
{
        struct world *w = *state;
        char buf[64];
        ssize_t n;

        run_container(w, &sleeping);
        assert_string_equal(world_try_exec(w, SHELL("tty"), true), "");
        assert_true(w->terminal >= 0);
        n = read(w->terminal, buf, sizeof(buf) - 1);
        assert_true(n > 0);
        buf[n] = '\0';
        assert_non_null(strstr(buf, "/dev/pts/"));
        world_await(w, &w->exec_exit.has_come);
}

static void it_ends_with_the_container(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;

        run_container(w, &sleeping);
        assert_string_equal(world_try_exec(w, PROCESS("[\"sleep\",\"1000\"]", ""), false), "");
        assert_int_equal(engine_process_signal(w->init, SIGKILL, &err), 0);
        world_await(w, &w->init_exit.has_come);
        world_await(w, &w->exec_exit.has_come);
        assert_int_equal(world_exit_status(&w->exec_exit), 137);
        assert_string_equal(world_try_exec(w, SHELL("true"), false),
                            "exec: the container's init has ended");
        assert_int_equal(w->execed.err.code, STATUS_FAILED_PRECONDITION);
}

static void an_exec_that_races_with_the_end_is_one_or_the_other(void **state)
{
        struct world *w = *state;

        for (int i = 0; i < 15; i++) {
                const char *msg;

                run_container(w, &sleeping);
                assert_int_equal(kill(engine_process_pid(w->init), SIGKILL), 0);
                msg = world_try_exec(w, PROCESS("[\"/bin/sleep\",\"1000\"]", ""), false);
                if (!*msg)
                        world_await(w, &w->exec_exit.has_come);
                else if (w->execed.err.code != STATUS_FAILED_PRECONDITION &&
                         !strstr(msg, "has ended"))
                        fail_msg("%s", msg);
                world_free_exec(w);
                world_await(w, &w->init_exit.has_come);
                world_delete(w);
        }
}

static void a_user_namespace_is_joined(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .namespaces = "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"user\"},"
                              "{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"network\"}]",
                .linux_ = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}],"
                          "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}]",
        };
        char *out;

        box_host(&w->box, "chmod 755 . && chown -R 100000:100000 rootfs");
        run_container(w, &c);
        exec_ok(w, SHELL("id -u; readlink /proc/self/ns/user; readlink /proc/1/ns/user"));
        assert_int_equal(world_exit_status(&w->exec_exit), 0);
        out = world_output(w);
        assert_int_equal(strncmp(out, "0\n", 2), 0);
        {
                char *first = out + 2;
                char *second = strchr(first, '\n') + 1;

                assert_int_equal(strncmp(first, second, (size_t)(second - first)), 0);
        }
        free(out);
}

static void a_container_without_a_mount_namespace_takes_none(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .namespaces = "[{\"type\":\"pid\"}]",
                .mounts = "[]",
        };

        if (*world_try_create(w, &c))
                return; /* the plan may refuse such a container altogether */
        world_start(w);
        assert_true(*world_try_exec(w, SHELL("true"), false));
        assert_int_equal(w->execed.err.code, STATUS_UNIMPLEMENTED);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_process_runs_and_its_status_is_told),
                CASE(a_short_process_is_told_after_it_was_announced),
                CASE(it_is_in_the_namespaces_and_cgroup_of_the_container),
                CASE(a_missing_program_is_told_with_the_words_that_clients_look_for),
                CASE(it_has_the_capabilities_of_the_container_and_not_the_shims),
                CASE(it_is_under_the_seccomp_filter_of_the_container),
                CASE(a_process_that_dies_during_its_set_up_is_told_with_the_signal),
                CASE(an_exec_is_called_off_at_any_time),
                CASE(limits_are_its_own),
                CASE(a_terminal_is_handed_over),
                CASE(it_ends_with_the_container),
                CASE(an_exec_that_races_with_the_end_is_one_or_the_other),
                CASE(a_user_namespace_is_joined),
                CASE(a_container_without_a_mount_namespace_takes_none),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
