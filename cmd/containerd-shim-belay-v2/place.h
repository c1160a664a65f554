/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the kernel puts the daemon: scheduling group, OOM score, cgroup. All of it is done by the
 * start helper, around the fork.
 */
#pragma once

#include <sys/types.h>

#include "pkg/base/error.h"

/* A core scheduling cookie of our own, inherited by the daemon (SCHED_CORE=1; Linux 5.14). */
int place_sched_core(struct error *err);

/*
 * Gives pid the OOM score of our parent (containerd) plus one, so that the kernel takes the shim
 * first. That we may not is no error: it happens without privileges and in user namespaces.
 */
int place_oom_score(pid_t pid, struct error *err);

/*
 * Moves pid into an existing cgroup below /sys/fs/cgroup: on v1, in every hierarchy that has it.
 * -1 if no hierarchy has it.
 */
int place_cgroup(pid_t pid, const char *path, struct error *err);

/* Pure: the text for oom_score_adj, one above the parent's, within [-1000, 1000]. */
int place_oom_score_next(const char *parent_text, int *ret, struct error *err);
