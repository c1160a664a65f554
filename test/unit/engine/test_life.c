/* SPDX-License-Identifier: Apache-2.0
 *
 * A container's life as the shim sees it: create, start, signals, delete, and the order in which it
 * is told about.
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

static void a_container_runs_and_its_status_is_told(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "echo out; echo err >&2; exit 7"};
        char *out;

        assert_int_equal(world_run(w, &c), 7);
        assert_int_equal(w->init_exit.exit.pid, engine_process_pid(w->init));
        assert_true(w->init_exit.exit.at.tv_sec > 0);
        out = world_output(w);
        assert_string_equal(out, "out\nerr\n");
        free(out);
        assert_true(world_has_cgroup(w));
        world_delete(w);
        assert_false(world_has_cgroup(w));
}

static void nothing_of_the_program_runs_before_start(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "echo ran"};
        char *out;

        world_create(w, &c);
        assert_true(engine_process_pid(w->init) > 0);
        assert_int_equal(kill(engine_process_pid(w->init), 0), 0);
        out = world_output(w);
        assert_string_equal(out, "");
        free(out);
        assert_true(world_has_state(w));
        assert_true(engine_has_private_pid_namespace(w->container));
}

static void an_exit_is_told_after_start_however_soon_it_comes(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.args = "[\"/bin/true\"]"};

        for (int i = 0; i < 20; i++) {
                assert_int_equal(world_run(w, &c), 0);
                world_delete(w);
        }
}

static void a_second_start_is_refused(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.args = "[\"/bin/sleep\",\"1000\"]"};

        world_create(w, &c);
        world_start(w);
        assert_string_equal(world_try_start(w), "start: the container has been started already");
        assert_int_equal(w->started.err.code, STATUS_FAILED_PRECONDITION);
}

static void a_signal_reaches_the_program(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "trap 'exit 3' USR1; "
                                               "echo ready; while true; do sleep 0.01; done"};
        struct error err = ERROR_INIT;

        world_create(w, &c);
        world_start(w);
        for (;;) { /* the trap is set when the text is there */
                char *out = world_output(w);
                bool is_ready = strcmp(out, "ready\n") == 0;

                free(out);
                if (is_ready)
                        break;
                usleep(1000);
        }
        assert_int_equal(engine_process_signal(w->init, SIGUSR1, &err), 0);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 3);
        assert_int_equal(engine_process_signal(w->init, SIGKILL, &err), -1);
        assert_int_equal(err.code, STATUS_NOT_FOUND);
        assert_string_equal(err.msg, "process already finished");
}

static void an_unknown_signal_is_refused(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;

        world_create(w, NULL);
        assert_int_equal(engine_process_signal(w->init, 99, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(engine_process_signal(w->init, 0, &err), 0);
}

static void a_created_container_ends_at_sigkill(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;

        world_create(w, NULL);
        assert_int_equal(engine_process_signal(w->init, SIGKILL, &err), 0);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
        assert_string_equal(world_try_start(w), "start: the container's init has ended");
}

static void a_created_container_ends_at_sigterm(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;

        world_create(w, NULL);
        assert_int_equal(engine_process_signal(w->init, SIGTERM, &err), 0);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 143);
}

static void deleting_a_created_container_tells_its_exit_first(void **state)
{
        struct world *w = *state;

        world_create(w, NULL);
        world_delete(w);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
        assert_true(w->init_exit.order < w->deleted.order);
}

static void deleting_a_running_container_kills_all_of_it(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .script = "sleep 1000 & sleep 1000 & exec sleep 1000",
                .namespaces = "[{\"type\":\"mount\"}]",
        };

        world_create(w, &c);
        assert_false(engine_has_private_pid_namespace(w->container));
        world_start(w);
        world_delete(w);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
}

static void an_init_that_is_killed_during_start_is_a_failure_or_an_exit(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.args = "[\"/bin/sleep\",\"1000\"]"};

        for (int i = 0; i < 10; i++) {
                const char *msg;

                world_create(w, &c);
                assert_int_equal(kill(engine_process_pid(w->init), SIGKILL), 0);
                msg = world_try_start(w);
                if (*msg && !strstr(msg, "has ended"))
                        fail_msg("%s", msg);
                world_await(w, &w->init_exit.has_come);
                assert_int_equal(world_exit_status(&w->init_exit), 137);
                world_delete(w);
        }
}

static void a_process_may_be_forgotten_while_it_lives(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.args = "[\"/bin/sleep\",\"1000\"]"};

        world_create(w, &c);
        world_start(w);
        w->init = engine_process_free(w->init);
        assert_string_equal(world_try_exec(w, "{}", false), "exec: the container's init has ended");
        world_delete(w);
}

/* ---- pids and kill ---- */

