/* SPDX-License-Identifier: Apache-2.0
 *
 * Images and configurations that try to reach the host. Each test makes the trap as an attacker
 * would and then looks whether the host is as it was; where an attack is refused, the refusal is
 * checked, too, so that a test cannot pass because something else went wrong. Long, but a list.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/engine/box_test.h"

#define DEV "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"}"
#define PTS "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\"}"

/* The directory outside has its one file, with its content and mode, and nothing else. */
static void assert_outside_is_untouched(const struct box *box)
{
        box_host(box, "test \"$(ls -A outside)\" = secret && test \"$(cat outside/secret)\" = "
                      "host-secret && test $(stat -c %a:%u:%g:%F outside/secret | tr -d ' ') = "
                      "644:0:0:regularfile && test $(stat -c %a outside) = 755");
}

/* ---- places to mount on ---- */

static void a_mount_target_that_is_a_symlink_stays_in_the_root(void **state)
{
        const struct box *box = *state;
        char script[400];

        /* CVE-2019-18837, CVE-2024-45310: absolute, by "..", and with parts that are to be made */
        box_host(box, "ln -s \"$PWD/outside\" rootfs/abs && ln -s ../../../../../.."
                      "\"$PWD/outside\" rootfs/rel && mkdir src && echo inside > src/f");
        (void)snprintf(script, sizeof(script), "cat %s/f && ls %s", box->outside, box->outside);
        for (int i = 0; i < 4; i++) {
                static const char *const targets[] = {"/abs", "/rel", "/abs/new/deep", "/rel/new2"};
                char mounts[300];

                (void)snprintf(mounts, sizeof(mounts),
                               "[" PROC ",{\"destination\":\"%s\",\"source\":\"src\",\"options\":["
                               "\"bind\"]}]",
                               targets[i]);
                if (i < 2) {
                        run_ok(.script = script, .mounts = mounts);
                        assert_string_equal(r.out, "inside\nf\n");
                } else {
                        run_ok(.script = "true", .mounts = mounts);
                }
                assert_outside_is_untouched(box);
        }
}

static void a_file_target_that_is_a_dangling_symlink_makes_nothing_outside(void **state)
{
        box_host(*state, "ln -s \"$PWD/outside/made\" rootfs/etc/hosts && echo x > src");
        run_ok(.script = "cat /etc/hosts",
               .mounts =
                       "[{\"destination\":\"/etc/hosts\",\"source\":\"src\",\"options\":[\"bind\"]"
                       "}]");
        assert_string_equal(r.out, "x\n");
        assert_outside_is_untouched(*state);
}

static void dots_in_a_destination_do_not_lead_out(void **state)
{
        run_ok(.script = "ls -d /outside /b",
               .mounts = "[{\"destination\":\"/../../../outside/x\",\"type\":\"tmpfs\"},"
                         "{\"destination\":\"a/../../../b\",\"type\":\"tmpfs\"}]");
        assert_string_equal(r.out, "/b\n/outside\n");
        assert_outside_is_untouched(*state);
}

static void dev_proc_and_sys_may_not_be_symlinks(void **state)
{
        static const char *const names[] = {"dev", "proc", "sys"};

        for (size_t i = 0; i < UNIT_COUNT(names); i++) {
                char script[200];
                char text[80];

                (void)snprintf(script, sizeof(script),
                               "rm -rf rootfs/dev rootfs/proc rootfs/sys && ln -s \"$PWD/outside\""
                               " rootfs/%s",
                               names[i]);
                (void)snprintf(text, sizeof(text), "'/%s' is a symbolic link", names[i]);
                box_host(*state, script);
                run(.script = "true");
                assert_failed("prepare", text);
                run(.mounts = "[]"); /* CVE-2026-41579: with no mount there either */
                assert_failed("prepare", text);
                assert_outside_is_untouched(*state);
        }
}

