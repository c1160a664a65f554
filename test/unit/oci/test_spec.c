/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole documents, as containerd's clients write them: data/ctr.json is what `ctr oci spec` prints
 * plus a command; the other two are in the manner of Docker and of the CRI plugin.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/oci/spec.h"

#include "test/unit/unit.h"

static struct arena *arena;

static int arena_setup(void **state)
{
        arena = arena_new(1u << 20);
        return arena ? 0 : -1;
}

static int arena_teardown(void **state)
{
        arena = arena_free(arena);
        return 0;
}

static char *read_data(const char *name, size_t *ret_len)
{
        char path[512];
        char *text = NULL;

        (void)snprintf(path, sizeof(path), "%s/%s", OCI_TEST_DATA, name);
        assert_int_equal(file_read(-1, path, LIMIT_CONFIG_BYTES, &text, ret_len), 0);
        return text;
}

static struct oci_spec *parse_data(const char *name)
{
        _cleanup_free_ char *text = NULL;
        struct oci_spec *spec = NULL;
        struct error err = ERROR_INIT;
        size_t len = 0;

        text = read_data(name, &len);
        if (oci_spec_parse(text, len, arena, &spec, &err) < 0)
                fail_msg("%s: %s", name, err.msg);
        return spec;
}

static void the_default_spec_of_ctr_is_read(void **state)
{
        const struct oci_spec *s = parse_data("ctr.json");
        const struct oci_process *p = &s->process;

        assert_string_equal(s->version, "1.0.2-dev");
        assert_string_equal(s->root_path, "rootfs");
        assert_false(s->root_readonly);
        assert_string_equal(s->hostname, "debian");
        assert_null(s->domainname);

        assert_true(s->has_process);
        assert_true(p->terminal);
        assert_true(p->has_console_size);
        assert_int_equal(p->console_height, 24);
        assert_int_equal(p->console_width, 80);
        assert_int_equal(p->args.n, 3);
        assert_string_equal(p->args.items[2], "echo \"hi\"");
        assert_null(p->args.items[3]);
        assert_int_equal(p->env.n, 2);
        assert_string_equal(p->env.items[1], "TERM=xterm");
        assert_null(p->env.items[2]);
        assert_string_equal(p->cwd, "/");
        assert_true(p->no_new_privileges);
        assert_true(p->has_capabilities);
        assert_true(p->capabilities.bounding == UINT64_C(0xa80425fb));
        assert_true(p->capabilities.effective == UINT64_C(0xa80425fb));
        assert_true(p->capabilities.permitted == UINT64_C(0xa80425fb));
        assert_true(p->capabilities.inheritable == 0);
        assert_true(p->capabilities.ambient == 0);
        assert_int_equal(p->n_rlimits, 1);
        assert_int_equal(p->rlimits[0].resource, RLIMIT_NOFILE);
        assert_int_equal(p->rlimits[0].soft, 1024);
        assert_false(p->has_oom_score_adj);
        assert_false(p->user.has_umask);
        assert_false(p->user.has_additional_gids);

        assert_int_equal(s->n_mounts, 7);
        assert_string_equal(s->mounts[1].destination, "/dev");
        assert_string_equal(s->mounts[1].type, "tmpfs");
        assert_string_equal(s->mounts[1].options.items[3], "size=65536k");
        assert_true(s->linux_.namespaces[OCI_NS_PID].present);
        assert_true(s->linux_.namespaces[OCI_NS_NETWORK].present);
        assert_false(s->linux_.namespaces[OCI_NS_USER].present);
        assert_true(s->linux_.has_resources);
        assert_int_equal(s->linux_.resources.n_devices, 1);
        assert_null(s->linux_.seccomp);
        assert_int_equal(s->n_annotations, 1);
}

