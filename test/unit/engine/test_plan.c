/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/arena.h"
#include "pkg/engine/plan_private.h"

#include "test/unit/engine/box.h"
#include "test/unit/unit.h"

enum { BUDGET = 8 << 20 };

struct fixture {
        struct arena *arena;
        struct error err;
        struct oci_spec *spec;
        struct plan *plan;
        char bundle[64];
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        char path[80];

        if (!f)
                return -1;
        f->arena = arena_new(BUDGET);
        (void)snprintf(f->bundle, sizeof(f->bundle), "/tmp/belay-plan-XXXXXX");
        if (!f->arena || !mkdtemp(f->bundle))
                return -1;
        (void)snprintf(path, sizeof(path), "%s/rootfs", f->bundle);
        *state = f;
        return mkdir(path, 0755);
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        char path[80];

        (void)snprintf(path, sizeof(path), "%s/rootfs", f->bundle);
        (void)rmdir(path);
        (void)rmdir(f->bundle);
        arena_free(f->arena);
        free(f);
        return 0;
}

/* Texts are JSON: process's and linux's further properties, mounts, and the document's. */
static int plan_of(struct fixture *f, const char *process, const char *linux_, const char *mounts,
                   const char *top)
{
        const struct plan_options options = {.id = "p", .bundle = f->bundle};
        char *json = NULL;
        int r;

        memset(&f->err, 0, sizeof(f->err));
        assert_true(asprintf(&json,
                             "{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0}"
                             ",\"cwd\":\"/\",\"args\":[\"x\"]%s},\"root\":{\"path\":\"rootfs\"},"
                             "\"mounts\":[%s],\"linux\":{%s}%s}",
                             process, mounts, linux_, top) > 0);
        r = oci_spec_parse(json, strlen(json), f->arena, &f->spec, &f->err);
        if (r == 0)
                r = plan_new(&f->plan, f->spec, &options, f->arena, &f->err);
        free(json);
        return r;
}

#define NS(list) "\"namespaces\":[{\"type\":\"mount\"}" list "]"

static void assert_refused(struct fixture *f, int code, const char *text)
{
        if (f->err.code != code || !strstr(f->err.msg, text))
                fail_msg("wanted '%s', got %s '%s'", text, status_name(f->err.code), f->err.msg);
}

static void namespaces_to_be_made_become_flags_of_clone3(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(
                plan_of(f, "",
                        NS(",{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"uts\"},{"
                           "\"type\":\"ipc\"},{\"type\":\"cgroup\"}"),
                        "", ""),
                0);
        /* a cgroup namespace is made later, by the child in its cgroup */
        assert_int_equal(f->plan->clone_flags,
                         CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC);
        assert_true(f->plan->private_->new_cgroup_namespace);
        assert_false(plan_has_new_userns(f->plan));
        assert_false(plan_joins_early(f->plan));
}

static void a_namespace_that_is_ours_already_is_not_joined(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(
                plan_of(f, "", NS(",{\"type\":\"user\",\"path\":\"/proc/self/ns/user\"}"), "", ""),
                0);
        assert_int_equal(f->plan->join_fds[OCI_NS_USER], -1);
        assert_false(plan_joins_early(f->plan));
}

/* Whoever names the runtime's own namespaces gets nothing set in them: it would be set on the host.
 */
static void what_would_change_our_own_namespaces_is_refused(void **state)
{
        static const struct {
                const char *linux_, *top, *text;
        } cases[] = {
                {"\"namespaces\":[{\"type\":\"mount\",\"path\":\"/proc/self/ns/mnt\"}]", "",
                 "the mount namespace '/proc/self/ns/mnt' is the runtime's own"},
                {NS(",{\"type\":\"uts\",\"path\":\"/proc/self/ns/uts\"}"), ",\"hostname\":\"h\"",
                 "hostname: the uts namespace '/proc/self/ns/uts' is the runtime's own"},
                {NS(",{\"type\":\"uts\",\"path\":\"/proc/self/ns/uts\"}"), ",\"domainname\":\"h\"",
                 "domainname: the uts namespace"},
                {NS(",{\"type\":\"network\",\"path\":\"/proc/self/ns/net\"}") ",\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"}",
                 "", "'net.ipv4.ip_forward': the network namespace '/proc/self/ns/net' is"},
                {NS(",{\"type\":\"ipc\",\"path\":\"/proc/self/ns/ipc\"}") ",\"sysctl\":{\"kernel.shmmax\":\"1\"}",
                 "", "'kernel.shmmax': the ipc namespace '/proc/self/ns/ipc' is"},
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                assert_int_equal(plan_of(f, "", cases[i].linux_, "", cases[i].top), -1);
                assert_refused(f, STATUS_INVALID_ARGUMENT, cases[i].text);
        }
        assert_int_equal(plan_of(f, "",
                                 NS(",{\"type\":\"cgroup\",\"path\":\"/proc/self/ns/cgroup\"}"), "",
                                 ""),
                         0);
        assert_false(f->plan->private_->has_cgroup_namespace);
}

