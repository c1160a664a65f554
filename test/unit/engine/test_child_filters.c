/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/engine/box_test.h"

/* ---- seccomp, hooks, exec ---- */

#define FILTER(calls)                                                                         \
        ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[" calls \
        "],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":95}]}"

static void a_filter_is_on_with_and_without_new_privileges(void **state)
{
        run_ok(.script = "mkdir /x || grep Seccomp: /proc/self/status",
               .linux_ = FILTER("\"mkdir\",\"mkdirat\""));
        assert_out_has("Seccomp:\t2\n");
        run_ok(.script = "mkdir /x || grep Seccomp: /proc/self/status",
               .linux_ = FILTER("\"mkdir\",\"mkdirat\""), .process = ",\"noNewPrivileges\":true");
        assert_out_has("Operation not supported");
        assert_out_has("Seccomp:\t2\n");
}

static void a_filter_that_denies_what_the_set_up_needs_still_starts(void **state)
{
        run_ok(.script = "echo started", .linux_ = FILTER("\"getcwd\",\"umask\",\"openat2\","
                                                          "\"close_range\",\"fchdir\""));
        assert_string_equal(r.out, "started\n");
        run_ok(.script = "echo started",
               .linux_ = FILTER("\"getcwd\",\"setresuid\",\"setresgid\",\"setgroups\",\"capset\","
                                "\"prctl\",\"openat2\",\"close_range\""),
               .process = ",\"noNewPrivileges\":true");
        assert_string_equal(r.out, "started\n");
}

static int look_around(const struct oci_hook_list *hooks, void *userdata, struct error *err)
{
        char text[200];
        int n = snprintf(text, sizeof(text), "hooks %zu dumpable %d bundle %d\n", hooks->n,
                         prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), access(userdata, F_OK) == 0);

        return write(1, text, (size_t)n) == n ? 0 : -1;
}

static void container_hooks_run_before_the_pivot_and_before_execve(void **state)
{
        struct box *box = *state;

        run_ok(.script = "true", .hooks = look_around, .userdata = box->outside,
               .top = ",\"hooks\":{\"createContainer\":[{\"path\":\"/a\"}],\"startContainer\":[{"
                      "\"path\":\"/b\"},{\"path\":\"/c\"}]}");
        assert_string_equal(r.out, "hooks 1 dumpable 0 bundle 1\nhooks 2 dumpable 0 bundle 0\n");
}

struct exec_job {
        const char *id;
        const char *process;
        int namespaces; /* more than those of every container */
        bool with_capabilities;
};

static _Noreturn void exec_child(const struct plan *plan, int output)
{
        struct error err = ERROR_INIT;
        int terminal = -1;

        (void)dup2(output, 1);
        (void)dup2(output, 2);
        if (child_enter_exec(plan, &terminal, &err) == 0 &&
            child_drop(plan, output, NULL, NULL, &err) == 0)
                (void)child_exec(plan, NULL, NULL, NULL, &err);
        (void)!write(output, err.msg, strlen(err.msg));
        _exit(1);
}

static void exec_inside(pid_t pid, int output, void *userdata)
{
        const struct exec_job *job = userdata;
        const struct plan_options options = {.id = job->id, .bundle = "/"};
        const struct oci_capabilities container = {
                .bounding = 0x20, .effective = 0x20, .permitted = 0x20};
        struct arena *arena = arena_new(1 << 20);
        struct oci_process *process = NULL;
        struct plan *plan = NULL;
        struct error err = ERROR_INIT;
        char path[64];
        pid_t child;

        /* the shell has set itself up when its file is there */
        (void)snprintf(path, sizeof(path), "/proc/%d/root/tmp/up", pid);
        for (int i = 0; i < 5000 && access(path, F_OK) != 0; i++)
                (void)usleep(1000);
        if (oci_process_parse(job->process, strlen(job->process), arena, &process, &err) < 0 ||
            plan_new_exec(&plan, process, job->with_capabilities ? &container : NULL, NULL,
                          &options, arena, &err) < 0) {
                (void)dprintf(output, "%s\n", err.msg);
                (void)kill(pid, SIGKILL);
                return;
        }
        child = fork();
        if (child == 0) {
                int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

                if (setns(pidfd, job->namespaces | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS |
                                         CLONE_NEWNET) < 0)
                        _exit(2);
                child = fork();
                if (child == 0)
                        exec_child(plan, output);
                (void)waitpid(child, NULL, 0);
                _exit(0);
        }
        (void)waitpid(child, NULL, 0);
        (void)kill(pid, SIGKILL);
}

