/* SPDX-License-Identifier: Apache-2.0
 *
 * What Stats answers, on a host of either cgroup version: the message, the few numbers of it that
 * a person looks at, and the document that runc's `events` prints.
 */
#pragma once

#include <io/containerd/cgroups/v1/metrics.pb-c.h>
#include <io/containerd/cgroups/v2/metrics.pb-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

/* One of the two is there. */
struct metrics {
        Io__Containerd__Cgroups__V1__Metrics *v1;
        Io__Containerd__Cgroups__V2__Metrics *v2;
};

/* type: the name in the Any of StatsResponse. */
int metrics_unpack(struct metrics *ret, const char *type, const uint8_t *data, size_t len,
                   struct error *err);
void metrics_deinit(struct metrics *metrics);

/* Counters count from the container's beginning. A limit of UINT64_MAX is none. */
struct metrics_summary {
        uint64_t cpu_ns;
        uint64_t memory; /* without what the kernel takes back at once: inactive file pages */
        uint64_t memory_limit;
        uint64_t pids;
        uint64_t pids_limit;
        uint64_t read_bytes;
        uint64_t written_bytes;
        uint64_t periods; /* of its CPU quota */
        uint64_t throttled_periods;
        uint64_t oom_kills;
        bool has_pressure; /* the share of the last ten seconds in which some waited, in percent: */
        double cpu_pressure;
        double memory_pressure;
        double io_pressure;
};
void metrics_summarize(const struct metrics *metrics, struct metrics_summary *ret);

/* A line of runc's `events`, of type "stats" with its data, on the heap; NULL without memory. */
char *metrics_event(const struct metrics *metrics, const char *id);
/* Likewise of type "oom". */
char *metrics_oom_event(const char *id);

/* One container at one time. */
struct metrics_row {
        const char *id;
        struct metrics_summary now;
        struct metrics_summary before;
        uint64_t elapsed_ns; /* between the two; 0: there is no before */
};

/* In percent of one CPU; negative: not known. */
double metrics_cpu_percent(const struct metrics_row *row);
/* Of the periods between the two; negative: there were none. */
double metrics_throttled_percent(const struct metrics_row *row);

/* A line of JSON, or a table of lines that end with `end`; on the heap, NULL without memory. */
char *metrics_row_json(const struct metrics_row *row);
char *metrics_table(const struct metrics_row *rows, size_t n, const char *end);