static void namespaces_to_be_joined_before_a_new_user_namespace_are_joined_early(void **state)
{
        struct fixture *f = *state;
        static const char maps[] = ",\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":9}],"
                                   "\"gidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":9}]";
        char linux_[512];
        int here[2], there[2];
        char byte = 0;
        pid_t pid;

        assert_int_equal(pipe2(here, O_CLOEXEC), 0);
        assert_int_equal(pipe2(there, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                (void)close(there[1]);
                if (unshare(CLONE_NEWUTS) < 0 || write(here[1], "r", 1) != 1)
                        _exit(1);
                (void)!read(there[0], &byte, 1);
                _exit(0);
        }
        assert_int_equal(read(here[0], &byte, 1), 1);
        (void)snprintf(
                linux_, sizeof(linux_),
                NS(",{\"type\":\"user\"},{\"type\":\"uts\",\"path\":\"/proc/%d/ns/uts\"}") "%s",
                pid, maps);
        assert_int_equal(plan_of(f, "", linux_, "", ""), 0);
        assert_true(f->plan->join_fds[OCI_NS_UTS] >= 0);
        assert_true(plan_has_new_userns(f->plan));
        assert_true(plan_joins_early(f->plan));
        (void)close(there[1]);
        (void)close(there[0]);
        (void)close(here[0]);
        (void)close(here[1]);
}

static void maps_without_a_user_namespace_and_the_other_way_round_are_refused(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(
                plan_of(f, "",
                        NS("") ",\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":9}]", "",
                        ""),
                -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "need a user namespace");
        assert_int_equal(
                plan_of(f, "",
                        NS(",{\"type\":\"user\"}") ",\"uidMappings\":[{\"containerID\":0,\"hostID\":"
                                                   "1,\"size\":9}]",
                        "", ""),
                -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "linux.gidMappings");
}

static void limits_that_contradict_themselves_are_refused(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(
                plan_of(f, ",\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":9,\"hard\":3}]",
                        NS(""), "", ""),
                -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "process.rlimits[0]");
        assert_int_equal(
                plan_of(f,
                        ",\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":1,\"hard\":3},{"
                        "\"type\":\"RLIMIT_NOFILE\",\"soft\":1,\"hard\":3}]",
                        NS(""), "", ""),
                -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "process.rlimits[1]");
}

static void only_a_tmpfs_is_filled_from_beneath(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(plan_of(f, "", NS(""),
                                 "{\"destination\":\"/a\",\"type\":\"mqueue\",\"options\":["
                                 "\"tmpcopyup\"]}",
                                 ""),
                         -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "mounts[0].options: 'tmpcopyup'");
}

static void network_devices_need_a_network_of_the_containers_own(void **state)
{
        struct fixture *f = *state;
        static const char devices[] = ",\"netDevices\":{\"none0\":{}}";
        char text[256];

        (void)snprintf(text, sizeof(text), "%s%s", NS(""), devices);
        assert_int_equal(plan_of(f, "", text, "", ""), -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "linux.netDevices: needs a network namespace");
        (void)snprintf(text, sizeof(text), "%s%s",
                       NS(",{\"type\":\"network\",\"path\":\"/proc/self/ns/net\"}"), devices);
        assert_int_equal(plan_of(f, "", text, "", ""), -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "is the runtime's own");
        (void)snprintf(text, sizeof(text), "%s%s", NS(",{\"type\":\"network\"}"), devices);
        assert_int_equal(plan_of(f, "", text, "", ""), 0);
}

static void a_source_that_is_missing_is_named(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(plan_of(f, "", NS(""),
                                 "{\"destination\":\"/a\",\"source\":\"/no/such\",\"options\":["
                                 "\"bind\"]}",
                                 ""),
                         -1);
        assert_refused(f, STATUS_UNKNOWN, "mounts[0]: open source '/no/such': No such file");
        assert_int_equal(
                plan_of(f, "", NS(""), "{\"destination\":\"/a\",\"options\":[\"bind\"]}", ""), -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "mounts[0].source");
        assert_int_equal(plan_of(f, "", NS(""), "{\"destination\":\"/a\",\"source\":\"x\"}", ""),
                         -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "mounts[0].type");
}

