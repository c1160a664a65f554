/* SPDX-License-Identifier: Apache-2.0 */
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test/unit/engine/box_test.h"

/* ---- process ---- */

static void a_plain_container_runs_as_pid_1(void **state)
{
        run_ok(.script = "echo hello; pwd; echo $$");
        assert_string_equal(r.out, "hello\n/\n1\n");
}

static void the_environment_is_exact_but_for_home(void **state)
{
        run_ok(.args = "[\"/bin/env\"]", .env = "[\"A=1\",\"PATH=/bin\",\"A=2\"]");
        assert_string_equal(r.out, "PATH=/bin\nA=2\nHOME=/root\n");
}

static void home_is_kept_filled_in_or_found_in_the_images_passwd(void **state)
{
        run_ok(.args = "[\"/bin/env\"]", .env = "[\"HOME=/x\"]");
        assert_string_equal(r.out, "HOME=/x\n");
        run_ok(.args = "[\"/bin/env\"]", .env = "[\"HOME=\",\"B=1\"]");
        assert_string_equal(r.out, "HOME=/root\nB=1\n");
        run_ok(.args = "[\"/bin/env\"]", .env = "[]", .user = "{\"uid\":7,\"gid\":7}");
        assert_string_equal(r.out, "HOME=/\n");
        box_host(*state, "printf 'a:x:77:1::/a:\\nb:x:7:1::/home/b' > rootfs/etc/passwd");
        run_ok(.args = "[\"/bin/env\"]", .env = "[]", .user = "{\"uid\":7,\"gid\":7}");
        assert_string_equal(r.out, "HOME=/home/b\n");
}

static void a_hostile_passwd_costs_nothing(void **state)
{
        const char *user = "{\"uid\":7,\"gid\":7}";

        box_host(*state, "rm rootfs/etc/passwd; mkfifo rootfs/etc/passwd");
        run_ok(.args = "[\"/bin/env\"]", .env = "[]", .user = user);
        assert_string_equal(r.out, "HOME=/\n");
        box_host(*state, "rm rootfs/etc/passwd; truncate -s 1G rootfs/etc/passwd");
        run_ok(.args = "[\"/bin/env\"]", .env = "[]", .user = user);
        assert_string_equal(r.out, "HOME=/\n");
        box_host(*state, "head -c 9000 /dev/zero | tr '\\0' 'x' > rootfs/etc/passwd"
                         " && printf '\\nb:x:7:1::/home/b\\n' >> rootfs/etc/passwd");
        run_ok(.args = "[\"/bin/env\"]", .env = "[]", .user = user);
        assert_string_equal(r.out, "HOME=/home/b\n");
}

static void a_missing_cwd_is_made(void **state)
{
        run_ok(.script = "pwd; stat -c %a .", .cwd = "/a/b/c");
        assert_string_equal(r.out, "/a/b/c\n755\n");
}

static void a_cwd_that_is_a_file_is_refused(void **state)
{
        run(.cwd = "/etc/passwd");
        assert_failed("drop", "cwd '/etc/passwd': Not a directory");
}

static void ids_groups_and_umask_are_what_was_asked_for(void **state)
{
        run_ok(.script = "id -u; id -g; id -G; umask; grep Groups /proc/self/status",
               .user = "{\"uid\":1000,\"gid\":1001,\"additionalGids\":[5,6],\"umask\":63}");
        assert_string_equal(r.out, "1000\n1001\n1001 5 6\n0077\nGroups:\t5 6 \n");
}

static void take_groups(void *userdata)
{
        const gid_t groups[] = {27, 4242};

        assert_int_equal(setgroups(2, groups), 0);
}

static void the_runtimes_groups_are_left_behind(void **state)
{
        run_ok(.script = "grep Groups /proc/self/status; umask", .in_child = take_groups);
        assert_string_equal(r.out, "Groups:\t \n0022\n");
}

static void all_five_capability_sets_are_exact(void **state)
{
        static const char script[] = "grep Cap /proc/self/status";

        run_ok(.script = script);
        assert_string_equal(r.out, "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
                                   "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
                                   "CapAmb:\t0000000000000000\n");
        run_ok(.script = script,
               .process = ",\"capabilities\":{\"bounding\":[\"CAP_KILL\",\"CAP_CHOWN\"],"
                          "\"effective\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\",\"CAP_CHOWN\"]"
                          "}");
        /* execve as root: all of bounding is permitted */
        assert_string_equal(r.out, "CapInh:\t0000000000000000\nCapPrm:\t0000000000000021\n"
                                   "CapEff:\t0000000000000021\nCapBnd:\t0000000000000021\n"
                                   "CapAmb:\t0000000000000000\n");
        run_ok(.script = script, .user = "{\"uid\":9,\"gid\":9}",
               .process = ",\"capabilities\":{\"bounding\":[\"CAP_KILL\",\"CAP_CHOWN\"],"
                          "\"effective\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\"],"
                          "\"inheritable\":[\"CAP_KILL\"],\"ambient\":[\"CAP_KILL\"]}");
        assert_string_equal(r.out, "CapInh:\t0000000000000020\nCapPrm:\t0000000000000020\n"
                                   "CapEff:\t0000000000000020\nCapBnd:\t0000000000000021\n"
                                   "CapAmb:\t0000000000000020\n");
}

static void rlimits_and_oom_score_are_applied(void **state)
{
        run_ok(.script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj",
               .process = ",\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":77,\"hard\":99},"
                          "{\"type\":\"RLIMIT_CORE\",\"soft\":0,\"hard\":0}],\"oomScoreAdj\":500");
        assert_string_equal(r.out, "77\n99\n0\n500\n");
}

