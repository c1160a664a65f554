/* SPDX-License-Identifier: Apache-2.0
 *
 * What every stage does first, and how it reports. A stage is a fork of the shim: it may use the
 * shim's memory as it was, but never its loop or anything that hangs off it. It keeps only the
 * descriptors that it names: containerd takes the end of its connection for the shim's death, so no
 * copy of a connection may live on in a stage, still less in a container's init.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/base/limits.h"
#include "pkg/oci/spec.h"

enum { STAGE_KEEP_MAX = 16 + LIMIT_PASSED_FDS };

/* What a stage may allocate: config.json of the greatest size, parsed, and its plan. */
#define STAGE_ARENA_BUDGET ((size_t)128 << 20)

struct stage {
        int sock; /* to the shim */
        struct arena *arena;
};

/*
 * Dies with its parent from here on, has default signal dispositions and an empty mask, and closes
 * all descriptors above 2 but those in keep (entries of -1 are skipped). parent: the pid of the
 * process that forked it. Returns only if the parent is still there.
 */
void stage_enter(const char *name, pid_t parent, const int *keep, size_t n_keep);

/* Closes all descriptors above 2 but those in keep (entries of -1 are skipped). */
void stage_close_others(const int *keep, size_t n_keep);

/* Sends the text in as many messages as it takes. */
int stage_send_cgroup(const struct stage *stage, const char *text, struct error *err);

/* A failure to tell the shim means that the shim is gone, and so will be the stage. */
void stage_send_warning(const struct stage *stage, const struct error *warning);
void stage_send_hook(const struct stage *stage, pid_t group);

/* A memfd with the data, sealed; -1 with err. */
int stage_memfd(const char *name, const void *data, size_t len, struct error *err);

/* Maps a memfd for reading; NULL with err. It lives as long as the stage. */
const void *stage_map(int memfd, size_t *ret_len, struct error *err);

/*
 * clone3 of a process that becomes a sibling of the stage, or, as an orphan, its child. flags:
 * CLONE_NEW*. cgroup_fd: a v2
 * directory to be born in, or -1. Returns twice, as fork does; -1 with errno.
 */
pid_t stage_clone(uint64_t flags, bool orphan, int cgroup_fd, int *ret_pidfd);

/* Waits until the process of the pidfd has ended, for at most timeout_ms; 0 or -ETIMEDOUT. */
int stage_wait_end(int pidfd, int timeout_ms);
