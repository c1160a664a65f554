/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/engine/box.h"
#include "test/unit/unit.h"

static struct box_result r; /* large */

#define run_ok(...) box_run_ok(*state, &(struct box_config){__VA_ARGS__}, &r)
#define run(...)    box_run(*state, &(struct box_config){__VA_ARGS__}, &r)

static int make(void **state)
{
        static struct box box;

        box_make(&box);
        *state = &box;
        return 0;
}

static int destroy(void **state)
{
        box_remove(*state);
        return 0;
}

static void assert_out_has(const char *text)
{
        if (!strstr(r.out, text))
                fail_msg("'%s' is not in:\n%s", text, r.out);
}

static void assert_failed(const char *at, const char *text)
{
        if (!r.failed_at || strcmp(r.failed_at, at) != 0 || !strstr(r.err.msg, text))
                fail_msg("wanted '%s' at %s, got '%s' at %s\n%s", text, at, r.err.msg,
                         r.failed_at ? r.failed_at : "(none)", r.out);
}

/* ---- process ---- */

static void a_plain_container_runs_as_pid_1(void **state)
{
        run_ok(.script = "echo hello; pwd; echo $$");
        assert_string_equal(r.out, "hello\n/\n1\n");
}

static void the_environment_is_exact_but_for_home(void **state)
{
        run_ok(.args = "[\"/bin/env\"]", .env = "[\"A=1\",\"PATH=/bin\",\"A=2\"]");
        assert_string_equal(r.out, "A=1\nPATH=/bin\nA=2\nHOME=/root\n");
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
        run_ok(.script = "grep -c _ses.box /proc/keys");
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
        assert_failed("drop", "exec: \"/etc\": is a directory");
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

/* ---- root and mounts ---- */

static void nothing_of_the_host_is_left_in_the_mount_table(void **state)
{
        run_ok(.script = "awk '{print $5}' /proc/self/mountinfo | sort");
        assert_string_equal(r.out, "/\n/dev\n/dev/mqueue\n/dev/pts\n/dev/shm\n/proc\n/sys\n");
}

static void the_default_devices_and_links_are_there(void **state)
{
        run_ok(.script = "cd /dev; for f in null zero full random urandom tty; do stat -c "
                         "'%n %F %t:%T %a' $f; done; for f in fd stdin stdout stderr ptmx; do "
                         "readlink $f; done");
        assert_string_equal(
                r.out,
                "null character special file 1:3 666\nzero character special file 1:5 666\n"
                "full character special file 1:7 666\nrandom character special file 1:8 666\n"
                "urandom character special file 1:9 666\ntty character special file 5:0 666\n"
                "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n");
}

static void listed_devices_are_made_with_mode_and_owner(void **state)
{
        run_ok(.script = "stat -c '%F %t:%T %a %u:%g' /dev/fuse /dev/sub/pipe /lib/dev/z; stat -c "
                         "%a /dev/null",
               .linux_ = ",\"devices\":[{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":10,"
                         "\"minor\":229,\"fileMode\":438,\"uid\":1,\"gid\":2},{\"path\":"
                         "\"/dev/sub/pipe\",\"type\":\"p\",\"fileMode\":384},{\"path\":\"/lib/dev/z"
                         "\",\"type\":\"c\",\"major\":1,\"minor\":5},{\"path\":\"/dev/null\","
                         "\"type\":\"c\",\"major\":1,\"minor\":3,\"fileMode\":420}]");
        assert_string_equal(r.out, "character special file a:e5 666 1:2\nfifo 0:0 600 0:0\n"
                                   "character special file 1:5 666 0:0\n644\n");
}

static void a_read_only_root_is_read_only_but_its_mounts_are_not(void **state)
{
        run_ok(.script = "touch /x || echo ro; touch /dev/shm/x && echo rw",
               .root = ",\"readonly\":true");
        assert_out_has("Read-only file system\nro\nrw\n");
}

#define PROC "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}"

static void binds_of_directories_and_files_work_with_their_options(void **state)
{
        box_host(*state, "mkdir src && echo one > src/file && echo two > lone");
        run_ok(.script = "cat /new/place/file /etc/lone; touch /new/place/x || echo ro;"
                         " grep /new/place /proc/self/mountinfo",
               .mounts = "[" PROC ",{\"destination\":\"/new/place\",\"source\":\"src\",\"options\":"
                         "[\"rbind\",\"ro\",\"nosuid\",\"noexec\"]},{\"destination\":\"/etc/lone\","
                         "\"type\":\"bind\",\"source\":\"lone\",\"options\":[\"bind\"]}]");
        assert_out_has("one\ntwo\n");
        assert_out_has("Read-only file system\nro\n");
        assert_out_has("/new/place ro,nosuid,noexec");
}

static void recursive_read_only_reaches_submounts(void **state)
{
        box_host(*state, "mkdir -p src/sub && mount -t tmpfs tmpfs src/sub");
        run(.script = "touch /d/sub/x || echo sub-ro; touch /p/sub/y && echo sub-rw",
            .mounts = "[" PROC ",{\"destination\":\"/d\",\"source\":\"src\",\"options\":[\"rbind\","
                      "\"rro\"]},{\"destination\":\"/p\",\"source\":\"src\",\"options\":[\"rbind\","
                      "\"ro\"]}]");
        box_host(*state, "umount src/sub");
        assert_null(r.failed_at);
        assert_out_has("sub-ro\nsub-rw\n");
}

static void a_read_only_tmpfs_still_takes_mountpoints_first(void **state)
{
        run_ok(.script = "touch /t/x || echo ro; touch /t/a/b/x && echo rw; stat -c %a /t /t2 /tmp",
               .mounts = "[" PROC ",{\"destination\":\"/t\",\"type\":\"tmpfs\",\"options\":[\"ro\","
                         "\"mode=700\"]},{\"destination\":\"/t/a/b\",\"type\":\"tmpfs\"},"
                         "{\"destination\":\"/t2\",\"type\":\"tmpfs\"},{\"destination\":\"/tmp\","
                         "\"type\":\"tmpfs\",\"options\":[\"size=1m\"]}]");
        assert_out_has("Read-only file system\nro\nrw\n700\n1777\n755\n");
}

static void a_read_only_dev_has_its_nodes(void **state)
{
        run_ok(.script = "echo x > /dev/null && echo ok; touch /dev/x || echo ro",
               .mounts = "[" PROC ",{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"options\":["
                         "\"ro\"]}]");
        assert_out_has("ok\n");
        assert_out_has("\nro\n");
}

static void an_overlay_with_long_options_is_mounted(void **state)
{
        char mounts[2048];
        char layers[1200] = "";
        const struct box *box = *state;

        for (int i = 0; i < 8; i++) {
                size_t n = strlen(layers);

                (void)snprintf(layers + n, sizeof(layers) - n, "%s%s/l%d-%040d", i ? ":" : "",
                               box->dir, i, i);
        }
        box_host(box, "for i in 0 1 2 3 4 5 6 7; do mkdir $(printf 'l%d-%040d' $i $i) &&"
                      " touch $(printf 'l%d-%040d' $i $i)/f$i; done");
        (void)snprintf(mounts, sizeof(mounts),
                       "[" PROC ",{\"destination\":\"/o\",\"type\":\"overlay\",\"source\":"
                       "\"overlay\",\"options\":[\"lowerdir=%s\"]}]",
                       layers);
        run_ok(.script = "echo /o/*", .mounts = mounts);
        assert_string_equal(r.out, "/o/f0 /o/f1 /o/f2 /o/f3 /o/f4 /o/f5 /o/f6 /o/f7\n");
}

static void a_file_system_says_what_it_does_not_like(void **state)
{
        run(.mounts = "[{\"destination\":\"/t\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
                      "\"options\":[\"size=banana\"]}]");
        assert_failed("prepare", "mount 'tmpfs' on '/t': tmpfs: Bad value for 'size'");
        run(.mounts = "[{\"destination\":\"/t\",\"type\":\"nofs\",\"source\":\"x\"}]");
        assert_failed("prepare", "no file system 'nofs'");
}

static void a_dangling_symlink_of_the_image_is_resolved_in_the_root(void **state)
{
        box_host(*state, "echo resolver > resolv && ln -s ../run/r/stub rootfs/etc/resolv.conf &&"
                         " ln -s /var/loop rootfs/loop && mkdir -p rootfs/var && ln -s /loop "
                         "rootfs/var/loop");
        run_ok(.script = "cat /run/r/stub /etc/resolv.conf",
               .mounts = "[{\"destination\":\"/etc/resolv.conf\",\"source\":\"resolv\",\"options\":"
                         "[\"bind\"]}]");
        assert_string_equal(r.out, "resolver\nresolver\n");
        run(.mounts = "[{\"destination\":\"/loop/x\",\"type\":\"tmpfs\"}]");
        assert_failed("prepare", "Too many levels of symbolic links");
}

static void propagation_of_the_root_is_what_was_asked_for(void **state)
{
        static const char script[] = "grep ' / / \\|rootfs / ' /proc/self/mountinfo | head -1";
        static const struct {
                const char *linux_, *has, *has_not;
        } cases[] = {
                {"", "rw", "shared:"},
                {",\"rootfsPropagation\":\"rprivate\"", "rw", "shared:"},
                {",\"rootfsPropagation\":\"shared\"", "shared:", "master:"},
                {",\"rootfsPropagation\":\"rshared\"", "shared:", "master:"},
                {",\"rootfsPropagation\":\"unbindable\"", "unbindable", "shared:"},
        };

        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                run_ok(.script = script, .linux_ = cases[i].linux_);
                assert_out_has(cases[i].has);
                assert_null(strstr(r.out, cases[i].has_not));
        }
}