static void destinations_are_cleaned_before_they_are_judged(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(plan_of(f, "", NS(""),
                                 "{\"destination\":\"a/../b//./c\",\"type\":\"tmpfs\"},{"
                                 "\"destination\":\"/../dev/\",\"type\":\"tmpfs\",\"options\":["
                                 "\"ro\"]}",
                                 ""),
                         0);
        assert_string_equal(f->plan->private_->mounts[0].destination, "/b/c");
        assert_string_equal(f->plan->private_->mounts[1].destination, "/dev");
        assert_true(f->plan->private_->mounts[1].readonly_later);
}

static void a_dev_of_the_host_gets_no_nodes(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(plan_of(f, "", NS(""), "", ""), 0);
        assert_int_equal(f->plan->private_->n_devices, 6);
        assert_int_equal(plan_of(f, "", NS(""),
                                 "{\"destination\":\"/dev\",\"source\":\"/dev\",\"options\":["
                                 "\"rbind\"]}",
                                 ""),
                         0);
        assert_int_equal(f->plan->private_->n_devices, 0);
        assert_false(f->plan->private_->make_dev);
}

static void access_time_options_replace_each_other(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(plan_of(f, "", NS(""),
                                 "{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":["
                                 "\"strictatime\",\"nosuid\",\"exec\"]}",
                                 ""),
                         0);
        assert_int_equal(f->plan->private_->mounts[0].attr_set,
                         MOUNT_ATTR_STRICTATIME | MOUNT_ATTR_NOSUID);
        assert_int_equal(f->plan->private_->mounts[0].attr_clear,
                         MOUNT_ATTR__ATIME | MOUNT_ATTR_NOEXEC);
}

static void a_private_procfs_is_opened_only_if_something_is_written_there(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(plan_of(f, "", NS(""), "", ""), 0);
        assert_int_equal(f->plan->proc_fd, -1);
        assert_int_equal(
                plan_of(f, "",
                        NS(",{\"type\":\"network\"}") ",\"sysctl\":{\"net.core.somaxconn\":"
                                                      "\"9\"}",
                        "", ""),
                0);
        assert_true(f->plan->proc_fd >= 0);
        assert_string_equal(f->plan->private_->sysctl[0].path, "sys/net/core/somaxconn");
}

static void names_of_kernel_parameters_are_translated_once(void **state)
{
        static const struct {
                const char *key, *path; /* NULL: refused */
        } cases[] = {
                {"net.ipv4.conf.eth0/1.forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"},
                {"net/ipv4/conf/eth0.1/forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"},
                {"kernel.shm_rmid_forced", "sys/kernel/shm_rmid_forced"},
                {"fs.mqueue.msg_max", "sys/fs/mqueue/msg_max"},
                {"kernel.domainname", "sys/kernel/domainname"},
                {"kernel.hostname", NULL}, /* a property of its own */
                {"kernel/hostname", NULL},
                {"net/../kernel/panic", NULL},
                {"net.//.kernel", NULL},
                {"net/./x", NULL},
                {"net.", NULL},
                {"", NULL},
                {"kernel.panic", NULL},
                {"kernel.shmmax.x", NULL},
                {"user.max_user_namespaces", NULL},
        };
        struct fixture *f = *state;
        struct oci_spec spec = {0};

        spec.linux_.namespaces[OCI_NS_IPC].present = true;
        spec.linux_.namespaces[OCI_NS_NETWORK].present = true;
        spec.linux_.namespaces[OCI_NS_UTS].present = true;
        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                const char *path = NULL;
                enum oci_namespace_type type;
                int r = plan_sysctl_path(&spec, cases[i].key, f->arena, &path, &type, &f->err);

                if ((r == 0) != (cases[i].path != NULL))
                        fail_msg("'%s': %d", cases[i].key, r);
                if (cases[i].path)
                        assert_string_equal(path, cases[i].path);
        }
}

static void an_exec_takes_the_containers_capabilities_only_if_it_has_none(void **state)
{
        static const char json[] = "{\"cwd\":\"/\",\"args\":[\"x\"],\"user\":{\"uid\":0,\"gid\":0},"
                                   "\"env\":[\"PATH=/a\",\"PATH=/b\"]%s}";
        const struct oci_capabilities container = {.bounding = 7};
        const struct plan_options options = {.id = "p", .bundle = "/"};
        struct fixture *f = *state;
        struct oci_process *process = NULL;
        struct plan *plan = NULL;
        char text[400];

        (void)snprintf(text, sizeof(text), json, "");
        assert_int_equal(oci_process_parse(text, strlen(text), f->arena, &process, &f->err), 0);
        assert_int_equal(
                plan_new_exec(&plan, process, &container, NULL, &options, f->arena, &f->err), 0);
        assert_int_equal(plan->private_->capabilities.bounding, 7);
        assert_string_equal(plan->private_->search_path, "/b");
        (void)snprintf(text, sizeof(text), json, ",\"capabilities\":{\"bounding\":[\"CAP_KILL\"]}");
        assert_int_equal(oci_process_parse(text, strlen(text), f->arena, &process, &f->err), 0);
        assert_int_equal(
                plan_new_exec(&plan, process, &container, NULL, &options, f->arena, &f->err), 0);
        assert_int_equal(plan->private_->capabilities.bounding, 1 << 5);
}

