/* SPDX-License-Identifier: Apache-2.0
 *
 * OOM kills of a container: one TaskOOM for each, at once while the container lives on, and before
 * the exit's event of the process that was killed. Watched from Create, or at the latest from
 * before Start opens the gate, until the exit of init is told; kills before that are counted, too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cgroup_oom_past;
struct container;
struct oom;
struct process_exit;

/* The executor has made the container. Without a memory cgroup, or when it fails (which is logged),
 * there will be no OOM kills. */
void oom_start(struct container *container);

/* What oom_start() leaves for some milliseconds later, so that the answer to Create does not wait
 * for it: for a Start that follows at once. */
void oom_start_now(struct container *container);

/* The same for a container that another process of this shim has watched until now. */
void oom_resume(struct container *container, const struct cgroup_oom_past *past);

/* What has been seen so far, if more is to come. Each kill that was told has had its event, or was
 * left out. */
struct cgroup_oom_past oom_past(const struct container *container);

/* Counts once more, and is at rest from then on. */
void oom_stop(struct container *container);
struct oom *oom_free(struct oom *oom);

/* A process was ended by SIGKILL: if that was the OOM killer, says so in its exit. */
void oom_claim(struct container *container, struct process_exit *exit);

/* A SIGKILL is about to be sent for a client: what was killed until now were other processes. */
void oom_disclaim(struct container *container);

/* Of the shim's time, looks that the container causes take one part in 32: how long to rest after
 * one of so many nanoseconds. */
uint64_t oom_rest_ns(uint64_t look_ns);
