/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/engine/box_test.h"

/* ---- namespaces ---- */

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                boxed(a_user_namespace_makes_its_own_root),
                boxed(a_terminal_works_in_a_user_namespace),
                boxed(ids_that_the_user_namespace_lacks_are_named),
                boxed(namespaces_given_by_path_are_joined),
                boxed(a_user_namespace_given_by_path_is_joined_with_those_it_owns),
                boxed(a_mount_namespace_given_by_path_becomes_the_containers),
                boxed(a_namespace_of_another_type_is_refused),
                boxed(without_a_mount_namespace_it_is_a_chroot),
                boxed(without_pivot_root_the_hosts_proc_and_sys_are_gone),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
