/* SPDX-License-Identifier: Apache-2.0
 *
 * Scheduler, I/O priority, CPUs, memory policy, personality and clocks of a container's processes,
 * as the kernel tells them to the host.
 */
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

#define SLEEP "[\"/bin/sleep\",\"1000\"]"
#define PROCESS(args, more)                                                                    \
        "{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"args\":" args \
                more "}"

static char *proc_file(pid_t pid, const char *name)
{
        char path[64];
        char *text = NULL;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        assert_int_equal(file_read(-1, path, LIMIT_PROC_BYTES, &text, NULL), 0);
        return text;
}

static void assert_file_has(pid_t pid, const char *name, const char *what)
{
        _cleanup_free_ char *text = proc_file(pid, name);

        if (!strstr(text, what))
                fail_msg("'%s' is not in %s:\n%s", what, name, text);
}

static pid_t init_of(struct world *w)
{
        return engine_process_pid(w->init);
}

static pid_t exec_of(struct world *w, const char *process)
{
        assert_string_equal(world_try_exec(w, process, false), "");
        return engine_process_pid(w->exec);
}

static void assert_policy(pid_t pid, int policy, int nice)
{
        assert_int_equal(sched_getscheduler(pid), policy);
        assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid), nice);
}

#define SCHEDULER(text) ",\"scheduler\":{" text "}"
#define BATCH           SCHEDULER("\"policy\":\"SCHED_BATCH\",\"nice\":7")

/* What sets no nice value, or has none, keeps that of whoever runs it. */
static void the_scheduler_is_set_for_init_and_exec(void **state)
{
        struct world *w = *state;
        int ours = getpriority(PRIO_PROCESS, 0);
        const struct box_config c = {.args = SLEEP, .process = BATCH};

        world_create(w, &c);
        assert_policy(init_of(w), SCHED_BATCH, 7);
        world_start(w);
        assert_policy(init_of(w), SCHED_BATCH, 7);
        assert_policy(exec_of(w, PROCESS(SLEEP, SCHEDULER("\"policy\":\"SCHED_IDLE\""))),
                      SCHED_IDLE, ours);
        world_free_exec(w);
        assert_policy(
                exec_of(w, PROCESS(SLEEP, SCHEDULER("\"policy\":\"SCHED_OTHER\",\"nice\":-3,"
                                                    "\"flags\":[\"SCHED_FLAG_RESET_ON_FORK\"]"))),
                SCHED_OTHER | SCHED_RESET_ON_FORK, -3);
        world_free_exec(w);
        assert_policy(exec_of(w, PROCESS(SLEEP, "")), SCHED_OTHER, ours);
}

/* With RT_GROUP_SCHED a cgroup of v1 has no real-time budget unless it is given one. */
static void a_policy_that_the_cgroup_forbids_is_named(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = SLEEP,
                .process = SCHEDULER("\"policy\":\"SCHED_FIFO\",\"priority\":3"),
        };
        const char *msg = world_try_create(w, &c);

        if (*msg)
                assert_string_equal(msg,
                                    "process.scheduler: set SCHED_FIFO: Operation not permitted");
        else
                assert_int_equal(sched_getscheduler(init_of(w)), SCHED_FIFO);
}

#define USERNS                                                                              \
        "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"user\"},{\"type\":\"ipc\"},{" \
        "\"type\":\"uts\"},{\"type\":\"network\"},{\"type\":\"time\"}]"
#define MAPS                                                                     \
        ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}]" \
        ",\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":1000}]"

static void what_needs_the_hosts_privileges_works_in_a_user_namespace(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = SLEEP,
                .process = SCHEDULER(
                        "\"policy\":\"SCHED_BATCH\",\"nice\":-5") ",\"ioPriority\":{"
                                                                  "\"class\":\"IOPRIO_CLASS_RT\",\"priority\":2}",
                .namespaces = USERNS,
                .linux_ = MAPS ",\"timeOffsets\":{\"boottime\":{\"secs\":9000000}}",
        };
        char *out;

        box_host(&w->box, "chmod 755 . && chown -R 100000:100000 rootfs");
        world_create(w, &c);
        assert_policy(init_of(w), SCHED_BATCH, -5);
        assert_int_equal(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, init_of(w)),
                         IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 2));
        world_start(w);
        (void)exec_of(w, PROCESS("[\"cat\",\"/proc/uptime\"]", ""));
        world_await(w, &w->exec_exit.has_come);
        out = world_output(w);
        assert_true(strtod(out, NULL) > 9000000);
        free(out);
}

