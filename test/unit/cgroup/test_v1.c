/* SPDX-License-Identifier: Apache-2.0
 *
 * Cgroups on the hierarchies of this host, where they are v1.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/oom.h"

#include "test/unit/cgroup/harness.h"
#include "test/unit/unit.h"

CLEANUP_DEFINE(struct cgroup_oom, cgroup_oom_free)

enum { EXIT_SKIP = 77, MIB = 1 << 20 };

static void assert_file(const struct cgroup *cg, const char *controller, const char *file,
                        const char *want)
{
        _cleanup_free_ char *got = harness_read(cg, controller, file);

        assert_string_equal(got, want);
}

/* A path below the container's directory. */
static const char *below(struct harness *h, const char *controller, const char *name)
{
        return arena_printf(h->arena, "%s%s", harness_dir(&h->cg, controller), name);
}

static void directories_are_made_everywhere_and_removed_with_their_parents(void **state)
{
        struct harness *h = *state;
        struct cgroup cg = h->cg;
        struct error err;

        for (size_t i = 0; i < cg.n_dirs; i++) {
                assert_true(harness_exists(cg.dirs[i].path));
                assert_true(cg.dirs[i].created);
                assert_int_equal(cg.dirs[i].n_parents, 1);
        }
        assert_ok(cgroup_remove(&cg, 0, &err), err);
        for (size_t i = 0; i < cg.n_dirs; i++) {
                char *parent = arena_strdup(h->arena, cg.dirs[i].path);

                assert_false(harness_exists(cg.dirs[i].path));
                *strrchr(parent, '/') = '\0';
                assert_false(harness_exists(parent));
                *strrchr(parent, '/') = '\0';
                assert_true(harness_exists(parent));
        }
        assert_ok(cgroup_remove(&cg, 0, &err), err); /* again: nothing to do */
}

static void a_parent_in_use_stays(void **state)
{
        struct harness *h = *state;
        char path[80];
        struct cgroup other;
        struct error err;

        (void)snprintf(path, sizeof(path), "%.*s/other", (int)strlen(h->path) - 2, h->path);
        other = harness_plan(h, path);
        harness_create(&other);
        assert_int_equal(other.dirs[0].n_parents, 0);
        assert_ok(cgroup_remove(&h->cg, 0, &err), err);
        for (size_t i = 0; i < other.n_dirs; i++) {
                assert_false(harness_exists(h->cg.dirs[i].path));
                assert_true(harness_exists(other.dirs[i].path));
                other.dirs[i].n_parents = 1; /* leave nothing behind */
        }
        assert_ok(cgroup_remove(&other, 0, &err), err);
}

static void new_cpusets_have_the_cpus_of_their_parents(void **state)
{
        struct harness *h = *state;
        _cleanup_free_ char *cpus = harness_read(&h->cg, "cpuset", "cpuset.cpus");
        _cleanup_free_ char *mems = harness_read(&h->cg, "cpuset", "cpuset.mems");

        assert_true(*cpus != '\0');
        assert_true(*mems != '\0');
}

static void a_failed_creation_leaves_nothing(void **state)
{
        struct harness *h = *state;
        struct cgroup_layout layout = h->layout;
        char dir[] = "/tmp/belay-nocg-XXXXXX";
        char path[80];
        struct cgroup cg;
        struct error err;

        assert_non_null(mkdtemp(dir));
        assert_true(layout.n_hierarchies < CGROUP_HIERARCHIES_MAX);
        layout.hierarchies[layout.n_hierarchies++] =
                (struct cgroup_hierarchy){.mountpoint = dir, .root = "/", .controllers = "bogus"};
        (void)snprintf(path, sizeof(path), "%s/failed/deeply", h->path);
        assert_ok(cgroup_plan(&layout, path, "x", h->arena, &cg, &err), err);
        assert_error(cgroup_create(&cg, &err), err, "not in a cgroup file system");
        for (size_t i = 0; i < cg.n_dirs; i++) {
                *strrchr((char *)cg.dirs[i].path, '/') = '\0';
                assert_false(harness_exists(cg.dirs[i].path));
        }
        assert_int_equal(rmdir(dir), 0); /* nothing was made in it */
}