static void only_procfs_is_mounted_on_proc(void **state)
{
        static const struct {
                const char *mounts, *at, *text;
        } cases[] = {
                /* CVE-2019-16884, CVE-2019-19921 */
                {"[{\"destination\":\"/proc\",\"type\":\"tmpfs\"}]", "plan", "only procfs"},
                {"[{\"destination\":\"/proc\",\"source\":\"outside\",\"options\":[\"bind\"]}]",
                 "plan", "only procfs"},
                {"[{\"destination\":\"/x/../proc/\",\"source\":\"/proc/self\",\"options\":[\"bind\"]"
                 "}]",
                 "plan", "only procfs"},
                {"[" PROC ",{\"destination\":\"/proc/sys\",\"type\":\"tmpfs\"}]", "plan",
                 "nothing may be mounted on '/proc/sys'"},
                {"[" PROC ",{\"destination\":\"/proc/self/attr\",\"source\":\"outside\","
                 "\"options\":[\"bind\"]}]",
                 "plan", "nothing may be mounted on '/proc/self/attr'"},
                {"[" PROC ",{\"destination\":\"/link\",\"type\":\"tmpfs\"}]", "prepare",
                 "leads to procfs"},
                {"[" PROC ",{\"destination\":\"/link/fs\",\"type\":\"tmpfs\"}]", "prepare",
                 "leads to procfs"},
        };

        box_host(*state, "ln -s proc/sys rootfs/link");
        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                run(.mounts = cases[i].mounts);
                assert_failed(cases[i].at, cases[i].text);
        }
        run(.mounts = "[{\"destination\":\"/\",\"type\":\"tmpfs\"}]");
        assert_failed("plan", "'/' cannot be mounted over");
}

static void what_lxcfs_mounts_below_proc_is_allowed(void **state)
{
        box_host(*state, "echo fake > meminfo");
        run_ok(.script = "cat /proc/meminfo",
               .mounts = "[" PROC ",{\"destination\":\"/proc/meminfo\",\"source\":\"meminfo\","
                         "\"options\":[\"bind\"]}]");
        assert_string_equal(r.out, "fake\n");
}

/* ---- /dev ---- */

static void a_null_device_of_the_image_is_not_believed(void **state)
{
        /* CVE-2025-31133: with no mount on /dev, maskedPaths would bind what null leads to */
        box_host(*state, "mkdir rootfs/dev && echo victim > rootfs/victim && ln -s ../victim"
                         " rootfs/dev/null");
        run(.mounts = "[" PROC "]", .linux_ = ",\"maskedPaths\":[\"/proc/version\"]");
        assert_failed("prepare", "'/dev/null': something else is there already");
        box_host(*state, "rm rootfs/dev/null && echo x > rootfs/dev/null");
        run(.mounts = "[" PROC "]", .linux_ = ",\"maskedPaths\":[\"/proc/version\"]");
        assert_failed("prepare", "'/dev/null': something else is there already");
        box_host(*state, "rm rootfs/dev/null && mknod rootfs/dev/null c 1 5");
        run(.mounts = "[" PROC "]", .linux_ = ",\"maskedPaths\":[\"/proc/version\"]");
        assert_failed("prepare", "'/dev/null': something else is there already");
}

static void a_null_device_of_a_bound_dev_is_not_believed(void **state)
{
        box_host(*state, "mkdir src && ln -s /victim src/null && echo v > rootfs/victim");
        run(.mounts =
                    "[" PROC ",{\"destination\":\"/dev\",\"source\":\"src\",\"options\":[\"bind\"]"
                    "}]",
            .linux_ = ",\"maskedPaths\":[\"/proc/version\"]");
        assert_failed("enter", "mask: open '/dev/null'");
        box_host(*state, "rm src/null && touch src/null");
        run(.mounts =
                    "[" PROC ",{\"destination\":\"/dev\",\"source\":\"src\",\"options\":[\"bind\"]"
                    "}]",
            .linux_ = ",\"maskedPaths\":[\"/proc/version\"]");
        assert_failed("enter", "'/dev/null' is not the null device");
}

static void device_paths_do_not_lead_out(void **state)
{
        box_host(*state, "mkdir rootfs/dev && ln -s \"$PWD/outside\" rootfs/way && ln -s"
                         " \"$PWD/outside/secret\" rootfs/dev/fuse");
        run_ok(.script = "true", .mounts = "[" PROC "]",
               .linux_ = ",\"devices\":[{\"path\":\"/way/evil\",\"type\":\"c\",\"major\":1,"
                         "\"minor\":3}]");
        assert_outside_is_untouched(*state);
        run(.mounts = "[" PROC "]",
            .linux_ = ",\"devices\":[{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":10,\"minor\":"
                      "229,\"uid\":5,\"gid\":5,\"fileMode\":511}]");
        assert_failed("prepare", "'/dev/fuse': something else is there already");
        assert_outside_is_untouched(*state);
}