static void propagation_of_a_bind_is_private_unless_asked_for(void **state)
{
        box_host(*state, "mkdir src && mount -t tmpfs tmpfs src && mount --make-shared src");
        run(.script = "grep '/[psd] ' /proc/self/mountinfo",
            .mounts =
                    "[" PROC ",{\"destination\":\"/p\",\"source\":\"src\",\"options\":[\"rbind\"]}"
                    ",{\"destination\":\"/s\",\"source\":\"src\",\"options\":[\"rbind\","
                    "\"rslave\"]},{\"destination\":\"/d\",\"source\":\"src\",\"options\":["
                    "\"rbind\",\"rshared\"]}]");
        box_host(*state, "umount src");
        assert_null(r.failed_at);
        assert_out_has("/p rw,relatime -");
        assert_out_has("/s rw,relatime master:");
        assert_out_has("/d rw,relatime shared:");
}

static void masked_paths_are_empty_and_readonly_paths_are_read_only(void **state)
{
        box_host(*state, "mkdir -p rootfs/secrets/deep rootfs/fixed && echo x > rootfs/secrets/f &&"
                         " echo s > rootfs/etc/shadow && echo v > rootfs/fixed/v");
        run_ok(.script =
                       "ls /secrets; touch /secrets/y || echo ro; cat /etc/shadow; cat /fixed/v;"
                       " touch /fixed/n || echo ro; cat /proc/version | wc -c; echo > /proc/sys/x || echo;"
                       " cat /proc/sys/kernel/ostype; chmod 0 /etc/shadow || echo kept;"
                       " stat -c %a /dev/null",
               .linux_ = ",\"maskedPaths\":[\"/secrets\",\"/secrets\",\"/etc/shadow\","
                         "\"/proc/version\",\"/nope\",\"/etc/passwd/x\",\"/proc/scsi\"],"
                         "\"readonlyPaths\":[\"/fixed\",\"/proc/sys\",\"/nope\",\"/fixed\"]");
        assert_out_has("/secrets/y: Read-only file system\nro\nv\n");
        assert_out_has("/fixed/n: Read-only file system\nro\n");
        assert_out_has("Linux\n");
        assert_out_has("kept\n666\n");
        assert_null(strstr(r.out, "deep"));
}