static void a_directory_with_processes_or_frozen_is_refused(void **state)
{
        struct harness *h = *state;
        struct cgroup again = harness_plan(h, h->path);
        struct error err;
        pid_t pid;

        harness_create(&again); /* idle: it may be used, but it is not ours */
        for (size_t i = 0; i < again.n_dirs; i++)
                assert_false(again.dirs[i].created);
        pid = harness_child(h, &h->cg, NULL, NULL);
        assert_error(cgroup_create(&again, &err), err, "has processes in it");
        assert_int_equal(err.code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)harness_wait(h, pid);
        assert_ok(cgroup_freeze(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_error(cgroup_create(&again, &err), err, "is frozen");
        assert_ok(cgroup_thaw(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        for (size_t i = 0; i < again.n_dirs; i++)
                assert_true(harness_exists(again.dirs[i].path));
}

static void members_are_listed_with_those_of_sub_cgroups(void **state)
{
        struct harness *h = *state;
        struct error err;
        pid_t pids[3];
        pid_t *list;
        size_t n;

        assert_ok(cgroup_pids(&h->cg, &list, &n, &err), err);
        assert_int_equal(n, 0);
        free(list);
        for (int i = 0; i < 3; i++)
                pids[i] = harness_child(h, &h->cg, NULL, NULL);
        assert_int_equal(mkdir(below(h, "freezer", "/sub"), 0755), 0);
        assert_int_equal(mkdir(below(h, "freezer", "/sub/sub"), 0755), 0);
        assert_int_equal(file_write(AT_FDCWD, below(h, "freezer", "/sub/sub/tasks"),
                                    arena_printf(h->arena, "%d", (int)pids[1])),
                         0);
        assert_ok(cgroup_pids(&h->cg, &list, &n, &err), err);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < 3; i++) {
                bool found = false;

                for (size_t k = 0; k < n; k++)
                        found |= list[k] == pids[i];
                assert_true(found);
                assert_true(i == 0 || list[i - 1] < list[i]);
        }
        free(list);
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(kill(pids[i], SIGKILL), 0);
                (void)harness_wait(h, pids[i]);
        }
        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_ok(cgroup_pids(&h->cg, &list, &n, &err), err); /* gone: nobody */
        assert_int_equal(n, 0);
        free(list);
}

static void limits_arrive_in_their_files(void **state)
{
        struct harness *h = *state;
        struct error err;
        const struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_limit = true,
                           .limit = 64 * MIB,
                           .has_swap = true,
                           .swap = 96 * MIB,
                           .has_reservation = true,
                           .reservation = 32 * MIB,
                           .has_swappiness = true,
                           .swappiness = 10,
                           .has_kernel = true,
                           .has_kernel_tcp = true,
                           .has_use_hierarchy = true},
                .has_cpu = true,
                .cpu = {.has_shares = true,
                        .shares = 512,
                        .has_quota = true,
                        .quota = 20000,
                        .has_period = true,
                        .period = 50000,
                        .has_burst = true,
                        .burst = 10000,
                        .cpus = (char *)"0",
                        .mems = (char *)"0"},
                .has_pids = true,
                .pids_limit = 100,
        };

        assert_ok(cgroup_apply(&h->cg, &r, &err), err);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "67108864");
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "100663296");
        assert_file(&h->cg, "memory", "memory.soft_limit_in_bytes", "33554432");
        assert_file(&h->cg, "memory", "memory.swappiness", "10");
        assert_file(&h->cg, "cpu", "cpu.shares", "512");
        assert_file(&h->cg, "cpu", "cpu.cfs_quota_us", "20000");
        assert_file(&h->cg, "cpu", "cpu.cfs_period_us", "50000");
        assert_file(&h->cg, "cpu", "cpu.cfs_burst_us", "10000");
        assert_file(&h->cg, "cpuset", "cpuset.cpus", "0");
        assert_file(&h->cg, "pids", "pids.max", "100");
}

static void apply_memory(struct harness *h, int64_t limit, int64_t swap)
{
        struct error err;
        struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_limit = true, .limit = limit, .has_swap = swap != 0, .swap = swap}};

        assert_ok(cgroup_update(&h->cg, &r, &err), err);
}