static void on_killed(const struct error *err, void *userdata)
{
        struct world *w = userdata;

        w->killed.has_come = true;
        if (err)
                w->killed.err = *err;
        loop_quit(w->loop);
}

static void all_processes_are_listed_and_killed(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .script = "sleep 1000 & sleep 1000 & exec sleep 1000",
                .namespaces = "[{\"type\":\"mount\"}]",
        };
        struct error err = ERROR_INIT;
        size_t n = 0;

        world_create(w, &c);
        world_start(w);
        while (n != 3) { /* the shell forks at its own pace */
                pid_t *pids = NULL;

                assert_int_equal(cgroup_pids(engine_cgroup(w->container), &pids, &n, &err), 0);
                free(pids);
        }
        assert_non_null(engine_cgroup(w->container));
        assert_int_equal(engine_kill_all(w->container, SIGKILL, on_killed, w, &err), 0);
        assert_false(w->killed.has_come);
        world_await(w, &w->killed.has_come);
        assert_string_equal(w->killed.err.msg, "");
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
}

static void all_processes_get_another_signal_in_one_pass(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .namespaces = "[{\"type\":\"mount\"}]",
        };
        struct error err = ERROR_INIT;

        world_create(w, &c);
        world_start(w);
        assert_int_equal(engine_kill_all(w->container, SIGTERM, on_killed, w, &err), 0);
        world_await(w, &w->killed.has_come);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 143);
}

static void an_ended_container_has_no_pids(void **state)
{
        struct world *w = *state;
        struct error err = ERROR_INIT;
        pid_t *pids = NULL;
        size_t n = 99;

        assert_int_equal(world_run(w, NULL), 0);
        assert_int_equal(cgroup_pids(engine_cgroup(w->container), &pids, &n, &err), 0);
        assert_int_equal(n, 0);
        free(pids);
}

/* ---- what is inside ---- */

static void no_descriptor_of_the_shim_reaches_the_container(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "ls /proc/self/fd | tr -d '\\n'"};
        char *out;

        box_host(&w->box, "ln -s busybox rootfs/bin/tr");
        assert_int_equal(world_run(w, &c), 0);
        out = world_output(w);
        assert_string_equal(out, "0123"); /* 3: ls reads the directory */
        free(out);
}

static void signals_are_as_a_new_process_expects_them(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/grep\",\"-E\",\"^Sig(Blk|Ign|Cgt)\",\"/proc/self/status\"]"};
        char *out;

        assert_int_equal(world_run(w, &c), 0);
        out = world_output(w);
        assert_string_equal(out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
                                 "SigCgt:\t0000000000000000\n");
        free(out);
}

static void the_processes_are_in_the_cgroup_of_the_configuration(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "cat /proc/self/cgroup"};
        char *out;
        char *line;
        char *save = NULL;
        size_t n = 0;

        assert_int_equal(world_run(w, &c), 0);
        out = world_output(w);
        for (line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (strcmp(strrchr(line, ':') + 1, w->cgroup) == 0)
                        n++;
        }
        assert_true(n >= 1);
        free(out);
}

static void a_terminal_is_handed_over(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "tty; echo hello", .terminal = true};
        char buf[256];
        size_t used = 0;

        world_create(w, &c);
        assert_true(w->terminal >= 0);
        world_start(w);
        while (used < sizeof(buf) - 1) {
                ssize_t n = read(w->terminal, buf + used, sizeof(buf) - 1 - used);

                if (n <= 0)
                        break; /* EIO: the last slave is closed */
                used += (size_t)n;
        }
        buf[used] = '\0';
        assert_non_null(strstr(buf, "/dev/pts/0\r\n"));
        assert_non_null(strstr(buf, "hello\r\n"));
        world_await(w, &w->init_exit.has_come);
}

static void a_user_namespace_of_its_own_works(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .script = "id -u; cat /proc/self/uid_map",
                .namespaces = "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"user\"},"
                              "{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"network\"}]",
                .linux_ = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}],"
                          "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}]",
        };
        char *out;

        box_host(&w->box, "chmod 755 . && chown -R 100000:100000 rootfs");
        assert_int_equal(world_run(w, &c), 0);
        out = world_output(w);
        assert_int_equal(strncmp(out, "0\n", 2), 0);
        assert_non_null(strstr(out, "100000"));
        free(out);
}

