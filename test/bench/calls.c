/* SPDX-License-Identifier: Apache-2.0
 *
 * See calls.h. Calls one after the other come first: many at once keep two CPUs busy, and where
 * they leave client and shim is not to be in the latencies of others.
 */
#include "test/bench/calls.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/clock.h"

#include "containerd/task/v2/task.pb-c.h"
#include "test/bench/measure.h"

enum {
        STATE_CALLS = 2000,
        STATS_CALLS = 3000,
        PIDS_CALLS = 100,
        STATE_RATE_CALLS = 20000,
        STATE_RATE_WINDOW = 32
};

static void bench_state(struct client *c)
{
        Containerd__Task__V2__StateRequest r = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        static double samples[STATE_CALLS];
        uint64_t start;

        r.id = (char *)c->id;
        for (size_t i = 0; i < STATE_CALLS; i++) {
                start = clock_monotonic_ns();
                (void)client_call(c, METHOD_STATE, &r.base);
                samples[i] = us(start, clock_monotonic_ns());
        }
        print_quantiles("state", samples, STATE_CALLS);
}

static void bench_state_rate(struct client *c)
{
        Containerd__Task__V2__StateRequest r = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        static struct pending window[STATE_RATE_WINDOW];
        uint64_t start;

        r.id = (char *)c->id;
        start = clock_monotonic_ns();
        for (size_t i = 0; i < STATE_RATE_CALLS; i += STATE_RATE_WINDOW) {
                memset(window, 0, sizeof(window));
                for (size_t k = 0; k < STATE_RATE_WINDOW; k++)
                        client_begin(c, METHOD_STATE, &r.base, &window[k]);
                for (size_t k = 0; k < STATE_RATE_WINDOW; k++)
                        client_finish(c, &window[k]);
        }
        printf("\"state_per_s\":%.0f,", STATE_RATE_CALLS * 1e6 / us(start, clock_monotonic_ns()));
}

static void bench_stats(struct client *c, const char *name)
{
        Containerd__Task__V2__StatsRequest r = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
        static double samples[STATS_CALLS];

        r.id = (char *)c->id;
        for (size_t i = 0; i < STATS_CALLS; i++) {
                uint64_t start = clock_monotonic_ns();

                (void)client_call(c, METHOD_STATS, &r.base);
                samples[i] = us(start, clock_monotonic_ns());
        }
        print_quantiles(name, samples, STATS_CALLS);
}

static void bench_pids(struct client *c)
{
        Containerd__Task__V2__PidsRequest r = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
        static double samples[PIDS_CALLS];

        r.id = (char *)c->id;
        for (size_t i = 0; i < PIDS_CALLS; i++) {
                uint64_t start = clock_monotonic_ns();

                (void)client_call(c, METHOD_PIDS, &r.base);
                samples[i] = us(start, clock_monotonic_ns());
        }
        print_quantiles("pids", samples, PIDS_CALLS);
}

/* All threads of a process. Those to come do as the ones that make them. */
static void place(uint32_t pid, const cpu_set_t *cpus)
{
        const struct dirent *entry;
        char path[64];
        DIR *tasks;

        (void)snprintf(path, sizeof(path), "/proc/%u/task", pid);
        tasks = opendir(path);
        if (!tasks)
                fail("open %s: %s", path, strerror(errno));
        while ((entry = readdir(tasks))) {
                pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

                if (tid > 0 && sched_setaffinity(tid, sizeof(*cpus), cpus) < 0 && errno != ESRCH)
                        fail("place %s on its CPU: %s", entry->d_name, strerror(errno));
        }
        (void)closedir(tasks);
}

/* The n-th CPU that we may use; on a machine that has fewer, the last. */
static cpu_set_t nth_cpu(const cpu_set_t *all, int n)
{
        cpu_set_t one;

        CPU_ZERO(&one);
        for (int i = 0; i < CPU_SETSIZE && n >= 0; i++) {
                if (!CPU_ISSET(i, all))
                        continue;
                CPU_ZERO(&one);
                CPU_SET(i, &one);
                n--;
        }
        return one;
}

/* With both processes where they are told to be: where the kernel puts them is half of a latency.
 */
static void bench_stats_placed(struct client *c, uint32_t shim)
{
        cpu_set_t all;
        cpu_set_t first;
        cpu_set_t second;

        if (sched_getaffinity(0, sizeof(all), &all) < 0)
                fail("sched_getaffinity: %s", strerror(errno));
        first = nth_cpu(&all, 0);
        second = nth_cpu(&all, 1);
        place((uint32_t)getpid(), &first);
        place(shim, &first);
        bench_stats(c, "stats_one_cpu");
        if (!CPU_EQUAL(&first, &second)) {
                place(shim, &second);
                bench_stats(c, "stats_two_cpus");
        }
        place(shim, &all);
        place((uint32_t)getpid(), &all);
}

void bench_calls(struct client *c, uint32_t shim)
{
        double cpu;

        bench_state(c);
        cpu = cpu_ms(shim);
        bench_stats(c, "stats");
        printf("\"stats_cpu\":%.1f,", (cpu_ms(shim) - cpu) * 1000.0 / STATS_CALLS);
        bench_pids(c);
        bench_stats_placed(c, shim);
        bench_state_rate(c);
}