static void memory_and_swap_move_together_in_either_direction(void **state)
{
        struct harness *h = *state;

        apply_memory(h, 64 * MIB, 64 * MIB);
        apply_memory(h, 128 * MIB, 256 * MIB);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "134217728");
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "268435456");
        apply_memory(h, 32 * MIB, 48 * MIB);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "33554432");
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "50331648");
        apply_memory(h, -1, 0);
        assert_file(&h->cg, "memory", "memory.memsw.limit_in_bytes", "9223372036854771712");
        apply_memory(h, 64 * MIB, -1);
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", "67108864");
}

static void quota_and_period_move_together_in_either_direction(void **state)
{
        struct harness *h = *state;
        struct error err;
        static const struct {
                int64_t quota;
                uint64_t period;
                uint64_t burst;
        } steps[] = {{100000, 100000, 100000}, {2000, 10000, 1000}, {500000, 1000000, 500000}};
        struct oci_resources r = {
                .has_cpu = true, .cpu = {.has_quota = true, .has_period = true, .has_burst = true}};

        for (size_t i = 0; i < UNIT_COUNT(steps); i++) {
                char text[24];

                r.cpu.quota = steps[i].quota;
                r.cpu.period = steps[i].period;
                r.cpu.burst = steps[i].burst;
                assert_ok(cgroup_update(&h->cg, &r, &err), err);
                (void)snprintf(text, sizeof(text), "%lld", (long long)steps[i].quota);
                assert_file(&h->cg, "cpu", "cpu.cfs_quota_us", text);
        }
}

static void pids_limits_of_zero_and_below_are_one_and_none(void **state)
{
        struct harness *h = *state;
        struct error err;
        struct oci_resources r = {.has_pids = true, .pids_limit = 0};

        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "pids", "pids.max", "1");
        r.pids_limit = -1;
        assert_ok(cgroup_update(&h->cg, &r, &err), err);
        assert_file(&h->cg, "pids", "pids.max", "max");
}

static void errors_name_the_field_and_what_was_changed_is_set_back(void **state)
{
        struct harness *h = *state;
        struct error err;
        struct oci_hugepage_limit huge = {.page_size = (char *)"2MB", .limit = 0};
        struct oci_unified unified = {.file = (char *)"memory.high", .value = (char *)"1"};
        struct oci_resources cpus = {
                .has_memory = true,
                .memory = {.has_limit = true, .limit = 64 * MIB},
                .has_cpu = true,
                .cpu = {.has_shares = true, .shares = 99, .cpus = (char *)"4000"}};
        struct oci_resources swap = {
                .has_memory = true,
                .memory = {
                        .has_limit = true, .limit = 64 * MIB, .has_swap = true, .swap = 32 * MIB}};
        struct oci_resources v2 = {.unified = &unified, .n_unified = 1};
        struct oci_resources no_huge = {.hugepage_limits = &huge, .n_hugepage_limits = 1};
        _cleanup_free_ char *before = harness_read(&h->cg, "memory", "memory.limit_in_bytes");

        assert_error(cgroup_update(&h->cg, &cpus, &err), err,
                     "linux.resources.cpu.cpus: write '4000'");
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", before);
        assert_file(&h->cg, "cpu", "cpu.shares", "1024");
        assert_error(cgroup_update(&h->cg, &swap, &err), err, "linux.resources.memory.swap");
        assert_file(&h->cg, "memory", "memory.limit_in_bytes", before);
        assert_error(cgroup_update(&h->cg, &v2, &err), err, "linux.resources.unified");
        if (!cgroup_find_v1(&h->cg, "hugetlb"))
                assert_error(cgroup_update(&h->cg, &no_huge, &err), err,
                             "linux.resources.hugepageLimits: this host has no hugetlb controller");
}

