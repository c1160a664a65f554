/* SPDX-License-Identifier: Apache-2.0
 *
 * From the document's numbers, which are cgroup v1's, to cgroup v2's. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/oci/spec.h"

/*
 * cpu.shares (2 to 262144) to cpu.weight (1 to 10000): 10^((l^2 + 125 l) / 612 - 7/34) with
 * l = log2(shares), rounded up. It maps the ends and the defaults, 1024 and 100, on each other.
 */
uint64_t cgroup_v2_weight(uint64_t shares);

/* blkio.weight (10 to 1000) to io.weight (1 to 10000), in a straight line. */
uint64_t cgroup_v2_io_weight(uint64_t weight);

/* memory.swap.max, which v1 counts together with memory: *ret is -1 for "max", *ret_has false if
 * nothing is to be written. */
int cgroup_v2_swap(const struct oci_memory *m, bool *ret_has, int64_t *ret, struct error *err);