static void device_nodes_are_not_bound_through_symlinks_in_a_user_namespace(void **state)
{
        box_host(*state, "mkdir rootfs/dev && ln -s \"$PWD/outside/secret\" rootfs/dev/zero &&"
                         " chown -hR 100000:100000 rootfs");
        run(.mounts = "[" PROC "]",
            .namespaces = "[{\"type\":\"mount\"},{\"type\":\"pid\"},{\"type\":\"user\"}]",
            .linux_ = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"
                      "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]");
        assert_failed("prepare", "bind device '/dev/zero'");
        assert_outside_is_untouched(*state);
}

static void a_console_that_is_a_symlink_is_refused(void **state)
{
        /* CVE-2025-52565 */
        box_host(*state, "mkdir -p rootfs/dev/pts && ln -s \"$PWD/outside/secret\" "
                         "rootfs/dev/console");
        run(.mounts = "[" PROC "," PTS "]", .terminal = true);
        assert_failed("enter", "'/dev/console'");
        assert_outside_is_untouched(*state);
}

static void a_terminal_is_taken_from_a_devpts_only(void **state)
{
        box_host(*state, "mkdir -p rootfs/dev/pts && mknod rootfs/dev/pts/ptmx c 1 3");
        run(.mounts = "[" PROC "]", .terminal = true);
        assert_failed("enter", "terminal: '/dev/pts/ptmx' is not a devpts");
        box_host(*state, "rm rootfs/dev/pts/ptmx && ln -s /proc/1/root/dev/ptmx "
                         "rootfs/dev/pts/ptmx");
        run(.mounts = "[" PROC "]", .terminal = true);
        assert_failed("enter", "terminal: open '/dev/pts/ptmx'");
}

/* ---- descriptors of the host ---- */

/* What a careless caller leaves open: host directories without CLOEXEC, below and above the one
 * descriptor that is kept (box.c has it at BOX_KEPT_FD). */
static void leak_descriptors(void *userdata)
{
        for (int i = 0; i < 10; i++) {
                int fd = open(userdata, O_RDONLY | O_DIRECTORY);

                if (fd < 0 || dup2(fd, 20 + i) < 0 || dup2(fd, BOX_KEPT_FD + 1 + i) < 0)
                        _exit(120);
        }
}

static void no_descriptor_reaches_the_program(void **state)
{
        struct box *box = *state;

        run_ok(.args = "[\"/bin/sh\",\"-c\",\"i=3; while test $i -lt 60; do test -e /proc/$$/fd/$i && echo $i; i=$((i+1)); done; echo done\"]",
               .in_child = leak_descriptors, .userdata = box->outside);
        assert_string_equal(r.out, "done\n");
}

static void a_cwd_through_a_leaked_descriptor_is_refused(void **state)
{
        struct box *box = *state;

        /* CVE-2024-21626 */
        for (int fd = 3; fd < 30; fd++) {
                char cwd[64];

                (void)snprintf(cwd, sizeof(cwd), "/proc/self/fd/%d", fd);
                run(.script = "cat secret", .cwd = cwd, .in_child = leak_descriptors,
                    .userdata = box->outside);
                assert_non_null(r.failed_at);
                assert_null(strstr(r.out, "host-secret"));
        }
        box_host(box, "ln -s /proc/self/fd/20 rootfs/dir");
        run(.script = "cat secret", .cwd = "/dir", .in_child = leak_descriptors,
            .userdata = box->outside);
        assert_failed("enter", "cwd '/dir': Too many levels of symbolic links");
        run(.script = "cat secret", .cwd = "/dir/../../..", .in_child = leak_descriptors,
            .userdata = box->outside);
        assert_non_null(r.failed_at);
}

static void a_program_through_a_leaked_descriptor_is_not_found(void **state)
{
        struct box *box = *state;

        box_host(box, "cp /bin/busybox outside/sh");
        run(.args = "[\"/proc/self/fd/20/sh\",\"-c\",\"echo out\"]", .in_child = leak_descriptors,
            .userdata = box->outside);
        assert_failed("drop", "no such file or directory");
        run(.args = "[\"sh\",\"-c\",\"echo out\"]", .env = "[\"PATH=/proc/self/fd/20\"]",
            .in_child = leak_descriptors, .userdata = box->outside);
        assert_failed("drop", "executable file not found in $PATH");
        box_host(box, "rm rootfs/bin/sh && ln -s /proc/self/fd/20/sh rootfs/bin/sh");
        run(.script = "echo out", .in_child = leak_descriptors, .userdata = box->outside);
        assert_failed("drop", "no such file or directory");
}