static void a_missing_controller_is_refused_by_field(void **state)
{
        struct harness *h = *state;
        struct cgroup none = {.n_dirs = 1, .dirs = {*cgroup_find_v1(&h->cg, "cpu")}};
        struct oci_resources memory = {.has_memory = true,
                                       .memory = {.has_limit = true, .limit = MIB}};
        struct oci_resources ignored = {
                .has_memory = true, .memory = {.has_kernel = true, .has_disable_oom_killer = true}};
        struct oci_resources pids = {.has_pids = true, .pids_limit = 1};
        struct error err;

        assert_error(cgroup_update(&none, &memory, &err), err,
                     "linux.resources.memory.limit: this host has no memory controller");
        assert_error(cgroup_update(&none, &pids, &err), err,
                     "linux.resources.pids.limit: this host has no pids controller");
        assert_error(cgroup_apply(&none, NULL, &err), err, "no devices controller");
        assert_ok(cgroup_update(&none, &ignored, &err), err);
}

static int open_status(const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);

        return fd < 0 ? errno : 0;
}

static int use_devices(void *userdata)
{
        if (open_status("/dev/null") != 0)
                return 1;
        if (open_status("/dev/kmsg") != EPERM)
                return 2;
        if (mknod(userdata, S_IFCHR | 0600, 0x0a05) < 0)
                return 3;
        return open_status(userdata) == EPERM ? 0 : 4;
}

static void by_default_only_the_usual_devices_can_be_used(void **state)
{
        struct harness *h = *state;
        struct error err;
        char path[64];
        int status;

        (void)snprintf(path, sizeof(path), "/tmp/belay-unit-node-%d", (int)getpid());
        assert_ok(cgroup_apply(&h->cg, NULL, &err), err);
        status = harness_wait(h, harness_child(h, &h->cg, use_devices, path));
        (void)unlink(path);
        assert_int_equal(status, 0);
}

static void device_rules_are_written_in_order(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule rules[] = {
                {.type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true},
                {.allow = true,
                 .type = 'c',
                 .major = 10,
                 .minor = 229,
                 .read = true,
                 .write = true},
                {.allow = true, .type = 'b', .major = 8, .minor = 20, .read = true, .write = true},
                {.type = 'b', .major = 8, .minor = 20, .write = true},
        };
        struct oci_resources r = {.devices = rules, .n_devices = UNIT_COUNT(rules)};
        struct error err;
        _cleanup_free_ char *list = NULL;

        assert_ok(cgroup_apply(&h->cg, &r, &err), err);
        list = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(list, "c 10:229 rw\n"));
        assert_non_null(strstr(list, "b 8:20 r\n"));
        assert_non_null(strstr(list, "c 136:* rwm"));
        assert_null(strstr(list, "a *:*"));
}

static void a_privileged_container_may_use_everything(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule all = {.allow = true,
                                      .type = 'a',
                                      .major = -1,
                                      .minor = -1,
                                      .read = true,
                                      .write = true,
                                      .mknod = true};
        struct oci_resources r = {.devices = &all, .n_devices = 1};
        struct error err;

        assert_ok(cgroup_apply(&h->cg, &r, &err), err);
        assert_file(&h->cg, "devices", "devices.list", "a *:* rwm");
        r.n_devices = 0;
        assert_ok(cgroup_update(&h->cg, &r, &err), err); /* an update leaves devices alone */
        assert_file(&h->cg, "devices", "devices.list", "a *:* rwm");
}

static void rules_for_both_types_with_less_than_everything_are_two(void **state)
{
        struct harness *h = *state;
        struct oci_device_rule some = {
                .allow = true, .type = 'a', .major = 7, .minor = -1, .read = true};
        struct oci_resources r = {.devices = &some, .n_devices = 1};
        struct error err;
        _cleanup_free_ char *list = NULL;

        assert_ok(cgroup_apply(&h->cg, &r, &err), err);
        list = harness_read(&h->cg, "devices", "devices.list");
        assert_non_null(strstr(list, "b 7:* r\n"));
        assert_non_null(strstr(list, "c 7:* r\n"));
        assert_null(strstr(list, "a *:*"));
}

static void assert_all_killed(struct harness *h, const struct cgroup *cg, int signo)
{
        struct error err;
        pid_t pids[3];
        pid_t *list;
        size_t n;

        for (int i = 0; i < 3; i++)
                pids[i] = harness_child(h, cg, NULL, NULL);
        assert_ok(cgroup_kill(cg, signo, HARNESS_TIMEOUT_MS, &err), err);
        for (int i = 0; i < 3; i++)
                assert_int_equal(harness_wait(h, pids[i]), 1000 + signo);
        assert_ok(cgroup_pids(cg, &list, &n, &err), err);
        assert_int_equal(n, 0);
        free(list);
}

