/* SPDX-License-Identifier: Apache-2.0
 *
 * pkg/runc with a shell script in the runtime's place: what it leaves, says and gets wrong. The
 * script writes down how it was called.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/runc/runc.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 30, TEXT_MAX = 4096 };

struct fixture {
        char dir[32];
        char *script;
        struct loop *loop;
        struct reaper *reaper;
        struct runc *runc;
        struct runc_process *process;
        struct error err;
        bool failed;
        struct reaper_exit exit;
        int null[3];
};

static void write_script(struct fixture *f, const char *body)
{
        _cleanup_free_ char *text = str_printf("#!/bin/sh\n"
                                               "cd '%s'\n"
                                               "echo \"$@\" >>called\n"
                                               "verb=$7\n"
                                               "%s\n",
                                               f->dir, body);
        int fd = open(f->script, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

        assert_non_null(text);
        assert_true(fd >= 0);
        assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
        fd_close(fd);
}

static char *read_file(const struct fixture *f, const char *name)
{
        _cleanup_free_ char *path = str_printf("%s/%s", f->dir, name);
        char *text = NULL;

        return file_read(AT_FDCWD, path, TEXT_MAX, &text, NULL) == 0 ? text : NULL;
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;
        struct runc_options options = {.runtime_namespace = "ns", .id = "c1"};

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        memcpy(f->dir, "/tmp/runc-XXXXXX", sizeof("/tmp/runc-XXXXXX"));
        assert_non_null(mkdtemp(f->dir));
        f->script = str_printf("%s/runtime.sh", f->dir);
        for (int i = 0; i < 3; i++)
                f->null[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(loop_new(&f->loop, &err), 0);
        assert_int_equal(reaper_new(&f->reaper, f->loop, &err), 0);
        options.loop = f->loop;
        options.reaper = f->reaper;
        options.binary = f->script;
        options.root = f->dir;
        options.bundle = f->dir;
        options.state_dir = f->dir;
        assert_int_equal(runc_new(&f->runc, &options, &err), 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        const char *const names[] = {"called",  "init.pid",     "log.json", "runtime.sh",
                                     "runtime", "options.json", "ready",    "exec-e.spec"};

        runc_process_free(f->process);
        runc_free(f->runc);
        reaper_free(f->reaper);
        loop_free(f->loop);
        for (int i = 0; i < 3; i++)
                fd_close(f->null[i]);
        for (size_t i = 0; i < UNIT_COUNT(names); i++) {
                _cleanup_free_ char *path = str_printf("%s/%s", f->dir, names[i]);

                (void)unlink(path);
        }
        /* Nothing else is left behind in the bundle. */
        assert_int_equal(rmdir(f->dir), 0);
        free(f->script);
        free(f);
        (void)alarm(0);
        return 0;
}

static void on_process(const struct error *err, struct runc_process *process, int terminal_fd,
                       void *userdata)
{
        struct fixture *f = userdata;

        fd_close(terminal_fd);
        f->failed = err != NULL;
        f->err = err ? *err : ERROR_INIT;
        f->process = process;
        loop_quit(f->loop);
}

static void on_done(const struct error *err, void *userdata)
{
        on_process(err, NULL, -1, userdata);
}

static void on_exit_seen(const struct reaper_exit *exit, void *userdata)
{
        struct fixture *f = userdata;

        f->exit = *exit;
        loop_quit(f->loop);
}

static void run_loop(struct fixture *f)
{
        struct error err = ERROR_INIT;

        assert_int_equal(loop_run(f->loop, &err), 0);
}

static void create(struct fixture *f, bool terminal)
{
        const struct runc_stdio stdio = {.terminal = terminal, .fds = f->null};
        struct runc_job *job;
        struct error err = ERROR_INIT;

        assert_int_equal(runc_create(f->runc, &stdio, on_process, f, &job, &err), 0);
        run_loop(f);
}

static void the_process_that_the_runtime_leaves_is_told_with_its_exit(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *pid = NULL;

        write_script(f, "(exec tail -f /dev/null) & echo $! >init.pid");
        create(f, false);
        assert_false(f->failed);
        assert_non_null(f->process);
        pid = read_file(f, "init.pid");
        assert_int_equal(runc_process_pid(f->process), strtol(pid, NULL, 10));
        runc_process_on_exit(f->process, on_exit_seen, f);
        assert_int_equal(runc_process_signal(f->process, SIGKILL, &f->err), 0);
        run_loop(f);
        assert_int_equal(f->exit.code, CLD_KILLED);
        assert_true(runc_process_has_exited(f->process));
        assert_int_equal(runc_process_signal(f->process, SIGKILL, &f->err), -1);
        assert_int_equal(f->err.code, STATUS_NOT_FOUND);
}