/* ---- files of the image ---- */

static void files_of_the_image_are_not_read_through_links_to_the_host(void **state)
{
        box_host(*state,
                 "echo 'x:x:0:0::/leaked:' > outside/passwd && rm rootfs/etc/passwd && ln -s"
                 " \"$PWD/outside/passwd\" rootfs/etc/passwd");
        run_ok(.args = "[\"/bin/env\"]", .env = "[]");
        assert_string_equal(r.out, "HOME=/\n");
        box_host(*state, "rm outside/passwd");
}

static void a_cwd_that_is_made_is_made_inside(void **state)
{
        box_host(*state, "ln -s \"$PWD/outside\" rootfs/way");
        run_ok(.script = "true", .cwd = "/way/made/deep");
        assert_outside_is_untouched(*state);
}

static void masked_and_readonly_paths_do_not_lead_out(void **state)
{
        box_host(*state,
                 "ln -s \"$PWD/outside\" rootfs/m && ln -s \"$PWD/outside/secret\" rootfs/f");
        run_ok(.script = "true", .linux_ = ",\"maskedPaths\":[\"/m\",\"/f\",\"/../outside\"],"
                                           "\"readonlyPaths\":[\"/m\",\"/f\",\"/../outside\"]");
        assert_outside_is_untouched(*state);
}

/* ---- privileges ---- */

static void kernel_parameters_of_the_host_are_refused(void **state)
{
        static const char *const keys[] = {
                "kernel.panic",
                "kernel.core_pattern",
                "net/../kernel/core_pattern",
                "net.\\/.kernel",
                "fs.suid_dumpable",
                "vm.overcommit_memory",
                "kernel.shmmax.x",
                "",
                "net.",
                "net/./ipv4/x",
        };

        for (size_t i = 0; i < UNIT_COUNT(keys); i++) {
                char text[160];

                (void)snprintf(text, sizeof(text), ",\"sysctl\":{\"%s\":\"1\"}", keys[i]);
                run(.linux_ = text);
                assert_non_null(r.failed_at);
                assert_true(strcmp(r.failed_at, "plan") == 0 || strcmp(r.failed_at, "parse") == 0);
                assert_non_null(strstr(r.err.msg, "linux.sysctl"));
        }
        run(.namespaces = "[{\"type\":\"mount\"}]", .linux_ = ",\"sysctl\":{\"net.core.x\":\"1\"}");
        assert_failed("plan", "needs a network namespace");
        run(.namespaces = "[{\"type\":\"mount\"}]", .linux_ = ",\"sysctl\":{\"kernel.sem\":\"1\"}");
        assert_failed("plan", "needs a ipc namespace");
}

static void names_of_the_host_are_not_changed(void **state)
{
        run(.namespaces = "[{\"type\":\"mount\"}]", .top = ",\"hostname\":\"evil\"");
        assert_failed("plan", "hostname: needs a uts namespace");
        run(.namespaces = "[{\"type\":\"mount\"}]", .top = ",\"domainname\":\"evil\"");
        assert_failed("plan", "domainname: needs a uts namespace");
}

static void inheritable_capabilities_are_empty_unless_listed(void **state)
{
        /* CVE-2022-29162 */
        run_ok(.script = "grep CapInh /proc/self/status",
               .process = ",\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":["
                          "\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\"]}");
        assert_string_equal(r.out, "CapInh:\t0000000000000000\n");
}

static int report_dumpable(const struct oci_hook_list *hooks, void *userdata, struct error *err)
{
        return dprintf(1, "%d", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)) > 0 ? 0 : -1;
}

