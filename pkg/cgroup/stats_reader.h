/* SPDX-License-Identifier: Apache-2.0
 *
 * What stats.c, which opens and reads, gives to stats_v1.c and stats_v2.c, which know the files.
 */
#pragma once

#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/stats.h"
#include "pkg/cgroup/stats_parse.h"

enum { STATS_FILES_MAX = 40 };

enum { STATS_HUGETLB_USAGE, STATS_HUGETLB_MAX, STATS_HUGETLB_FAILCNT, STATS_HUGETLB_FILES };

struct stats_read; /* one reading of all files */

struct stats_file {
        const char *controller; /* of v1; NULL on v2 */
        const char *name;
};

/* One hierarchy version's files. */
struct stats_version {
        const struct stats_file *files;
        size_t n_files;
        const char *hugetlb[STATS_HUGETLB_FILES]; /* what usage, max and failcnt end in */
        int (*read)(struct stats_read *read, struct cgroup_stats *ret);
};

extern const struct stats_version stats_v1;
extern const struct stats_version stats_v2;

/* The text of files[index], valid until the next call; NULL if there is none. */
const char *stats_text(struct stats_read *read, size_t index);

/* Its number; 0 if there is none. */
uint64_t stats_number(struct stats_read *read, size_t index);

void stats_keys(struct stats_read *read, size_t index, const struct stats_key *keys, size_t n,
                void *ret);

/* -1 without memory. */
int stats_rdma(struct stats_read *read, size_t index, struct cgroup_rdma_list *ret);

bool stats_has(const struct stats_read *read, size_t index);
struct arena *stats_arena(struct stats_read *read);
