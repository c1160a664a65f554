/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts of cgroup files, parsed. All pure, of NUL-terminated text, and lenient: the kernel is
 * the author, so a line that makes no sense is one of a later kernel, and is passed over. Numbers
 * beyond 2^64-1 become that, and so does "max".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pkg/cgroup/stats.h"

/* A key at the beginning of a line, and where its value goes. */
struct stats_key {
        const char *name;
        size_t length;
        size_t offset; /* of a uint64_t in the struct that is filled */
};

/* 0 if there is no number. */
uint64_t stats_parse_number(const char *text);

/* Lines "key value". Keys that the text does not have leave ret as it is. Fastest if keys are in
 * the text's order. */
void stats_parse_keys(const char *text, const struct stats_key *keys, size_t n_keys, void *ret);

/* Numbers between blanks. -1 without memory. */
int stats_parse_list(const char *text, struct arena *arena, uint64_t **ret, size_t *ret_n);

/* "some avg10=0.12 avg60=0.00 avg300=0.00 total=1" and "full ...". */
void stats_parse_psi(const char *text, struct cgroup_psi *ret);

/* "8:0 Read 4096" and "8:0 4096"; totals over all devices are left out. -1 without memory. */
int stats_parse_blkio(const char *text, struct arena *arena, struct cgroup_blkio_list *ret);

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0". -1 without memory. */
int stats_parse_io(const char *text, struct arena *arena, struct cgroup_io_entry **ret,
                   size_t *ret_n);

/* "mlx5_0 hca_handle=2 hca_object=max". -1 without memory. */
int stats_parse_rdma(const char *text, struct arena *arena, struct cgroup_rdma_list *ret);

/* The page size in "hugetlb.2MB<suffix>"; false if the name is not so. */
_Bool stats_parse_hugetlb_name(const char *name, const char *suffix,
                               char ret[static CGROUP_PAGE_SIZE_NAME_MAX]);