static void the_io_priority_is_set_for_init_and_exec(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = SLEEP,
                .process = ",\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":6}",
        };
        pid_t pid;

        world_create(w, &c);
        assert_int_equal(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, init_of(w)),
                         IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6));
        world_start(w);
        pid = exec_of(w, PROCESS(SLEEP, ",\"ioPriority\":{\"class\":\"IOPRIO_CLASS_IDLE\"}"));
        assert_int_equal(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, pid),
                         IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

/* ---- CPUs ---- */

static cpu_set_t cpus_of(pid_t pid)
{
        cpu_set_t set;

        assert_int_equal(sched_getaffinity(pid, sizeof(set), &set), 0);
        return set;
}

static int first_of(const cpu_set_t *set)
{
        for (int i = 0; i < CPU_SETSIZE; i++) {
                if (CPU_ISSET(i, set))
                        return i;
        }
        return -1;
}

static void the_runtimes_own_cpus_are_not_the_containers(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.args = SLEEP};
        cpu_set_t all = cpus_of(0);
        cpu_set_t one;
        cpu_set_t got;
        char process[256];

        if (CPU_COUNT(&all) < 2)
                return;
        CPU_ZERO(&one);
        CPU_SET(first_of(&all), &one);
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        world_create(w, &c);
        world_start(w);
        got = cpus_of(init_of(w));
        assert_true(CPU_EQUAL(&got, &all));
        got = cpus_of(exec_of(w, PROCESS(SLEEP, ",\"execCPUAffinity\":{\"initial\":\"0\"}")));
        assert_true(CPU_EQUAL(&got, &all));
        world_free_exec(w);
        (void)snprintf(
                process, sizeof(process),
                PROCESS(SLEEP, ",\"execCPUAffinity\":{\"initial\":\"0-1\",\"final\":\"%d\"}"),
                first_of(&all));
        got = cpus_of(exec_of(w, process));
        assert_true(CPU_EQUAL(&got, &one));
        world_free_exec(w);
        assert_string_equal(
                world_try_exec(w, PROCESS(SLEEP, ",\"execCPUAffinity\":{\"final\":\"8190\"}"),
                               false),
                "process.execCPUAffinity.final: set: Invalid argument");
        assert_string_equal(
                world_try_exec(w, PROCESS(SLEEP, ",\"execCPUAffinity\":{\"initial\":\"8190\"}"),
                               false),
                "process.execCPUAffinity.initial: set: Invalid argument");
        assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

/* ---- what an exec has from the container ---- */

static void personality_and_memory_policy_are_those_of_the_container(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = SLEEP,
                .linux_ = ",\"personality\":{\"domain\":\"LINUX32\"},\"memoryPolicy\":{\"mode\":"
                          "\"MPOL_BIND\",\"nodes\":\"0\",\"flags\":[\"MPOL_F_STATIC_NODES\"]}",
        };
        pid_t pid;

        world_create(w, &c);
        assert_file_has(init_of(w), "personality", "00000008");
        assert_file_has(init_of(w), "numa_maps", " bind=static:0 ");
        world_start(w);
        pid = exec_of(w, PROCESS(SLEEP, ""));
        assert_file_has(pid, "personality", "00000008");
        assert_file_has(pid, "numa_maps", " bind=static:0 ");
        assert_file_has(init_of(w), "numa_maps", " bind=static:0 ");
}

static void a_memory_node_that_is_not_there_is_named(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = SLEEP,
                .linux_ = ",\"memoryPolicy\":{\"mode\":\"MPOL_INTERLEAVE\",\"nodes\":\"1000\"}",
        };

        assert_string_equal(world_try_create(w, &c),
                            "linux.memoryPolicy: set MPOL_INTERLEAVE: Invalid argument");
}

