/* SPDX-License-Identifier: Apache-2.0
 *
 * What the `delete` action must know when the shim is gone: a small text in the bundle, key=value
 * by lines, written before anything is made on the host and again when init exists. It only ever
 * names what this engine made itself; nothing in it leads into the rootfs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"

#define ENGINE_STATE_FILE "engine.state"

struct engine_state {
        char *id;
        pid_t pid;            /* of init in the host's view, 0 before it exists */
        uint64_t start_time;  /* of init: field 22 of /proc/PID/stat; tells a reused pid */
        uint64_t namespaces;  /* CLONE_NEW* that init has of its own or has joined */
        bool poststop_due;    /* poststop hooks are due */
        char *bundle;         /* NULL: where this state lies */
        char *cgroup;         /* text of cgroup_format(); "" for none */
        char *systemd_helper; /* the path of belay-systemd; NULL: not known, or not needed */
};

/* Pure. A line that is not known is skipped; an unknown version is STATUS_FAILED_PRECONDITION. */
int engine_state_format(const struct engine_state *state, struct arena *arena, char **ret,
                        struct error *err);
int engine_state_parse(const char *text, struct arena *arena, struct engine_state *ret,
                       struct error *err);

int engine_state_write(int bundle_fd, const struct engine_state *state, struct arena *arena,
                       struct error *err);

/* 1, or 0 if the bundle has none, or -1. */
int engine_state_read(int bundle_fd, struct arena *arena, struct engine_state *ret,
                      struct error *err);

/* writer: a process that may have been killed while it wrote, whose temp file goes, too; or 0. */
void engine_state_remove(int bundle_fd, pid_t writer);

/* The start time of a process in clock ticks since boot, and whether it is a zombie; 0 or a
 * negative errno. */
int process_start_time(pid_t pid, uint64_t *ret, bool *ret_zombie);