static void a_spec_in_the_manner_of_docker_is_read(void **state)
{
        const struct oci_spec *s = parse_data("docker.json");
        const struct oci_process *p = &s->process;
        const struct oci_resources *r = &s->linux_.resources;
        const struct oci_seccomp *seccomp = s->linux_.seccomp;

        assert_int_equal(p->user.uid, 1000);
        assert_true(p->user.has_additional_gids);
        assert_int_equal(p->user.n_additional_gids, 2);
        assert_int_equal(p->user.additional_gids[1], 27);
        assert_string_equal(p->env.items[2], "FLAG");
        assert_string_equal(p->apparmor_profile, "docker-default");
        assert_true(p->has_oom_score_adj);
        assert_int_equal(p->oom_score_adj, 0);
        assert_true(p->rlimits[1].hard == UINT64_MAX);

        assert_int_equal(s->hooks.prestart.n, 1);
        assert_string_equal(s->hooks.prestart.items[0].args.items[0], "libnetwork-setkey");
        assert_false(s->hooks.prestart.items[0].has_timeout);

        assert_int_equal(r->n_devices, 4);
        assert_false(r->devices[0].allow);
        assert_int_equal(r->devices[0].type, 'a');
        assert_int_equal(r->devices[0].major, -1);
        assert_true(r->devices[0].read && r->devices[0].write && r->devices[0].mknod);
        assert_int_equal(r->devices[3].minor, 229);
        assert_true(r->memory.has_limit && r->memory.limit == 536870912);
        assert_false(r->memory.has_reservation);
        assert_false(r->memory.has_kernel);
        assert_true(r->memory.has_disable_oom_killer && !r->memory.disable_oom_killer);
        assert_false(r->cpu.has_shares);
        assert_true(r->cpu.has_quota && r->cpu.quota == 50000);
        assert_string_equal(r->cpu.cpus, "0-1");
        assert_null(r->cpu.mems);
        assert_true(r->has_pids && r->pids_limit == 0);

        assert_int_equal(s->linux_.n_devices, 1);
        assert_int_equal(s->linux_.devices[0].file_mode, 0666);
        assert_int_equal(s->linux_.n_sysctl, 2);
        assert_string_equal(s->linux_.sysctl[1].key, "net.ipv4.ping_group_range");
        assert_string_equal(s->linux_.sysctl[1].value, "0 2147483647");

        assert_string_equal(seccomp->default_action, "SCMP_ACT_ERRNO");
        assert_true(seccomp->has_default_errno_ret);
        assert_int_equal(seccomp->architectures.n, 3);
        assert_int_equal(seccomp->n_rules, 4);
        assert_int_equal(seccomp->rules[2].args[0].value, 2114060288);
        assert_string_equal(seccomp->rules[2].args[0].op, "SCMP_CMP_MASKED_EQ");
        assert_true(seccomp->rules[3].has_errno_ret);
        assert_int_equal(seccomp->rules[3].errno_ret, 38);
}