static void an_execd_process_is_in_the_container_with_its_capabilities(void **state)
{
        const struct box *box = *state;
        struct exec_job job = {
                .id = box->id,
                .process = "{\"cwd\":\"/etc\",\"args\":[\"sh\",\"-c\",\"pwd; hostname; echo $HOME;"
                           " grep CapBnd /proc/self/status; ls /proc/self/fd | wc -l\"],\"env\":["
                           "\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}",
                .with_capabilities = true,
        };

        run(.script = "touch /tmp/up; sleep 60", .top = ",\"hostname\":\"inside\"",
            .while_running = exec_inside, .userdata = &job);
        assert_null(r.failed_at);
        assert_string_equal(r.out, "/etc\ninside\n/root\nCapBnd:\t0000000000000020\n4\n");
        job.with_capabilities = false;
        run(.script = "touch /tmp/up; sleep 60", .while_running = exec_inside, .userdata = &job,
            .top = ",\"hostname\":\"inside\"");
        assert_out_has("CapBnd:\t0000000000000000\n");
}

/* /proc/keys lists all that this user may see, also keyrings of other tests' containers. */
#define KEYRING "awk '/_ses.%s:/ {print $1}' /proc/keys"

static void an_execd_process_is_mapped_in_a_user_namespace(void **state)
{
        const struct box *box = *state;
        struct exec_job job = {.id = box->id, .namespaces = CLONE_NEWUSER};
        char *process = NULL;
        char *script = NULL;

        assert_true(asprintf(&process,
                             "{\"cwd\":\"/tmp\",\"args\":[\"sh\",\"-c\",\"id -u; touch x; stat -c"
                             " %%u x; test $(cat k) = $(" KEYRING ") && echo same keyring\"],"
                             "\"env\":[\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}",
                             box->id) > 0);
        assert_true(asprintf(&script, KEYRING " > /tmp/k; touch /tmp/up; sleep 60", box->id) > 0);
        job.process = process;
        box_host(*state, "chown -hR 100000:200000 rootfs");
        run(.script = script, .namespaces = USERNS, .linux_ = MAPS, .while_running = exec_inside,
            .userdata = &job);
        free(process);
        free(script);
        assert_null(r.failed_at);
        assert_string_equal(r.out, "0\n0\nsame keyring\n");
        box_host(*state, "test $(stat -c %u rootfs/tmp/x) = 100000");
}

static void an_execd_process_is_told_what_is_missing(void **state)
{
        const struct box *box = *state;
        struct exec_job job = {
                .id = box->id,
                .process = "{\"cwd\":\"/\",\"args\":[\"nope\"],\"user\":{\"uid\":0,\"gid\":0}}",
        };

        run(.script = "touch /tmp/up; sleep 60", .while_running = exec_inside, .userdata = &job);
        assert_string_equal(r.out, "exec: \"nope\": executable file not found in $PATH");
        job.process = "{\"cwd\":\"/nope\",\"args\":[\"sh\"],\"user\":{\"uid\":0,\"gid\":0}}";
        run(.script = "touch /tmp/up; sleep 60", .while_running = exec_inside, .userdata = &job);
        assert_string_equal(r.out, "cwd '/nope': No such file or directory");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                boxed(a_filter_is_on_with_and_without_new_privileges),
                boxed(a_filter_that_denies_what_the_set_up_needs_still_starts),
                boxed(container_hooks_run_before_the_pivot_and_before_execve),
                boxed(an_execd_process_is_in_the_container_with_its_capabilities),
                boxed(an_execd_process_is_mapped_in_a_user_namespace),
                boxed(an_execd_process_is_told_what_is_missing),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
