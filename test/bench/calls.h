/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls that only look: latency of State, Stats and Pids, what a Stats costs the shim, and how
 * many States there are in a second. Of a container that runs; as fields of a line of JSON.
 */
#pragma once

#include "test/bench/client.h"

void bench_calls(struct client *c, uint32_t shim);