static void a_spec_in_the_manner_of_cri_is_read(void **state)
{
        const struct oci_spec *s = parse_data("cri.json");
        const struct oci_linux *l = &s->linux_;
        const struct oci_resources *r = &l->resources;

        assert_true(s->root_readonly);
        assert_string_equal(s->domainname, "web.default.svc");
        /* The capability that nobody knows yet is ignored. */
        assert_true(s->process.capabilities.bounding == UINT64_C(0xa80425fb));
        assert_true(s->process.capabilities.ambient == UINT64_C(1) << CAP_NET_BIND_SERVICE);
        assert_int_equal(s->process.oom_score_adj, -997);
        assert_null(s->process.selinux_label);
        assert_int_equal(s->process.n_rlimits, 0);

        assert_string_equal(s->mounts[1].destination, "/dev/shm");
        assert_int_equal(s->hooks.create_runtime.items[0].timeout_s, 5);
        assert_int_equal(s->hooks.create_container.items[0].args.n, 1);
        assert_string_equal(s->hooks.create_container.items[0].args.items[0],
                            "/usr/bin/nvidia-ctk");
        assert_null(s->hooks.create_container.items[0].args.items[1]);
        assert_int_equal(s->hooks.start_container.n, 0);
        assert_int_equal(s->hooks.poststop.n, 1);
        assert_string_equal(s->annotations[2].key, "empty");
        assert_string_equal(s->annotations[2].value, "");

        assert_int_equal(l->n_uid_mappings, 1);
        assert_int_equal(l->uid_mappings[0].host_id, 65536);
        assert_true(l->namespaces[OCI_NS_USER].present);
        assert_null(l->namespaces[OCI_NS_USER].path);
        assert_string_equal(l->namespaces[OCI_NS_NETWORK].path, "/var/run/netns/cni-1");
        assert_string_equal(l->rootfs_propagation, "rslave");
        assert_int_equal(l->masked_paths.n, 10);
        assert_string_equal(l->readonly_paths.items[4], "/proc/sysrq-trigger");
        assert_int_equal(l->seccomp->n_rules, 0);

        assert_true(r->memory.has_swappiness && r->memory.swappiness == 0);
        assert_true(r->memory.check_before_update);
        assert_true(r->cpu.has_quota && r->cpu.quota == -1);
        assert_true(r->cpu.has_burst && r->cpu.has_idle);
        assert_false(r->cpu.has_rt_runtime);
        assert_true(r->has_pids && r->pids_limit == -1);
        assert_true(r->hugepage_limits[1].limit == UINT64_MAX);
        assert_string_equal(r->unified[0].file, "memory.oom.group");
        assert_string_equal(r->unified[0].value, "1");
}

static void the_smallest_spec_has_no_process_and_no_limits(void **state)
{
        static const char text[] =
                "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"x\":[1.5]}";
        struct oci_spec *s = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(oci_spec_parse(text, sizeof(text) - 1, arena, &s, &err), 0);
        assert_false(s->has_process);
        assert_false(s->linux_.has_resources);
        assert_int_equal(s->n_mounts, 0);
        assert_int_equal(s->n_annotations, 0);
}

static void an_exec_brings_a_lone_process(void **state)
{
        static const char text[] =
                "{\"args\":[\"\\u00e9\\ud83d\\ude00\"],\"cwd\":\"/tmp\",\"user\":"
                "{\"uid\":4294967294,\"umask\":63,\"additionalGids\":[]}}";
        struct oci_process *p = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(oci_process_parse(text, sizeof(text) - 1, arena, &p, &err), 0);
        assert_string_equal(p->args.items[0], "\xc3\xa9\xf0\x9f\x98\x80");
        assert_true(p->user.uid == UINT32_MAX - 1);
        assert_int_equal(p->user.gid, 0);
        assert_true(p->user.has_umask);
        assert_int_equal(p->user.umask, 077);
        assert_true(p->user.has_additional_gids);
        assert_int_equal(p->user.n_additional_gids, 0);
        assert_false(p->has_capabilities);
        assert_int_equal(p->env.n, 0);
        assert_null(p->env.items[0]);
}

static void every_capability_has_its_number(void **state)
{
        static const char text[] =
                "{\"args\":[\"x\"],\"cwd\":\"/\",\"capabilities\":{"
                "\"bounding\":[\"CAP_CHOWN\"],\"effective\":[\"CAP_CHECKPOINT_RESTORE\"],"
                "\"permitted\":[\"CAP_BPF\",\"CAP_SYSLOG\",\"cap_kill\",\"KILL\"],"
                "\"inheritable\":[\"CAP_SETFCAP\",\"CAP_SETFCAP\"],\"ambient\":[\"CAP_SYS_ADMIN\"]}}";
        struct oci_process *p = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(oci_process_parse(text, sizeof(text) - 1, arena, &p, &err), 0);
        assert_true(p->capabilities.bounding == UINT64_C(1) << CAP_CHOWN);
        assert_true(p->capabilities.effective == UINT64_C(1) << CAP_CHECKPOINT_RESTORE);
        assert_true(p->capabilities.permitted ==
                    (UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_SYSLOG));
        assert_true(p->capabilities.inheritable == UINT64_C(1) << CAP_SETFCAP);
        assert_true(p->capabilities.ambient == UINT64_C(1) << CAP_SYS_ADMIN);
}