static void kernel_parameters_of_own_namespaces_are_written(void **state)
{
        run_ok(.script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni"
                         " /proc/sys/net/ipv4/conf/lo/forwarding",
               .linux_ = ",\"sysctl\":{\"net.ipv4.ip_forward\":\"1\",\"kernel.shmmni\":\"123\","
                         "\"net/ipv4/conf/lo/forwarding\":\"0\"}");
        assert_string_equal(r.out, "1\n123\n0\n");
}

/* ---- namespaces ---- */

#define USERNS                                                                            \
        "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"uts\"}," \
        "{\"type\":\"network\"},{\"type\":\"user\"},{\"type\":\"cgroup\"}]"
#define MAPS                                                                       \
        ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]," \
        "\"gidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}]"

static void a_user_namespace_makes_its_own_root(void **state)
{
        box_host(*state, "chown -hR 100000:200000 rootfs && chmod 700 . && mkdir -m 700 src &&"
                         " echo data > src/f");
        run_ok(.script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; echo x > /dev/null &&"
                         " echo null; stat -c %t:%T /dev/zero; touch /made && stat -c %u /made;"
                         " hostname; ls -d /b; cat /proc/sys/net/ipv4/ip_forward",
               .namespaces = USERNS, .top = ",\"hostname\":\"mapped\"",
               .linux_ = MAPS ",\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"},\"maskedPaths\":["
                              "\"/proc/version\",\"/proc/acpi\"],\"readonlyPaths\":[\"/proc/sys\"]",
               .mounts = "[" BOX_DEFAULT_MOUNTS ",{\"destination\":\"/b\",\"source\":\"src\","
                         "\"options\":[\"rbind\",\"ro\"]}]");
        assert_out_has("0\n         0     100000      65536\n         0     200000      65536\n");
        assert_out_has("null\n1:5\n0\nmapped\n/b\n1\n");
        box_host(*state, "test $(stat -c %u:%g rootfs/made) = 100000:200000");
}