static void of_variables_with_one_name_the_last_one_counts(void **state)
{
        static const char *const in[] = {"PATH=/a", "A=1", "NOVALUE", "B=",    "A=2",    "AB=3",
                                         "HOME=",   "A",   "PATH=/b", "A=1=2", "HOME=/h"};
        static const char *const out[] = {"NOVALUE", "B=", "AB=3", "PATH=/b", "A=1=2", "HOME=/h"};
        struct fixture *f = *state;
        char *unique[UNIT_COUNT(in) + 1];
        const struct oci_strings env = {.items = (char **)in, .n = UNIT_COUNT(in)};

        assert_int_equal(plan_unique_env(&env, unique, f->arena), UNIT_COUNT(out));
        for (size_t i = 0; i < UNIT_COUNT(out); i++)
                assert_string_equal(unique[i], out[i]);
        assert_null(unique[UNIT_COUNT(out)]);
}

static void the_hosts_root_is_no_rootfs(void **state)
{
        struct fixture *f = *state;
        const struct plan_options options = {.id = "p", .bundle = f->bundle};

        assert_int_equal(plan_of(f, "", NS(""), "", ""), 0);
        f->spec->root_path = arena_strdup(f->arena, "../..");
        assert_int_equal(plan_new(&f->plan, f->spec, &options, f->arena, &f->err), -1);
        assert_refused(f, STATUS_INVALID_ARGUMENT, "root.path");
        f->spec->root_path = arena_strdup(f->arena, "nowhere");
        assert_int_equal(plan_new(&f->plan, f->spec, &options, f->arena, &f->err), -1);
        assert_refused(f, STATUS_UNKNOWN, "root.path");
}

static void a_plan_without_memory_fails_and_says_so(void **state)
{
        struct fixture *f = *state;
        const struct plan_options options = {.id = "p", .bundle = f->bundle};
        struct plan *plan = NULL;
        size_t n_failed = 0;

        assert_int_equal(
                plan_of(f, ",\"env\":[\"A=1\"]",
                        NS(",{\"type\":\"network\"}") ",\"sysctl\":{\"net.core.x\":\"1\"},\"seccomp\":{\"defaultAction\":"
                                                      "\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\"],"
                                                      "\"action\":\"SCMP_ACT_ERRNO\"}]}",
                        "{\"destination\":\"/a\",\"type\":\"tmpfs\"}", ""),
                0);
        for (size_t budget = 0; budget < 64 << 10; budget += 64) {
                struct arena *small = arena_new(budget);
                struct error err = ERROR_INIT;

                if (!small)
                        continue;
                if (plan_new(&plan, f->spec, &options, small, &err) < 0) {
                        n_failed++;
                        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
                }
                arena_free(small);
                (void)close_range(20, ~0u, 0);
        }
        assert_true(n_failed > 10);
}

#define with_fixture(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                with_fixture(namespaces_to_be_made_become_flags_of_clone3),
                with_fixture(a_namespace_that_is_ours_already_is_not_joined),
                with_fixture(what_would_change_our_own_namespaces_is_refused),
                with_fixture(namespaces_to_be_joined_before_a_new_user_namespace_are_joined_early),
                with_fixture(maps_without_a_user_namespace_and_the_other_way_round_are_refused),
                with_fixture(limits_that_contradict_themselves_are_refused),
                with_fixture(only_a_tmpfs_is_filled_from_beneath),
                with_fixture(network_devices_need_a_network_of_the_containers_own),
                with_fixture(a_source_that_is_missing_is_named),
                with_fixture(destinations_are_cleaned_before_they_are_judged),
                with_fixture(a_dev_of_the_host_gets_no_nodes),
                with_fixture(access_time_options_replace_each_other),
                with_fixture(a_private_procfs_is_opened_only_if_something_is_written_there),
                with_fixture(names_of_kernel_parameters_are_translated_once),
                with_fixture(an_exec_takes_the_containers_capabilities_only_if_it_has_none),
                with_fixture(of_variables_with_one_name_the_last_one_counts),
                with_fixture(the_hosts_root_is_no_rootfs),
                with_fixture(a_plan_without_memory_fails_and_says_so),
        };

        if (!box_private_mounts())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
