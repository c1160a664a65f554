/* SPDX-License-Identifier: Apache-2.0
 *
 * What the benchmarks' measurements have in common: spans of time, a process's CPU, and how many
 * samples become the fields of a line of JSON.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Microseconds between two of clock_monotonic_ns(). */
double us(uint64_t from, uint64_t to);

/* Milliseconds of CPU so far, to a tick of the kernel's clock. */
double cpu_ms(uint32_t pid);

/* "NAME":median,"NAME_p99":..., to stdout; the samples, n > 0, get sorted. */
void print_quantiles(const char *name, double *samples, size_t n);