static void a_terminal_works_in_a_user_namespace(void **state)
{
        box_host(*state, "chown -hR 100000:200000 rootfs");
        run_ok(.script = "tty; stat -c %u /dev/console", .namespaces = USERNS, .linux_ = MAPS,
               .terminal = true);
        assert_out_has("/dev/pts/0\r\n0\r\n");
}

static void ids_that_the_user_namespace_lacks_are_named(void **state)
{
        run(.namespaces = USERNS, .linux_ = MAPS, .user = "{\"uid\":70000,\"gid\":0}");
        assert_failed("plan", "process.user.uid: 70000");
        run(.namespaces = USERNS);
        assert_failed("plan", "linux.uidMappings");
}

/* A process in namespaces of its own, to be joined. */
static pid_t start_holder(int flags, char *namespaces, size_t size)
{
        int ready[2];
        char byte;
        pid_t pid;

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (unshare(flags) < 0 || write(ready[1], "r", 1) != 1)
                        _exit(1);
                for (;;)
                        (void)pause();
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        (void)close(ready[0]);
        (void)close(ready[1]);
        (void)snprintf(namespaces, size,
                       "[{\"type\":\"pid\"},{\"type\":\"mount\"},"
                       "{\"type\":\"ipc\",\"path\":\"/proc/%d/ns/ipc\"},"
                       "{\"type\":\"uts\",\"path\":\"/proc/%d/ns/uts\"},"
                       "{\"type\":\"network\",\"path\":\"/proc/%d/ns/net\"}",
                       pid, pid, pid);
        return pid;
}