static void a_pid_namespace_is_joined_by_path(void **state)
{
        struct world *w = *state;
        char *namespaces = str_printf("[{\"type\":\"mount\"},{\"type\":\"pid\",\"path\":"
                                      "\"/proc/%d/ns/pid\"}]",
                                      (int)getpid());
        const struct box_config c = {
                .script = "[ $$ != 1 ]",
                .namespaces = namespaces,
                .top = ",\"hooks\":{\"createRuntime\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\","
                       "\"-c\",\"readlink /proc/self/ns/pid >ns\"],\"env\":[\"PATH=/bin\"]}]}",
        };
        char *ns;
        char own[64] = "";

        assert_int_equal(world_run(w, &c), 0);
        assert_false(engine_has_private_pid_namespace(w->container));
        ns = world_file(w, "ns");
        assert_true(readlink("/proc/self/ns/pid", own, sizeof(own) - 1) > 0);
        assert_int_equal(strncmp(ns, own, strlen(own)), 0);
        free(ns);
        free(namespaces);
}

static void the_network_of_a_pod_is_joined_by_a_user_namespace_of_its_own(void **state)
{
        struct world *w = *state;
        char *namespaces = str_printf("[{\"type\":\"pid\"},{\"type\":\"mount\"},"
                                      "{\"type\":\"user\"},{\"type\":\"ipc\"},"
                                      "{\"type\":\"network\",\"path\":\"/proc/%d/ns/net\"}]",
                                      (int)getpid());
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .mounts = "[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}]",
                .namespaces = namespaces,
                .linux_ = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}],"
                          "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}]",
        };
        char own[64] = "";
        char *out;

        box_host(&w->box, "chmod 755 . && chown -R 100000:100000 rootfs");
        world_create(w, &c);
        world_start(w);
        assert_true(readlink("/proc/self/ns/net", own, sizeof(own) - 1) > 0);
        assert_string_equal(world_try_exec(w,
                                           "{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"env\":"
                                           "[\"PATH=/bin\"],\"args\":[\"sh\",\"-c\",\"readlink "
                                           "/proc/1/ns/net; readlink /proc/self/ns/net\"]}",
                                           false),
                            "");
        world_await(w, &w->exec_exit.has_come);
        out = world_output(w);
        assert_int_equal(strncmp(out, own, strlen(own)), 0);
        assert_int_equal(strncmp(strchr(out, '\n') + 1, own, strlen(own)), 0);
        free(out);
        free(namespaces);
}

/* Without noNewPrivileges the filter is on before the gate. */
static void a_strict_seccomp_filter_does_not_shut_the_gate(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/echo\",\"started\"]",
                .linux_ = ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
                          "{\"names\":[\"recvmsg\",\"sendmsg\",\"recvfrom\",\"sendto\","
                          "\"rt_sigaction\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"}]}",
        };
        char *out;

        assert_int_equal(world_run(w, &c), 0);
        out = world_output(w);
        assert_string_equal(out, "started\n");
        free(out);
}

/* ---- rootfs mounts ---- */

static void the_rootfs_is_mounted_and_taken_away(void **state)
{
        struct world *w = *state;
        static const char *const options[] = {"rbind", "rw"};
        struct engine_mount m = {.type = "bind", .target = "", .options = options, .n_options = 2};
        char *source = str_printf("%s/image", w->box.dir);
        const struct box_config c = {.script = "echo from the image"};
        char *out;

        box_host(&w->box, "mv rootfs image");
        m.source = source;
        w->mounts = &m;
        w->n_mounts = 1;
        assert_int_equal(world_run(w, &c), 0);
        out = world_output(w);
        assert_string_equal(out, "from the image\n");
        assert_true(world_has_mount(w));
        world_delete(w);
        assert_false(world_has_mount(w));
        free(out);
        free(source);
}

/* ---- hooks ---- */

#define HOOK(kind, path, text)                                                        \
        "\"" kind "\":[{\"path\":\"" path "\",\"args\":[\"sh\",\"-c\",\"" text "\"]," \
        "\"env\":[\"PATH=/bin:/usr/bin\"]}]"