static void a_signal_reaches_all(void **state)
{
        struct harness *h = *state;

        assert_all_killed(h, &h->cg, SIGTERM);
        assert_all_killed(h, &h->cg, SIGKILL);
}

/* The same container without its v2 directory, as on a host that has none. */
static struct cgroup only_v1(const struct cgroup *cg)
{
        struct cgroup v1 = {0};

        for (size_t i = 0; i < cg->n_dirs; i++) {
                if (!cg->dirs[i].is_v2)
                        v1.dirs[v1.n_dirs++] = cg->dirs[i];
        }
        return v1;
}

static void all_can_be_killed_without_cgroup_kill(void **state)
{
        struct harness *h = *state;
        struct cgroup v1 = only_v1(&h->cg);

        assert_false(cgroup_has_kill(&v1));
        assert_all_killed(h, &v1, SIGKILL);
        assert_file(&h->cg, "freezer", "freezer.state", "THAWED");
}

static void what_v2_does_not_know_is_killed_nevertheless(void **state)
{
        struct harness *h = *state;
        struct cgroup v1 = only_v1(&h->cg);
        struct error err;
        pid_t stray;
        pid_t member;

        if (!cgroup_has_kill(&h->cg))
                return;
        stray = harness_child(h, &v1, NULL, NULL);
        member = harness_child(h, &h->cg, NULL, NULL);
        assert_ok(cgroup_kill(&h->cg, SIGKILL, HARNESS_TIMEOUT_MS, &err), err);
        assert_int_equal(harness_wait(h, stray), 1000 + SIGKILL);
        assert_int_equal(harness_wait(h, member), 1000 + SIGKILL);
}