static void stop_holder(pid_t pid)
{
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void namespaces_given_by_path_are_joined(void **state)
{
        char namespaces[512];
        char want[128];
        struct stat st;
        char path[64];
        pid_t pid = start_holder(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC, namespaces,
                                 sizeof(namespaces));

        (void)strcat(namespaces, "]");
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
        assert_int_equal(stat(path, &st), 0);
        run(.script = "readlink /proc/self/ns/net; hostname; ip link | grep -c UP",
            .namespaces = namespaces, .top = ",\"hostname\":\"joined\"");
        stop_holder(pid);
        (void)snprintf(want, sizeof(want), "net:[%lu]\njoined\n0\n", (unsigned long)st.st_ino);
        assert_null(r.failed_at);
        /* the holder's loopback is the holder's business */
        assert_string_equal(r.out, want);
}

static void a_user_namespace_given_by_path_is_joined_with_those_it_owns(void **state)
{
        char namespaces[512];
        char map[64];
        int fd;
        pid_t pid = start_holder(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC,
                                 namespaces, sizeof(namespaces));

        box_host(*state, "chown -hR 100000:100000 rootfs");
        for (int i = 0; i < 2; i++) {
                (void)snprintf(map, sizeof(map), "/proc/%d/%s", pid, i ? "gid_map" : "uid_map");
                fd = open(map, O_WRONLY | O_CLOEXEC);
                assert_int_equal(write(fd, "0 100000 65536", 14), 14);
                (void)close(fd);
        }
        (void)snprintf(namespaces + strlen(namespaces), 100,
                       ",{\"type\":\"user\",\"path\":\"/proc/%d/ns/user\"}]", pid);
        run(.script = "id -u; cat /proc/self/uid_map; grep -c sysfs /proc/mounts; echo > /dev/null"
                      " && echo ok",
            .namespaces = namespaces);
        stop_holder(pid);
        if (r.failed_at)
                print_error("%s: %s\n", r.failed_at, r.err.msg);
        assert_null(r.failed_at);
        assert_string_equal(r.out, "0\n         0     100000      65536\n1\nok\n");
}

static void a_mount_namespace_given_by_path_becomes_the_containers(void **state)
{
        char namespaces[512];
        char want[64];
        char path[64];
        struct stat st;
        pid_t pid = start_holder(CLONE_NEWNS, namespaces, sizeof(namespaces));

        (void)snprintf(namespaces, sizeof(namespaces),
                       "[{\"type\":\"pid\"},{\"type\":\"mount\",\"path\":\"/proc/%d/ns/mnt\"}]",
                       pid);
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
        assert_int_equal(stat(path, &st), 0);
        run(.script = "readlink /proc/self/ns/mnt; ls -d /outside /bin 2>/dev/null",
            .namespaces = namespaces, .mounts = "[" PROC "]");
        stop_holder(pid);
        (void)snprintf(want, sizeof(want), "mnt:[%lu]\n/bin\n", (unsigned long)st.st_ino);
        assert_null(r.failed_at);
        assert_non_null(strstr(r.out, want));
}

static void a_namespace_of_another_type_is_refused(void **state)
{
        run(.namespaces = "[{\"type\":\"mount\"},{\"type\":\"network\",\"path\":"
                          "\"/proc/self/ns/ipc\"}]");
        assert_failed("plan", "'/proc/self/ns/ipc' is not a network namespace");
        run(.namespaces = "[{\"type\":\"mount\"},{\"type\":\"network\",\"path\":\"/etc/passwd\"}]");
        assert_failed("plan", "'/etc/passwd' is not a namespace");
}

static void without_a_mount_namespace_it_is_a_chroot(void **state)
{
        run_ok(.script = "ls -d /outside /bin 2>&1; pwd", .namespaces = "[{\"type\":\"pid\"}]",
               .cwd = "/bin");
        assert_out_has("/bin\n/bin\n");
        run(.namespaces = "[]", .linux_ = ",\"maskedPaths\":[\"/x\"]");
        assert_failed("plan", "linux.maskedPaths: needs a mount namespace");
}

static void without_pivot_root_the_hosts_proc_and_sys_are_gone(void **state)
{
        run_ok(.script = "awk '{print $5}' /proc/self/mountinfo | sort; ls /",
               .no_pivot_root = true);
        assert_out_has("/proc\n/sys\n");
        assert_null(strstr(r.out, "outside"));
        run_ok(.script = "grep -c ' - proc ' /proc/self/mountinfo; grep -c ' - sysfs '"
                         " /proc/self/mountinfo",
               .no_pivot_root = true);
        assert_string_equal(r.out, "1\n1\n");
}

/* ---- cgroups, seccomp, exec, hooks ---- */

static void a_cgroup_mount_shows_the_containers_own(void **state)
{
        static const struct cgroup cg = {
                .dirs = {{.path = "/tmp/belay-fake-cg/memory", .controllers = "memory"},
                         {.path = "/tmp/belay-fake-cg/cpu", .controllers = "cpu,cpuacct"},
                         {.path = "/tmp/belay-fake-cg/systemd", .controllers = "name=systemd"},
                         {.path = "/tmp/belay-fake-cg/unified", .controllers = "", .is_v2 = true}},
                .n_dirs = 4,
        };

        /* Directories stand in for control groups: what matters here is what is bound where. */
        box_host(*state, "mkdir -p /tmp/belay-fake-cg && mount -t tmpfs tmpfs /tmp/belay-fake-cg &&"
                         " cd /tmp/belay-fake-cg && mkdir memory cpu systemd unified && touch"
                         " memory/m cpu/c systemd/s unified/u");
        run(.script = "cd /sys/fs/cgroup && ls && ls memory cpu/ cpuacct/ systemd unified;"
                      " readlink cpu; mkdir memory/x || echo ro; touch y || echo ro",
            .mounts = "[" BOX_DEFAULT_MOUNTS ",{\"destination\":\"/sys/fs/cgroup\",\"type\":"
                      "\"cgroup\",\"source\":\"cgroup\",\"options\":[\"nosuid\",\"ro\"]}]",
            .cgroup = &cg);
        box_host(*state, "umount /tmp/belay-fake-cg && rmdir /tmp/belay-fake-cg");
        assert_null(r.failed_at);
        assert_out_has("cpu\ncpu,cpuacct\ncpuacct\nmemory\nsystemd\nunified\n");
        assert_out_has("memory:\nm\n");
        assert_out_has("cpuacct/:\nc\n");
        assert_out_has("cpu,cpuacct\n");
        assert_out_has("Read-only file system\nro\n");
        assert_out_has("y: Read-only file system\nro\n");
}

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
        if (child_enter_exec(plan, &terminal, &err) == 0 && child_drop(plan, output, &err) == 0)
                (void)child_exec(plan, NULL, NULL, NULL, &err);
        (void)!write(output, err.msg, strlen(err.msg));
        _exit(1);
}