static void the_process_is_never_dumpable_before_its_program_runs(void **state)
{
        static const char top[] = ",\"hooks\":{\"createContainer\":[{\"path\":\"/a\"}],"
                                  "\"startContainer\":[{\"path\":\"/b\"}]}";

        /* CVE-2016-9962; a change of ids would make it dumpable again */
        run_ok(.script = "true", .hooks = report_dumpable, .top = top,
               .user = "{\"uid\":7,\"gid\":7}");
        assert_string_equal(r.out, "00");
        box_host(*state, "chown -hR 100000:100000 rootfs");
        run_ok(.script = "true", .hooks = report_dumpable, .top = top,
               .namespaces = "[{\"type\":\"mount\"},{\"type\":\"pid\"},{\"type\":\"ipc\"},{"
                             "\"type\":\"network\"},{\"type\":\"user\"}]",
               .linux_ = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"
                         "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]");
        assert_string_equal(r.out, "00");
}

static void sysfs_of_the_host_is_bound_with_its_cgroups_read_only(void **state)
{
        /* CVE-2023-25809: a user namespace without a network namespace */
        box_host(*state, "chown -hR 100000:100000 rootfs");
        run_ok(.script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/belay-attack"
                         " 2>&1; done; grep -c ' /sys ' /proc/self/mountinfo; grep"
                         " ' /sys/fs/cgroup' /proc/self/mountinfo | grep -v ' ro' ; true",
               .namespaces = "[{\"type\":\"mount\"},{\"type\":\"pid\"},{\"type\":\"ipc\"},{"
                             "\"type\":\"user\"}]",
               .linux_ = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"
                         "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]",
               .mounts = "[" PROC ",{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":"
                         "\"sysfs\",\"options\":[\"nosuid\"]}]");
        assert_non_null(strstr(r.out, "Read-only file system\n1\n"));
        assert_null(strstr(r.out, "/sys/fs/cgroup /sys")); /* no line that is not ro */
}

static void what_a_shared_bind_in_a_user_namespace_mounts_stays_there(void **state)
{
        box_host(*state,
                 "chown -hR 100000:100000 rootfs && mkdir src && mount -t tmpfs tmpfs src &&"
                 " mkdir src/d && chown 100000 src src/d && mount --make-shared src");
        run(.script = "mount -t tmpfs tmpfs /s/d && touch /s/d/inside && ls /s/d",
            .process = ",\"capabilities\":{\"bounding\":[\"CAP_SYS_ADMIN\"],\"effective\":["
                       "\"CAP_SYS_ADMIN\"],\"permitted\":[\"CAP_SYS_ADMIN\"]}",
            .namespaces = "[{\"type\":\"mount\"},{\"type\":\"pid\"},{\"type\":\"ipc\"},{"
                          "\"type\":\"user\"}]",
            .linux_ = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"
                      "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]",
            .mounts = "[" PROC ",{\"destination\":\"/s\",\"source\":\"src\",\"options\":[\"rbind\","
                      "\"rshared\"]}]");
        box_host(*state, "test -z \"$(ls src/d)\" && r=0 || r=1; umount -R src; test $r = 0");
        assert_null(r.failed_at);
        assert_string_equal(r.out, "inside\n");
}

static void a_shared_mount_that_holds_the_rootfs_sees_nothing_of_it(void **state)
{
        /* pivot_root(2) would refuse, and what is mounted in the container appear on the host */
        box_host(*state, "mkdir hold && mount --bind hold hold && mount --make-shared hold && mv"
                         " rootfs hold/rootfs && ln -s hold/rootfs rootfs");
        run(.script = "echo ran");
        box_host(*state, "grep -c \"$PWD/hold/\" /proc/self/mountinfo > count || true; umount -R"
                         " hold; test $(cat count) = 0");
        assert_null(r.failed_at);
        assert_string_equal(r.out, "ran\n");
}

static void without_pivot_root_no_unmasked_procfs_can_be_had(void **state)
{
        static const char script[] = "unshare -Urmpf mount -t proc proc /tmp && echo unmasked";
        static const char privileges[] =
                ",\"capabilities\":{\"bounding\":[\"CAP_SYS_ADMIN\",\"CAP_SETUID\","
                "\"CAP_SETGID\",\"CAP_SETFCAP\"],\"effective\":[\"CAP_SYS_ADMIN\",\"CAP_SETUID\","
                "\"CAP_SETGID\",\"CAP_SETFCAP\"],\"permitted\":[\"CAP_SYS_ADMIN\",\"CAP_SETUID\","
                "\"CAP_SETGID\",\"CAP_SETFCAP\"]}";

        /* a nested user namespace may mount procfs only where an unmasked one is in sight */
        run(.script = script, .process = privileges, .no_pivot_root = true);
        assert_null(r.failed_at);
        assert_non_null(strstr(r.out, "unmasked"));
        run(.script = script, .process = privileges, .no_pivot_root = true,
            .linux_ = ",\"maskedPaths\":[\"/proc/version\"]");
        assert_null(r.failed_at);
        assert_null(strstr(r.out, "unmasked"));
        assert_non_null(strstr(r.out, "permission denied"));
}