static void a_policy_without_nodes_is_taken(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .args = SLEEP,
                .linux_ = ",\"memoryPolicy\":{\"mode\":\"MPOL_LOCAL\"}",
        };

        world_create(w, &c);
        assert_file_has(init_of(w), "numa_maps", " local ");
}

/* ---- clocks ---- */

static void clocks_are_set_before_anybody_is_in_the_namespace(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .script = "cat /proc/uptime",
                .namespaces = "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"time\"}]",
                .linux_ = ",\"timeOffsets\":{\"monotonic\":{\"secs\":-1,\"nanosecs\":5},"
                          "\"boottime\":{\"secs\":9000000,\"nanosecs\":1}}",
                .top = ",\"hooks\":{\"createRuntime\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\","
                       "\"cat /proc/uptime >host\"],\"env\":[\"PATH=/bin:/usr/bin\"]}]}",
        };
        char *out;

        assert_int_equal(world_run(w, &c), 0);
        out = world_output(w);
        assert_true(strtod(out, NULL) > 9000000);
        free(out);
        out = world_file(w, "host");
        assert_true(strtod(out, NULL) < 9000000); /* hooks go by the host's clocks */
        free(out);
}

/* The path needs the host's root, so a process in between joins it, and clones init. */
static void clocks_are_set_by_a_process_in_between_too(void **state)
{
        struct world *w = *state;
        pid_t other = fork();
        char namespaces[512];
        const struct box_config c = {
                .script = "cat /proc/uptime",
                .namespaces = namespaces,
                .linux_ = MAPS ",\"timeOffsets\":{\"boottime\":{\"secs\":9000000}}",
        };
        struct stat ours;
        struct stat theirs;
        char path[64];
        char *out;

        if (other == 0) {
                (void)unshare(CLONE_NEWUTS);
                for (;;)
                        pause();
        }
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/uts", (int)other);
        (void)snprintf(
                namespaces, sizeof(namespaces),
                "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"network\"},{\"type\":\"user\"},{\"type\":"
                "\"time\"},{\"type\":\"uts\",\"path\":\"%s\"}]",
                path);
        assert_int_equal(stat("/proc/self/ns/uts", &ours), 0);
        do {
                assert_int_equal(stat(path, &theirs), 0);
        } while (ours.st_ino == theirs.st_ino);
        box_host(&w->box, "chmod 755 . && chown -R 100000:100000 rootfs");
        (void)world_try_create(w, &c);
        assert_int_equal(kill(other, SIGKILL), 0); /* the reaper has it */
        assert_string_equal(w->created.err.msg, "");
        world_start(w);
        world_await(w, &w->init_exit.has_come);
        out = world_output(w);
        assert_true(strtod(out, NULL) > 9000000);
        free(out);
}

static void a_clock_that_the_kernel_does_not_take_is_told(void **state)
{
        struct world *w = *state;
        const struct box_config c = {
                .namespaces = "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"time\"}]",
                .linux_ = ",\"timeOffsets\":{\"boottime\":{\"secs\":-9000000000000}}",
        };

        assert_string_equal(world_try_create(w, &c),
                            "linux.timeOffsets: set: Numerical result out of range");
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(the_scheduler_is_set_for_init_and_exec),
                CASE(a_policy_that_the_cgroup_forbids_is_named),
                CASE(what_needs_the_hosts_privileges_works_in_a_user_namespace),
                CASE(the_io_priority_is_set_for_init_and_exec),
                CASE(the_runtimes_own_cpus_are_not_the_containers),
                CASE(personality_and_memory_policy_are_those_of_the_container),
                CASE(a_memory_node_that_is_not_there_is_named),
                CASE(a_policy_without_nodes_is_taken),
                CASE(clocks_are_set_before_anybody_is_in_the_namespace),
                CASE(clocks_are_set_by_a_process_in_between_too),
                CASE(a_clock_that_the_kernel_does_not_take_is_told),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