static void exec_inside(pid_t pid, int output, void *userdata)
{
        const struct exec_job *job = userdata;
        const struct plan_options options = {.id = "box", .bundle = "/"};
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
        struct exec_job job = {
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

#define KEYRING "awk '/_ses.box/ {print $1}' /proc/keys"

static void an_execd_process_is_mapped_in_a_user_namespace(void **state)
{
        struct exec_job job = {
                .process =
                        "{\"cwd\":\"/tmp\",\"args\":[\"sh\",\"-c\",\"id -u; touch x; stat -c %u x;"
                        " test $(cat k) = $(" KEYRING ") && echo same keyring\"],\"env\":["
                        "\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}",
                .namespaces = CLONE_NEWUSER,
        };

        box_host(*state, "chown -hR 100000:200000 rootfs");
        run(.script = KEYRING " > /tmp/k; touch /tmp/up; sleep 60", .namespaces = USERNS,
            .linux_ = MAPS, .while_running = exec_inside, .userdata = &job);
        assert_null(r.failed_at);
        assert_string_equal(r.out, "0\n0\nsame keyring\n");
        box_host(*state, "test $(stat -c %u rootfs/tmp/x) = 100000");
}

static void an_execd_process_is_told_what_is_missing(void **state)
{
        struct exec_job job = {
                .process = "{\"cwd\":\"/\",\"args\":[\"nope\"],\"user\":{\"uid\":0,\"gid\":0}}",
        };

        run(.script = "touch /tmp/up; sleep 60", .while_running = exec_inside, .userdata = &job);
        assert_string_equal(r.out, "exec: \"nope\": executable file not found in $PATH");
        job.process = "{\"cwd\":\"/nope\",\"args\":[\"sh\"],\"user\":{\"uid\":0,\"gid\":0}}";
        run(.script = "touch /tmp/up; sleep 60", .while_running = exec_inside, .userdata = &job);
        assert_string_equal(r.out, "cwd '/nope': No such file or directory");
}

#define boxed(name) cmocka_unit_test_setup_teardown(name, make, destroy)

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
                boxed(nothing_of_the_host_is_left_in_the_mount_table),
                boxed(the_default_devices_and_links_are_there),
                boxed(listed_devices_are_made_with_mode_and_owner),
                boxed(a_read_only_root_is_read_only_but_its_mounts_are_not),
                boxed(binds_of_directories_and_files_work_with_their_options),
                boxed(recursive_read_only_reaches_submounts),
                boxed(a_read_only_tmpfs_still_takes_mountpoints_first),
                boxed(a_read_only_dev_has_its_nodes),
                boxed(an_overlay_with_long_options_is_mounted),
                boxed(a_file_system_says_what_it_does_not_like),
                boxed(a_dangling_symlink_of_the_image_is_resolved_in_the_root),
                boxed(propagation_of_the_root_is_what_was_asked_for),
                boxed(propagation_of_a_bind_is_private_unless_asked_for),
                boxed(masked_paths_are_empty_and_readonly_paths_are_read_only),
                boxed(kernel_parameters_of_own_namespaces_are_written),
                boxed(a_user_namespace_makes_its_own_root),
                boxed(a_terminal_works_in_a_user_namespace),
                boxed(ids_that_the_user_namespace_lacks_are_named),
                boxed(namespaces_given_by_path_are_joined),
                boxed(a_user_namespace_given_by_path_is_joined_with_those_it_owns),
                boxed(a_mount_namespace_given_by_path_becomes_the_containers),
                boxed(a_namespace_of_another_type_is_refused),
                boxed(without_a_mount_namespace_it_is_a_chroot),
                boxed(without_pivot_root_the_hosts_proc_and_sys_are_gone),
                boxed(a_cgroup_mount_shows_the_containers_own),
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
