/* SPDX-License-Identifier: Apache-2.0
 *
 * Mapped ids: user namespaces without a process, bind mounts that show other ids, and what
 * contradicts itself.
 */
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/idmap.h"

#include "test/unit/engine/box_test.h"

#define BIND(options, more)                                                                        \
        "[" BOX_DEFAULT_MOUNTS ",{\"destination\":\"/b\",\"source\":\"src\",\"options\":[" options \
        "]" more "}]"

static void a_user_namespace_is_made_without_a_process_left(void **state)
{
        const struct oci_id_mapping ids[] = {{0, 1000, 10}, {10, 5000, 1}};
        const struct idmap map = {.uids = ids, .n_uids = 2, .gids = ids, .n_gids = 1};
        struct error err = ERROR_INIT;
        _cleanup_close_ int fd = idmap_open(&map, &err);

        assert_true(fd >= 0);
        assert_int_equal(ioctl(fd, NS_GET_NSTYPE), CLONE_NEWUSER);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_true(idmap_is_equal(&map, &map));
}

static void maps_that_the_kernel_refuses_are_an_error(void **state)
{
        const struct oci_id_mapping ids[] = {{0, 1000, 10}, {5, 5000, 10}};
        const struct idmap map = {.uids = ids, .n_uids = 2, .gids = ids, .n_gids = 1};
        struct error err = ERROR_INIT;

        assert_int_equal(idmap_open(&map, &err), -1);
        assert_non_null(strstr(err.msg, "write uid_map"));
}

static void a_mount_shows_the_ids_that_its_mappings_say(void **state)
{
        box_host(*state, "mkdir src && touch src/f && chown 5:6 src/f");
        run_ok(.script = "stat -c %u:%g /b/f; touch /b/new 2>&1; stat -c %u:%g /b",
               .mounts = BIND("\"bind\"",
                              ",\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":10}],"
                              "\"gidMappings\":[{\"containerID\":0,\"hostID\":2000,\"size\":10}]"));
        /* root has no id in the source */
        assert_non_null(strstr(r.out, "1005:2006\ntouch:"));
        assert_non_null(strstr(r.out, "1000:2000\n"));
}

static void only_a_recursive_map_reaches_what_is_mounted_below(void **state)
{
        static const char map[] = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":7,\"size\":10}],"
                                  "\"gidMappings\":[{\"containerID\":0,\"hostID\":7,\"size\":10}]";
        char mounts[4096];

        box_host(*state, "mkdir -p src/sub && mount -t tmpfs tmpfs src/sub");
        for (int recursive = 0; recursive < 2; recursive++) {
                (void)snprintf(mounts, sizeof(mounts), BIND("\"rbind\",\"%s\"", "%s"),
                               recursive ? "ridmap" : "idmap", map);
                run_ok(.script = "stat -c %u /b /b/sub", .mounts = mounts);
                assert_string_equal(r.out, recursive ? "7\n7\n" : "7\n0\n");
        }
        box_host(*state, "umount src/sub");
}

static void without_mappings_a_mount_has_those_of_the_user_namespace(void **state)
{
        box_host(*state, "chown -hR 100000:200000 rootfs && mkdir src && touch src/f &&"
                         " chown 3:4 src/f");
        run_ok(.script = "stat -c %u:%g /b /b/f; touch /b/new && stat -c %u:%g /b/new",
               .namespaces = USERNS, .linux_ = MAPS, .mounts = BIND("\"rbind\",\"idmap\"", ""));
        assert_string_equal(r.out, "0:0\n3:4\n0:0\n");
        box_host(*state, "test $(stat -c %u:%g src/new) = 0:0");
}

static void a_map_of_nothing_is_refused(void **state)
{
        box_host(*state, "mkdir src");
        run(.script = "true", .mounts = BIND("\"bind\",\"idmap\"", ""));
        assert_failed("plan", "'idmap' needs uidMappings and gidMappings, or a user namespace");
        run(.script = "true",
            .mounts = "[{\"destination\":\"/t\",\"type\":\"tmpfs\",\"options\":[\"ridmap\"]}]");
        assert_failed("plan", "mounts[0]: only a bind mount can be idmapped");
        run(.script = "true",
            .mounts = BIND("\"bind\"", ",\"uidMappings\":[{\"containerID\":0,\"hostID\":1,"
                                       "\"size\":1}]"));
        assert_failed("parse", "gidMappings: missing beside its counterpart");
}

static void a_file_system_without_mapped_mounts_is_named(void **state)
{
        run(.script = "true",
            .mounts = "[{\"destination\":\"/p\",\"source\":\"/proc/sys\",\"options\":[\"bind\"],"
                      "\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":1}],"
                      "\"gidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":1}]}]");
        assert_failed("plan", "mounts[0]: bind '/proc/sys': map its ids");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                boxed(a_user_namespace_is_made_without_a_process_left),
                boxed(maps_that_the_kernel_refuses_are_an_error),
                boxed(a_mount_shows_the_ids_that_its_mappings_say),
                boxed(only_a_recursive_map_reaches_what_is_mounted_below),
                boxed(without_mappings_a_mount_has_those_of_the_user_namespace),
                boxed(a_map_of_nothing_is_refused),
                boxed(a_file_system_without_mapped_mounts_is_named),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