static void an_oom_score_below_ours_stays_as_it_is_if_we_may_not(void **state)
{
        run_ok(.script = "true", .process = ",\"oomScoreAdj\":-998");
}

static void no_new_privileges_is_set_only_if_asked_for(void **state)
{
        run_ok(.script = "grep NoNew /proc/self/status");
        assert_string_equal(r.out, "NoNewPrivs:\t0\n");
        run_ok(.script = "grep NoNew /proc/self/status", .process = ",\"noNewPrivileges\":true");
        assert_string_equal(r.out, "NoNewPrivs:\t1\n");
}

static void labels_of_a_module_that_is_off_are_refused(void **state)
{
        run(.process = ",\"apparmorProfile\":\"some-profile\"");
        if (access("/sys/module/apparmor", F_OK) != 0)
                assert_failed("plan", "AppArmor is not enabled");
        run(.process = ",\"selinuxLabel\":\"system_u:system_r:container_t:s0\"");
        if (access("/sys/fs/selinux/enforce", F_OK) != 0)
                assert_failed("plan", "SELinux is not enabled");
        run_ok(.process = ",\"apparmorProfile\":\"unconfined\",\"selinuxLabel\":\"\"");
}

static void names_are_set(void **state)
{
        run_ok(.script = "hostname; cat /proc/sys/kernel/domainname",
               .top = ",\"hostname\":\"box1\",\"domainname\":\"example.org\"");
        assert_string_equal(r.out, "box1\nexample.org\n");
}

static void the_session_keyring_is_a_new_one(void **state)
{
        const struct box *box = *state;
        char script[128];

        (void)snprintf(script, sizeof(script), "grep -c _ses.%s: /proc/keys", box->id);
        run_ok(.script = script);
        assert_string_equal(r.out, "1\n");
}

static void a_missing_program_is_told_as_clients_expect_it(void **state)
{
        run(.args = "[\"nope\"]");
        assert_failed("drop", "exec: \"nope\": executable file not found in $PATH");
        assert_int_equal(r.err.code, STATUS_UNKNOWN);
        run(.args = "[\"/nope\"]");
        assert_failed("drop", "exec: \"/nope\": stat /nope: no such file or directory");
        run(.args = "[\"/etc/passwd\"]");
        assert_failed("drop", "exec: \"/etc/passwd\": permission denied");
        run(.args = "[\"/etc\"]");
        assert_failed("drop", "exec: \"/etc\": is a directory: permission denied");
        run(.args = "[\"\"]");
        assert_failed("drop", "exec: \"\": executable file not found in $PATH");
        box_host(*state, "echo nonsense > rootfs/bin/bad && chmod 755 rootfs/bin/bad");
        run(.args = "[\"bad\"]");
        assert_failed("exec", "exec '/bin/bad': exec format error");
}

static void programs_are_found_in_the_containers_path(void **state)
{
        run_ok(.args = "[\"echo\",\"a\"]", .env = "[\"PATH=/nope:/bin\"]");
        assert_string_equal(r.out, "a\n");
        run_ok(.args = "[\"echo\",\"b\"]", .env = "[]"); /* the default has /bin */
        assert_string_equal(r.out, "b\n");
        run_ok(.args = "[\"bin/echo\",\"c\"]");
        assert_string_equal(r.out, "c\n");
        run_ok(.args = "[\"echo\",\"d\"]", .env = "[\"PATH=:/nope\"]", .cwd = "/bin");
        assert_string_equal(r.out, "d\n");
        run(.args = "[\"echo\"]", .env = "[\"PATH=/etc\"]");
        assert_failed("drop", "executable file not found in $PATH");
        box_host(*state, "echo x > rootfs/etc/tool");
        run(.args = "[\"tool\"]", .env = "[\"PATH=/etc\"]");
        assert_failed("drop", "exec: \"tool\": permission denied");
}

static void a_terminal_comes_from_the_containers_devpts(void **state)
{
        run_ok(.script =
                       "tty; stat -c %u:%t:%T /dev/console; test -t 0 -a -t 1 -a -t 2 && stty size;"
                       " exec 3</dev/tty && echo controlling",
               .process = ",\"consoleSize\":{\"height\":33,\"width\":111}", .terminal = true,
               .user = "{\"uid\":5,\"gid\":5}");
        assert_out_has("/dev/pts/0\r\n5:88:0\r\n33 111\r\ncontrolling\r\n");
}

static void stdio_pipes_belong_to_the_user(void **state)
{
        run_ok(.script = "echo x > /proc/self/fd/1", .user = "{\"uid\":5,\"gid\":6}");
        assert_string_equal(r.out, "x\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                boxed(a_plain_container_runs_as_pid_1),
                boxed(the_environment_is_exact_but_for_home),
                boxed(home_is_kept_filled_in_or_found_in_the_images_passwd),
                boxed(a_hostile_passwd_costs_nothing),
                boxed(a_missing_cwd_is_made),
                boxed(a_cwd_that_is_a_file_is_refused),
                boxed(ids_groups_and_umask_are_what_was_asked_for),
                boxed(the_runtimes_groups_are_left_behind),
                boxed(all_five_capability_sets_are_exact),
                boxed(rlimits_and_oom_score_are_applied),
                boxed(an_oom_score_below_ours_stays_as_it_is_if_we_may_not),
                boxed(no_new_privileges_is_set_only_if_asked_for),
                boxed(labels_of_a_module_that_is_off_are_refused),
                boxed(names_are_set),
                boxed(the_session_keyring_is_a_new_one),
                boxed(a_missing_program_is_told_as_clients_expect_it),
                boxed(programs_are_found_in_the_containers_path),
                boxed(a_terminal_comes_from_the_containers_devpts),
                boxed(stdio_pipes_belong_to_the_user),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