static void zeros_of_an_update_change_nothing(void **state)
{
        static const char text[] =
                "{\"memory\":{\"limit\":0,\"reservation\":0,\"kernel\":0,\"swap\":-1},"
                "\"cpu\":{\"shares\":0,\"quota\":0,\"period\":0,\"cpus\":\"\",\"mems\":\"\"},"
                "\"blockIO\":{\"weight\":0},\"pids\":{\"limit\":-7}}";
        struct oci_resources *r = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(oci_resources_parse(text, sizeof(text) - 1, arena, &r, &err), 0);
        assert_true(r->has_memory && r->has_cpu);
        assert_false(r->memory.has_limit || r->memory.has_reservation || r->memory.has_kernel);
        assert_true(r->memory.has_swap && r->memory.swap == -1);
        assert_false(r->cpu.has_shares || r->cpu.has_quota || r->cpu.has_period);
        assert_true(r->has_pids && r->pids_limit == -1);
}

static void a_swappiness_of_minus_one_is_none(void **state)
{
        static const char text[] = "{\"memory\":{\"swappiness\":18446744073709551615}}";
        struct oci_resources *r = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(oci_resources_parse(text, sizeof(text) - 1, arena, &r, &err), 0);
        assert_false(r->memory.has_swappiness);
}

static void limits_of_block_devices_networks_and_rdma_are_read(void **state)
{
        static const char text[] =
                "{\"blockIO\":{\"weight\":500,\"leafWeight\":10,\"weightDevice\":[{\"major\":8,"
                "\"minor\":16,\"weight\":1000}],\"throttleReadBpsDevice\":[{\"major\":254,"
                "\"minor\":0,\"rate\":18446744073709551615}],\"throttleWriteIOPSDevice\":"
                "[{\"major\":1,\"minor\":2,\"rate\":3},{\"major\":1,\"minor\":3,\"rate\":0}]},"
                "\"network\":{\"classID\":1048577,\"priorities\":[{\"name\":\"eth0\","
                "\"priority\":5}]},"
                "\"rdma\":{\"mlx5_1\":{\"hcaHandles\":3},\"mlx4_0\":{\"hcaObjects\":0}},"
                "\"devices\":[]}";
        struct oci_resources *r = NULL;
        struct error err = ERROR_INIT;
        const struct oci_throttle_list *t;

        assert_int_equal(oci_resources_parse(text, sizeof(text) - 1, arena, &r, &err), 0);
        assert_int_equal(r->block_io.weight, 500);
        assert_int_equal(r->block_io.leaf_weight, 10);
        assert_int_equal(r->block_io.n_weight_devices, 1);
        assert_int_equal(r->block_io.weight_devices[0].minor, 16);
        assert_int_equal(r->block_io.weight_devices[0].weight, 1000);
        assert_int_equal(r->block_io.weight_devices[0].leaf_weight, 0);
        t = r->block_io.throttle;
        assert_int_equal(t[OCI_THROTTLE_READ_BPS].n, 1);
        assert_int_equal(t[OCI_THROTTLE_READ_BPS].items[0].major, 254);
        assert_true(t[OCI_THROTTLE_READ_BPS].items[0].rate == UINT64_MAX);
        assert_int_equal(t[OCI_THROTTLE_WRITE_BPS].n, 0);
        assert_int_equal(t[OCI_THROTTLE_WRITE_IOPS].n, 2);
        assert_int_equal(t[OCI_THROTTLE_WRITE_IOPS].items[0].rate, 3);
        assert_true(r->network.has_class_id && r->network.class_id == 1048577);
        assert_string_equal(r->network.priorities[0].name, "eth0");
        assert_int_equal(r->network.priorities[0].priority, 5);
        assert_int_equal(r->n_rdma, 2);
        assert_string_equal(r->rdma[0].device, "mlx5_1");
        assert_true(r->rdma[0].has_handles && r->rdma[0].handles == 3);
        assert_false(r->rdma[0].has_objects);
        assert_true(r->rdma[1].has_objects && r->rdma[1].objects == 0);
        assert_true(r->has_devices && r->n_devices == 0);
}