static void hooks_run_in_order_with_the_state_that_they_expect(void **state)
{
        struct world *w = *state;
        /* startContainer runs in the container and leaves its mark on stdout's file. */
        const struct box_config c = {
                .script = "true",
                .top = ",\"annotations\":{\"k\":\"v\"},\"hooks\":{" HOOK("prestart", "/bin/sh", "echo prestart >>log; cat >>log; echo >>log") "," HOOK(
                        "createRuntime", "/bin/sh",
                        "echo createRuntime "
                        ">>log; cat >>log; "
                        "echo >>log") "," HOOK("createContainer", "/bin/sh",
                                               "echo createContainer >>log; cat >>log; echo >>log") "," HOOK("startContainer",
                                                                                                             "/bin/sh",
                                                                                                             "cat >/tmp/started") "," HOOK("poststart",
                                                                                                                                           "/bin/sh",
                                                                                                                                           "echo poststart >>log; cat >>log; echo >>log") "," HOOK("poststop",
                                                                                                                                                                                                   "/bin/sh",
                                                                                                                                                                                                   "echo poststop >>log; cat >>log; echo >>log") "}",
        };
        char *expected;
        char *log;
        pid_t pid;

        assert_int_equal(world_run(w, &c), 0);
        pid = engine_process_pid(w->init);
        world_delete(w);
        log = world_file(w, "log");
#define STATE(status, pid)                                                                       \
        "{\"ociVersion\":\"1.0.2\",\"id\":\"the-container\",\"status\":\"" status "\"" pid ",\"" \
        "bundle\":\"%1$s\",\"annotations\":{\"k\":\"v\"}}\n"
        expected = str_printf(
                "prestart\n" STATE("created", ",\"pid\":%2$d") "createRuntime\n" STATE("creating", ",\"pid\":%2$d") "createContainer\n" STATE(
                        "creating",
                        ",\"pid\":1") "poststart\n" STATE("running",
                                                          ",\"pid\":%2$d") "poststop\n" STATE("stopped",
                                                                                              ""),
                w->box.dir, (int)pid);
        assert_string_equal(log, expected);
        free(log);
        free(expected);
        log = world_file(w, "rootfs/tmp/started");
        assert_non_null(strstr(log, "\"status\":\"created\",\"pid\":1"));
        free(log);
}

static void a_failing_poststart_hook_fails_start_and_ends_the_container(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = "[\"/bin/sleep\",\"1000\"]",
                .top = ",\"hooks\":{" HOOK("poststart", "/bin/sh", "echo no; exit 4") "}",
        };

        world_create(w, &c);
        assert_string_equal(world_try_start(w), "poststart hook '/bin/sh': exit status 4: no");
        world_await(w, &w->init_exit.has_come);
        assert_true(w->init_exit.order > w->started.order);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
}

static void a_failing_startcontainer_hook_fails_start(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .top = ",\"hooks\":{" HOOK("startContainer", "/bin/sh", "exit 5") "}",
        };

        world_create(w, &c);
        assert_string_equal(world_try_start(w), "startContainer hook '/bin/sh': exit status 5");
        world_await(w, &w->init_exit.has_come);
        assert_true(w->init_exit.order > w->started.order);
}

static void a_failing_poststop_hook_is_a_warning(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .top = ",\"hooks\":{" HOOK("poststop", "/bin/sh", "exit 6") "}",
        };

        assert_int_equal(world_run(w, &c), 0);
        world_delete(w);
        assert_string_equal(w->warning, "poststop hook '/bin/sh': exit status 6");
}

static void a_program_that_cannot_be_executed_fails_start(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.args = "[\"/bin/text\"]"};
        const char *msg;

        box_host(&w->box, "echo no program >rootfs/bin/text && chmod 755 rootfs/bin/text");
        world_create(w, &c);
        msg = world_try_start(w);
        if (!strstr(msg, "exec format error"))
                fail_msg("%s", msg);
        world_await(w, &w->init_exit.has_come);
        assert_true(w->init_exit.order > w->started.order);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_container_runs_and_its_status_is_told),
                CASE(nothing_of_the_program_runs_before_start),
                CASE(an_exit_is_told_after_start_however_soon_it_comes),
                CASE(a_second_start_is_refused),
                CASE(a_signal_reaches_the_program),
                CASE(an_unknown_signal_is_refused),
                CASE(a_created_container_ends_at_sigkill),
                CASE(a_created_container_ends_at_sigterm),
                CASE(deleting_a_created_container_tells_its_exit_first),
                CASE(deleting_a_running_container_kills_all_of_it),
                CASE(an_init_that_is_killed_during_start_is_a_failure_or_an_exit),
                CASE(a_process_may_be_forgotten_while_it_lives),
                CASE(all_processes_are_listed_and_killed),
                CASE(all_processes_get_another_signal_in_one_pass),
                CASE(an_ended_container_has_no_pids),
                CASE(no_descriptor_of_the_shim_reaches_the_container),
                CASE(signals_are_as_a_new_process_expects_them),
                CASE(the_processes_are_in_the_cgroup_of_the_configuration),
                CASE(a_terminal_is_handed_over),
                CASE(a_user_namespace_of_its_own_works),
                CASE(a_pid_namespace_is_joined_by_path),
                CASE(the_network_of_a_pod_is_joined_by_a_user_namespace_of_its_own),
                CASE(a_strict_seccomp_filter_does_not_shut_the_gate),
                CASE(the_rootfs_is_mounted_and_taken_away),
                CASE(hooks_run_in_order_with_the_state_that_they_expect),
                CASE(a_failing_poststart_hook_fails_start_and_ends_the_container),
                CASE(a_failing_startcontainer_hook_fails_start),
                CASE(a_failing_poststop_hook_is_a_warning),
                CASE(a_program_that_cannot_be_executed_fails_start),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