/* ---- races ---- */

/* Another container flips a directory of a shared volume to a symlink and back, as fast as it can.
 */
static pid_t start_flipping(const struct box *box)
{
        char dir[128], hidden[128], link[128];
        pid_t pid;

        (void)snprintf(dir, sizeof(dir), "%s/volume/d", box->dir);
        (void)snprintf(hidden, sizeof(hidden), "%s/volume/h", box->dir);
        (void)snprintf(link, sizeof(link), "%s/volume/l", box->dir);
        pid = fork();
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;) {
                        /* d <-> l: a directory and a link to the host, exchanged in one step */
                        if (syscall(SYS_renameat2, AT_FDCWD, dir, AT_FDCWD, link, 2) < 0)
                                _exit(1);
                }
        }
        assert_true(pid > 0);
        return pid;
}

static void a_target_that_changes_while_it_is_used_never_leads_out(void **state)
{
        const struct box *box = *state;
        size_t n_mounted = 0;
        pid_t pid;

        /* CVE-2021-30465, CVE-2024-45310 */
        box_host(box, "mkdir -p volume/d && ln -s \"$PWD/outside\" volume/l && mkdir src && echo in"
                      " > src/f");
        pid = start_flipping(box);
        for (int i = 0; i < 60; i++) {
                run(.script = "true",
                    .mounts =
                            "[" PROC ",{\"destination\":\"/v\",\"source\":\"volume\",\"options\":["
                            "\"bind\"]},{\"destination\":\"/v/d/a/b\",\"source\":\"src\","
                            "\"options\":[\"bind\"]},{\"destination\":\"/v/d/c/e\",\"source\":"
                            "\"src/f\",\"options\":[\"bind\"]}]");
                n_mounted += !r.failed_at;
        }
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_outside_is_untouched(box);
        assert_true(n_mounted > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                boxed(a_mount_target_that_is_a_symlink_stays_in_the_root),
                boxed(a_file_target_that_is_a_dangling_symlink_makes_nothing_outside),
                boxed(dots_in_a_destination_do_not_lead_out),
                boxed(dev_proc_and_sys_may_not_be_symlinks),
                boxed(only_procfs_is_mounted_on_proc),
                boxed(what_lxcfs_mounts_below_proc_is_allowed),
                boxed(a_null_device_of_the_image_is_not_believed),
                boxed(a_null_device_of_a_bound_dev_is_not_believed),
                boxed(device_paths_do_not_lead_out),
                boxed(device_nodes_are_not_bound_through_symlinks_in_a_user_namespace),
                boxed(a_console_that_is_a_symlink_is_refused),
                boxed(a_terminal_is_taken_from_a_devpts_only),
                boxed(no_descriptor_reaches_the_program),
                boxed(a_cwd_through_a_leaked_descriptor_is_refused),
                boxed(a_program_through_a_leaked_descriptor_is_not_found),
                boxed(files_of_the_image_are_not_read_through_links_to_the_host),
                boxed(a_cwd_that_is_made_is_made_inside),
                boxed(masked_and_readonly_paths_do_not_lead_out),
                boxed(kernel_parameters_of_the_host_are_refused),
                boxed(names_of_the_host_are_not_changed),
                boxed(inheritable_capabilities_are_empty_unless_listed),
                boxed(the_process_is_never_dumpable_before_its_program_runs),
                boxed(sysfs_of_the_host_is_bound_with_its_cgroups_read_only),
                boxed(what_a_shared_bind_in_a_user_namespace_mounts_stays_there),
                boxed(a_shared_mount_that_holds_the_rootfs_sees_nothing_of_it),
                boxed(without_pivot_root_no_unmasked_procfs_can_be_had),
                boxed(a_target_that_changes_while_it_is_used_never_leads_out),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