static void annotations_are_read_without_the_rest(void **state)
{
        static const char some[] = "{\"annotations\":{\"a\":\"b\"},\"process\":7}";
        struct oci_key_value *pairs = NULL;
        struct error err = ERROR_INIT;
        size_t n = 9;

        assert_int_equal(oci_annotations_parse(some, sizeof(some) - 1, arena, &pairs, &n, &err), 0);
        assert_int_equal(n, 1);
        assert_string_equal(pairs[0].key, "a");
        assert_string_equal(pairs[0].value, "b");
        assert_int_equal(oci_annotations_parse("{}", 2, arena, &pairs, &n, &err), 0);
        assert_int_equal(n, 0);
}

static void a_cgroups_path_is_read_without_the_rest(void **state)
{
        static const char some[] =
                "{\"linux\":{\"cgroupsPath\":\"/a/b\",\"resources\":1},\"root\":7}";
        struct error err = ERROR_INIT;
        char *path = NULL;

        assert_int_equal(oci_cgroups_path_parse(some, sizeof(some) - 1, arena, &path, &err), 0);
        assert_string_equal(path, "/a/b");
        assert_int_equal(oci_cgroups_path_parse("{}", 2, arena, &path, &err), 0);
        assert_null(path);
        assert_int_equal(oci_cgroups_path_parse("[]", 2, arena, &path, &err), -1);
}

static void an_arena_that_is_too_small_is_an_error_at_every_step(void **state)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        size_t budget = 0;
        int r = -1;

        text = read_data("cri.json", &len);
        for (; r < 0 && budget < 1u << 16; budget += 97) {
                struct arena *small = arena_new(budget);
                struct oci_spec *spec = NULL;
                struct error err = ERROR_INIT;

                r = oci_spec_parse(text, len, small, &spec, &err);
                if (r < 0) {
                        assert_null(spec);
                        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
                        assert_string_equal(err.msg, "config.json: out of memory");
                }
                arena_free(small);
        }
        assert_int_equal(r, 0);
        assert_true(budget > 4096);
}

/* Every prefix of a document is an error, and none reads past its end (which ASan would see). */
static void a_document_that_is_cut_short_is_an_error(void **state)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;

        text = read_data("docker.json", &len);
        while (len > 0 && text[len - 1] == '\n')
                len--;
        for (size_t n = 0; n < len; n++) {
                _cleanup_free_ char *part = malloc(n + 1);
                struct oci_spec *spec = NULL;
                struct error err = ERROR_INIT;

                memcpy(part, text, n);
                part[n] = 'x';
                assert_int_equal(oci_spec_parse(part, n, arena, &spec, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_setup, arena_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(the_default_spec_of_ctr_is_read),
                TEST(a_spec_in_the_manner_of_docker_is_read),
                TEST(a_spec_in_the_manner_of_cri_is_read),
                TEST(the_smallest_spec_has_no_process_and_no_limits),
                TEST(an_exec_brings_a_lone_process),
                TEST(every_capability_has_its_number),
                TEST(zeros_of_an_update_change_nothing),
                TEST(a_swappiness_of_minus_one_is_none),
                TEST(limits_of_block_devices_networks_and_rdma_are_read),
                TEST(annotations_are_read_without_the_rest),
                TEST(a_cgroups_path_is_read_without_the_rest),
                TEST(an_arena_that_is_too_small_is_an_error_at_every_step),
                TEST(a_document_that_is_cut_short_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