static void a_frozen_container_can_be_killed(void **state)
{
        struct harness *h = *state;
        struct error err;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);

        assert_ok(cgroup_freeze(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        assert_int_equal(kill(pid, SIGTERM), 0);
        assert_true(harness_is_alive(pid));
        assert_ok(cgroup_kill(&h->cg, SIGKILL, HARNESS_TIMEOUT_MS, &err), err);
        (void)harness_wait(h, pid);
}

static int touch_memory(void *userdata)
{
        size_t size = *(size_t *)userdata;
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return 1;
        for (size_t i = 0; i < size; i += 4096)
                p[i] = 1;
        return 0;
}

static void set_limit(const char *dir, size_t limit)
{
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char text[32];

        (void)snprintf(text, sizeof(text), "%zu", limit);
        assert_int_equal(file_write(fd, "memory.limit_in_bytes", text), 0);
        (void)file_write(fd, "memory.memsw.limit_in_bytes", text); /* without swap: not there */
}

static struct cgroup_oom *watch_oom(struct harness *h)
{
        struct cgroup_oom *oom = NULL;
        struct error err;

        assert_ok(cgroup_oom_new(&h->cg, &oom, &err), err);
        return oom;
}

static struct cgroup_oom_news oom_news(struct cgroup_oom *oom)
{
        struct cgroup_oom_news news;

        cgroup_oom_read(oom, false, &news);
        return news;
}

static void await_readable(const struct cgroup_oom *oom)
{
        struct pollfd p = {.fd = cgroup_oom_fd(oom), .events = POLLIN};

        assert_int_equal(poll(&p, 1, HARNESS_TIMEOUT_MS), 1);
}

static void assert_oom(struct cgroup_oom *oom, unsigned long n, enum cgroup_oom_level level,
                       unsigned n_up)
{
        struct cgroup_oom_news news = oom_news(oom);

        assert_int_equal(news.n_kills, n);
        assert_int_equal(news.level, level);
        assert_int_equal(news.n_up, n_up);
}

/* Reads as often as it is told to; the last news of a kill, with the sum of all kills. */
static struct cgroup_oom_news oom_settled(struct cgroup_oom *oom)
{
        struct cgroup_oom_news all = {.n_kills = 0};
        struct cgroup_oom_news news;

        do {
                struct pollfd p = {.fd = cgroup_oom_fd(oom), .events = POLLIN};

                news = oom_news(oom);
                if (news.n_kills > 0) {
                        news.n_kills += all.n_kills;
                        all = news;
                }
                (void)poll(&p, 1, (int)news.look_again_ms);
        } while (news.look_again_ms > 0);
        return all;
}

static void oom_kills_are_counted(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = NULL;

        apply_memory(h, 16 * MIB, 16 * MIB);
        oom = watch_oom(h);
        assert_int_equal(oom_news(oom).n_kills, 0);
        assert_int_equal(harness_wait(h, harness_child(h, &h->cg, touch_memory, &size)),
                         1000 + SIGKILL);
        assert_oom(oom, 1, CGROUP_OOM_OWN, 0);
        assert_int_equal(oom_news(oom).n_kills, 0);
}

/* A cgroup below the container's memory directory, with a limit of its own (0: none). */
static struct cgroup make_below(struct harness *h, const char *name, size_t limit)
{
        struct cgroup sub = {
                .dirs = {{.path = below(h, "memory", name), .controllers = "memory"}},
                .n_dirs = 1,
        };

        assert_int_equal(mkdir(sub.dirs[0].path, 0755), 0);
        if (limit > 0)
                set_limit(sub.dirs[0].path, limit);
        return sub;
}

static void oom_kills_in_sub_cgroups_are_counted(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = NULL;
        struct cgroup before = make_below(h, "/before", 8 * MIB);
        struct cgroup after;

        apply_memory(h, 32 * MIB, 32 * MIB);
        oom = watch_oom(h);
        (void)harness_wait(h, harness_child(h, &before, touch_memory, &size));
        await_readable(oom);
        assert_oom(oom, 1, CGROUP_OOM_BELOW, 0);
        after = make_below(h, "/after", 0);
        await_readable(oom); /* a new one is noticed */
        assert_int_equal(oom_news(oom).n_kills, 0);
        (void)harness_wait(h, harness_child(h, &after, touch_memory, &size));
        await_readable(oom);
        assert_oom(oom, 1, CGROUP_OOM_OWN, 0); /* of the container's limit */
        assert_int_equal(rmdir(before.dirs[0].path), 0);
        assert_int_equal(rmdir(after.dirs[0].path), 0);
        assert_int_equal(oom_settled(oom).n_kills, 0); /* what is gone stays counted */
}

static void a_kill_in_a_sub_cgroup_that_is_removed_at_once_is_not_lost(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = watch_oom(h);
        struct cgroup_oom_news news;
        struct cgroup sub = make_below(h, "/sub", 8 * MIB);

        assert_int_equal(oom_news(oom).n_kills, 0);
        (void)harness_wait(h, harness_child(h, &sub, touch_memory, &size));
        while (rmdir(sub.dirs[0].path) < 0)
                assert_int_equal(errno, EBUSY);
        news = oom_settled(oom);
        assert_int_equal(news.n_kills, 1);
        assert_int_equal(news.level, CGROUP_OOM_BELOW);
}

static void the_limit_of_a_parent_is_told_from_the_own_one(void **state)
{
        struct harness *h = *state;
        size_t size = 64 * MIB;
        char *parent = arena_strdup(h->arena, harness_dir(&h->cg, "memory"));
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = watch_oom(h);

        *strrchr(parent, '/') = '\0';
        set_limit(parent, 16 * MIB);
        (void)harness_wait(h, harness_child(h, &h->cg, touch_memory, &size));
        await_readable(oom);
        assert_oom(oom, 1, CGROUP_OOM_ANCESTOR, 1);
}

static void the_end_of_the_cgroup_ends_the_watch(void **state)
{
        struct harness *h = *state;
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = watch_oom(h);
        struct error err;

        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        await_readable(oom);
        assert_true(oom_news(oom).is_over);
}

static void a_limit_below_the_usage_can_be_refused(void **state)
{
        struct harness *h = *state;
        struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_limit = true, .limit = 1, .check_before_update = true}};
        struct error err;

        (void)harness_child(h, &h->cg, NULL, NULL);
        (void)harness_wait(h, harness_child(h, &h->cg, touch_memory, &(size_t){MIB}));
        assert_error(cgroup_update(&h->cg, &r, &err), err, "below the present usage");
}