static void a_process_that_has_ended_before_the_runtime_is_not_lost(void **state)
{
        struct fixture *f = *state;

        /* Orphaned onto us at once, and dead before the runtime ends. */
        write_script(f, "(sh -c 'echo $$ >init.pid; exit 3' &)\n"
                        "until [ -s init.pid ] && ! [ -e /proc/$(cat init.pid)/exe ]; do :; done");
        create(f, false);
        assert_false(f->failed);
        runc_process_on_exit(f->process, on_exit_seen, f);
        run_loop(f);
        assert_int_equal(f->exit.code, CLD_EXITED);
        assert_int_equal(f->exit.status, 3);
}

static void a_failure_is_told_by_the_last_error_in_the_log(void **state)
{
        struct fixture *f = *state;

        write_script(f, "echo '{\"level\":\"error\",\"msg\":\"first\"}' >>log.json\n"
                        "echo '{\"level\":\"error\",\"msg\":\"no such thing\"}' >>log.json\n"
                        "exit 1");
        create(f, false);
        assert_true(f->failed);
        assert_null(f->process);
        assert_string_equal(f->err.msg, "no such thing");
}

static void an_error_of_an_earlier_call_is_not_told_again(void **state)
{
        struct fixture *f = *state;
        struct runc_job *job;
        struct error err = ERROR_INIT;

        write_script(f, "echo '{\"level\":\"error\",\"msg\":\"first\"}' >>log.json; exit 1");
        create(f, false);
        assert_string_equal(f->err.msg, "first");
        write_script(f, "echo spoken; exit 4");
        assert_int_equal(runc_start(f->runc, on_done, f, &job, &err), 0);
        run_loop(f);
        assert_true(f->failed);
        assert_non_null(strstr(f->err.msg, "exit status 4: spoken"));
}

static void a_runtime_that_cannot_be_executed_is_named(void **state)
{
        struct fixture *f = *state;

        write_script(f, "");
        assert_int_equal(chmod(f->script, 0600), 0);
        create(f, false);
        assert_true(f->failed);
        assert_non_null(strstr(f->err.msg, f->script));
        assert_non_null(strstr(f->err.msg, "Permission denied"));
}

static void a_pid_that_is_no_child_is_refused(void **state)
{
        struct fixture *f = *state;

        write_script(f, "echo 1 >init.pid");
        create(f, false);
        assert_true(f->failed);
        assert_non_null(strstr(f->err.msg, "no child"));
        write_script(f, "echo x >init.pid");
        create(f, false);
        assert_true(f->failed);
        assert_non_null(strstr(f->err.msg, "'x' is no pid"));
}

static void an_abort_kills_the_runtime(void **state)
{
        const struct runc_stdio stdio = {.fds = ((struct fixture *)*state)->null};
        struct fixture *f = *state;
        struct runc_job *job;
        struct error err = ERROR_INIT;

        write_script(f, "exec tail -f /dev/null");
        assert_int_equal(runc_create(f->runc, &stdio, on_process, f, &job, &err), 0);
        runc_job_abort(job);
        run_loop(f);
        assert_true(f->failed);
        assert_int_equal(f->err.code, STATUS_CANCELED);
}

static void an_execs_process_goes_by_a_file_that_is_gone_afterwards(void **state)
{
        struct fixture *f = *state;
        const struct runc_exec exec = {
                .exec_id = "e",
                .process_json = "{\"x\":1}",
                .process_json_len = 7,
                .stdio = {.fds = f->null},
        };
        _cleanup_free_ char *called = NULL;
        struct runc_job *job;
        struct error err = ERROR_INIT;

        write_script(f, "[ \"$(cat exec-e.spec)\" = '{\"terminal\":false,\"x\":1}' ] || exit 1\n"
                        "(sh -c 'echo $$ >exec-e.pid' &)\n" /* the shell must not reap it */
                        "until [ -s exec-e.pid ]; do :; done");
        assert_int_equal(runc_exec(f->runc, &exec, on_process, f, &job, &err), 0);
        run_loop(f);
        assert_false(f->failed);
        called = read_file(f, "called");
        assert_non_null(strstr(called, "--detach"));
        /* tear_down() finds neither spec nor pid file. */
}

