/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/unit/engine/box_test.h"

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

static void a_tmpfs_begins_with_what_it_covers(void **state)
{
        box_host(
                *state,
                "cd rootfs && mkdir -p d/sub/deep && echo data > d/sub/deep/f && chown 3:4 d/sub/deep/f &&"
                " chmod 4755 d/sub/deep/f && ln -s /../../etc/passwd d/link && mkfifo -m 640 d/p &&"
                " chown 9:9 d/sub && chmod 1771 d/sub && touch -d @1000000000 d/sub && chown 7:8 d && chmod 777 d");
        run_ok(.script =
                       "cd /d && stat -c '%n %F %a %u:%g %s' sub sub/deep/f p . && readlink link && "
                       "stat -c %Y sub && cat sub/deep/f && touch new && stat -f -c %T .",
               .mounts = "[" BOX_DEFAULT_MOUNTS ",{\"destination\":\"/d\",\"type\":\"tmpfs\","
                         "\"source\":\"tmpfs\",\"options\":[\"tmpcopyup\",\"nosuid\"]}]");
        assert_out_has("sub directory 1771 9:9 60\n"
                       "sub/deep/f regular file 4755 3:4 5\np fifo 640 0:0 0\n"
                       ". directory 777 7:8 ");
        assert_out_has("/../../etc/passwd\n1000000000\ndata\ntmpfs\n");
        box_host(*state, "test ! -e rootfs/d/new");
}

static void what_does_not_fit_into_a_tmpfs_is_named(void **state)
{
        box_host(*state, "mkdir rootfs/d && head -c 200000 /dev/zero > rootfs/d/large");
        run(.script = "true",
            .mounts = "[" BOX_DEFAULT_MOUNTS ",{\"destination\":\"/d\",\"type\":\"tmpfs\","
                      "\"source\":\"tmpfs\",\"options\":[\"tmpcopyup\",\"size=64k\"]}]");
        assert_failed("prepare", "mount 'tmpfs' on '/d': copy up 'large': No space left");
}

static void a_directory_that_is_too_deep_is_not_copied(void **state)
{
        box_host(*state, "mkdir -p rootfs/d/$(seq -s / 200)");
        run(.script = "true", .mounts = "[" BOX_DEFAULT_MOUNTS
                                        ",{\"destination\":\"/d\",\"type\":\"tmpfs\","
                                        "\"source\":\"tmpfs\",\"options\":[\"tmpcopyup\"]}]");
        assert_failed("prepare", "mount 'tmpfs' on '/d': copy up '129'");
}

#define BIND(at) \
        "{\"destination\":\"" at "\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"rbind\"]}"
#define TMPFS(at) "{\"destination\":\"" at "\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"}"

/* The kernel sorts by age (Linux 6.8); before that by place. */
static void mounts_are_listed_in_their_order(void **state)
{
        static const char mounts[] = "[" PROC "," TMPFS("/dev") "," TMPFS("/t1") "," BIND(
                "/b1") "," BIND("/b2") "," TMPFS("/t2") "," BIND("/t2/b3") "," BIND("/t1/b4") "]";
        /* a user namespace's devices are the host's, bound */
        static const char script[] = "cut -d' ' -f5 /proc/self/mountinfo | grep -v /dev/";
        static const char want[] = "/\n/proc\n/dev\n/t1\n/b1\n/b2\n/t2\n/t2/b3\n/t1/b4\n";

        box_host(*state, "cd rootfs && mkdir -p t1 t2 b1 b2");
        run_ok(.script = script, .mounts = mounts);
        assert_string_equal(r.out, want);
        run_ok(.script = script, .mounts = mounts, .namespaces = USERNS, .linux_ = MAPS);
        assert_string_equal(r.out, want);
}

static void more_binds_than_one_message_takes(void **state)
{
        enum { COUNT = FD_PASS_MAX + 3 };
        char *mounts = malloc(COUNT * 128);
        size_t len = 0;

        assert_non_null(mounts);
        for (int i = 0; i < COUNT; i++)
                len += (size_t)snprintf(mounts + len, 128,
                                        "%s{\"destination\":\"/m%d\",\"type\":\"bind\",\"source\":"
                                        "\"/etc\",\"options\":[\"bind\"]}",
                                        i == 0 ? "[" PROC "," : ",", i);
        (void)snprintf(mounts + len, 2, "]");
        run_ok(.script = "grep -c ' /m[0-9]* ' /proc/self/mountinfo", .mounts = mounts);
        assert_int_equal(strtol(r.out, NULL, 10), COUNT);
        free(mounts);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
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
                boxed(a_tmpfs_begins_with_what_it_covers),
                boxed(what_does_not_fit_into_a_tmpfs_is_named),
                boxed(a_directory_that_is_too_deep_is_not_copied),
                boxed(mounts_are_listed_in_their_order),
                boxed(more_binds_than_one_message_takes),
                boxed(a_cgroup_mount_shows_the_containers_own),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