static void sub_cgroups_are_removed_first(void **state)
{
        struct harness *h = *state;
        struct error err;

        for (size_t i = 0; i < h->cg.n_dirs; i++) {
                char *path = arena_strdup(h->arena, h->cg.dirs[i].path);

                for (int depth = 0; depth < 5; depth++) {
                        path = arena_printf(h->arena, "%s/d%d", path, depth);
                        assert_int_equal(mkdir(path, 0755), 0);
                        assert_int_equal(mkdir(arena_printf(h->arena, "%s-b", path), 0755), 0);
                }
        }
        assert_ok(cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err), err);
        for (size_t i = 0; i < h->cg.n_dirs; i++)
                assert_false(harness_exists(h->cg.dirs[i].path));
}

static void a_cgroup_in_use_is_not_removed_and_the_wait_is_bounded(void **state)
{
        struct harness *h = *state;
        uint64_t begin = clock_monotonic_ns();
        struct error err;
        pid_t pid = harness_child(h, &h->cg, NULL, NULL);

        assert_error(cgroup_remove(&h->cg, 50, &err), err, "remove cgroup");
        assert_true(clock_monotonic_ns() - begin < 5 * NSEC_PER_SEC);
        assert_true(harness_is_alive(pid));
}

static void directories_of_others_are_left_alone(void **state)
{
        struct harness *h = *state;
        struct cgroup other = h->cg;
        struct error err;

        for (size_t i = 0; i < other.n_dirs; i++)
                other.dirs[i].created = false;
        assert_ok(cgroup_remove(&other, 0, &err), err);
        for (size_t i = 0; i < other.n_dirs; i++)
                assert_true(harness_exists(other.dirs[i].path));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_set_up, harness_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(directories_are_made_everywhere_and_removed_with_their_parents),
                CASE(a_parent_in_use_stays),
                CASE(new_cpusets_have_the_cpus_of_their_parents),
                CASE(a_failed_creation_leaves_nothing),
                CASE(a_directory_with_processes_or_frozen_is_refused),
                CASE(members_are_listed_with_those_of_sub_cgroups),
                CASE(limits_arrive_in_their_files),
                CASE(memory_and_swap_move_together_in_either_direction),
                CASE(quota_and_period_move_together_in_either_direction),
                CASE(pids_limits_of_zero_and_below_are_one_and_none),
                CASE(errors_name_the_field_and_what_was_changed_is_set_back),
                CASE(a_missing_controller_is_refused_by_field),
                CASE(by_default_only_the_usual_devices_can_be_used),
                CASE(device_rules_are_written_in_order),
                CASE(a_privileged_container_may_use_everything),
                CASE(rules_for_both_types_with_less_than_everything_are_two),
                CASE(a_signal_reaches_all),
                CASE(all_can_be_killed_without_cgroup_kill),
                CASE(what_v2_does_not_know_is_killed_nevertheless),
                CASE(a_frozen_container_can_be_killed),
                CASE(oom_kills_are_counted),
                CASE(oom_kills_in_sub_cgroups_are_counted),
                CASE(a_kill_in_a_sub_cgroup_that_is_removed_at_once_is_not_lost),
                CASE(the_limit_of_a_parent_is_told_from_the_own_one),
                CASE(the_end_of_the_cgroup_ends_the_watch),
                CASE(a_limit_below_the_usage_can_be_refused),
                CASE(sub_cgroups_are_removed_first),
                CASE(a_cgroup_in_use_is_not_removed_and_the_wait_is_bounded),
                CASE(directories_of_others_are_left_alone),
        };
        static const char *const needed[] = {"cpu",  "cpuset",  "memory",
                                             "pids", "devices", "freezer"};
        struct arena *arena = arena_new(1 << 20);
        struct cgroup_layout layout;
        struct cgroup cg;

        if (geteuid() != 0 || cgroup_layout_read(arena, &layout, NULL) < 0 ||
            cgroup_plan(&layout, "/x", "x", arena, &cg, NULL) < 0)
                return EXIT_SKIP;
        for (size_t i = 0; i < UNIT_COUNT(needed); i++) {
                if (!cgroup_find_v1(&cg, needed[i]))
                        return EXIT_SKIP;
        }
        arena_free(arena);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