static void a_container_that_is_not_there_any_more_is_not_found_or_deleted(void **state)
{
        static const char *const words[] = {"os: process already finished", "container not running",
                                            "kill: No such process"};
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        for (size_t i = 0; i < UNIT_COUNT(words); i++) {
                _cleanup_free_ char *body = str_printf("echo '%s'; exit 1", words[i]);

                write_script(f, body);
                assert_int_equal(runc_kill_all(f->runc, 9, on_done, f, &err), 0);
                run_loop(f);
                assert_int_equal(f->err.code, STATUS_NOT_FOUND);
        }
        write_script(f, "echo 'container c1 does not exist'; exit 1");
        assert_int_equal(runc_kill_all(f->runc, 9, on_done, f, &err), 0);
        run_loop(f);
        assert_int_equal(f->err.code, STATUS_NOT_FOUND);
        assert_int_equal(runc_delete(f->runc, false, on_done, f, &err), 0);
        run_loop(f);
        assert_false(f->failed);
        write_script(f, "echo 'cgroup is busy'; exit 1");
        assert_int_equal(runc_delete(f->runc, false, on_done, f, &err), 0);
        run_loop(f);
        assert_true(f->failed);
}

static uint64_t soon(void)
{
        return clock_monotonic_ns() + TEST_LIMIT_S * NSEC_PER_SEC;
}

static void the_clean_up_calls_the_runtime_that_the_files_name(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *called = NULL;
        _cleanup_free_ char *expected = NULL;
        struct error err = ERROR_INIT;

        write_script(f, "");
        assert_int_equal(runc_cleanup(f->dir, "ns", "c1", soon(), &err), 0);
        assert_null(read_file(f, "called"));
        assert_int_equal(runc_write_files(f->runc, &err), 0);
        assert_int_equal(runc_cleanup(f->dir, "ns", "c1", soon(), &err), 1);
        called = read_file(f, "called");
        expected =
                str_printf("--root %s/ns --log %s/log.json --log-format json delete --force c1\n",
                           f->dir, f->dir);
        assert_string_equal(called, expected);
}

static void the_clean_up_ends_a_runtime_that_takes_too_long(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        uint64_t deadline = clock_monotonic_ns() + 200 * NSEC_PER_MSEC;

        write_script(f, "echo stuck; exec sleep 1000");
        assert_int_equal(runc_write_files(f->runc, &err), 0);
        assert_int_equal(runc_cleanup(f->dir, "ns", "c1", deadline, &err), -1);
        assert_int_equal(err.code, STATUS_DEADLINE_EXCEEDED);
        assert_non_null(strstr(err.msg, "was ended when time was up: stuck"));
        assert_non_null(strstr(err.msg, "what it keeps of 'c1' in '"));
}

static void what_holds_its_output_does_not_make_a_runtime_fail(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        uint64_t deadline = clock_monotonic_ns() + 200 * NSEC_PER_MSEC;
        _cleanup_free_ char *holder = NULL;

        write_script(f, "sleep 10 & echo $! >called");
        assert_int_equal(runc_write_files(f->runc, &err), 0);
        assert_int_equal(runc_cleanup(f->dir, "ns", "c1", deadline, &err), 1);
        holder = read_file(f, "called");
        assert_non_null(holder);
        assert_int_equal(kill((pid_t)strtol(holder, NULL, 10), SIGKILL), 0);
}

static void a_notify_socket_is_not_handed_on(void **state)
{
        struct fixture *f = *state;
        struct runc_job *job;
        struct error err = ERROR_INIT;

        assert_int_equal(setenv("NOTIFY_SOCKET", "/run/x", 1), 0);
        assert_int_equal(setenv("OTHER", "kept", 1), 0);
        write_script(f, "[ -z \"$NOTIFY_SOCKET\" ] && [ \"$OTHER\" = kept ]");
        assert_int_equal(runc_start(f->runc, on_done, f, &job, &err), 0);
        run_loop(f);
        assert_false(f->failed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(the_process_that_the_runtime_leaves_is_told_with_its_exit),
                TEST(a_process_that_has_ended_before_the_runtime_is_not_lost),
                TEST(a_failure_is_told_by_the_last_error_in_the_log),
                TEST(an_error_of_an_earlier_call_is_not_told_again),
                TEST(a_runtime_that_cannot_be_executed_is_named),
                TEST(a_pid_that_is_no_child_is_refused),
                TEST(an_abort_kills_the_runtime),
                TEST(an_execs_process_goes_by_a_file_that_is_gone_afterwards),
                TEST(a_container_that_is_not_there_any_more_is_not_found_or_deleted),
                TEST(the_clean_up_calls_the_runtime_that_the_files_name),
                TEST(the_clean_up_ends_a_runtime_that_takes_too_long),
                TEST(what_holds_its_output_does_not_make_a_runtime_fail),
                TEST(a_notify_socket_is_not_handed_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
