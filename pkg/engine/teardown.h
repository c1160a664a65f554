/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking a container away, the one way for all: after a failed or abandoned Create, for Delete, and
 * for the `delete` action without a shim. It is idempotent, goes on after a failure, and blocks; it
 * belongs in a stage.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/engine/rootfs_mounts.h"
#include "pkg/engine/stage.h"
#include "pkg/oci/spec.h"

/* The steps that may have to wait, in their order. */
enum teardown_step {
        TEARDOWN_KILL,
        TEARDOWN_INIT_ENDS,
        TEARDOWN_SCOPE,
        TEARDOWN_CGROUP,
        _TEARDOWN_STEP_MAX,
};

/*
 * How long a step may wait, in ms: until the deadline of all, but for what is kept for the steps
 * behind it, and at least as long as is kept for it. If each keeps to it, all are over at the
 * deadline; who comes too late, since the machine is slow, has a chance nevertheless.
 */
int teardown_share_ms(uint64_t deadline_ns, uint64_t now_ns, enum teardown_step step);

struct teardown {
        const char *id;
        const char *bundle;
        const char *state_dir;
        const char *cgroup;         /* text of cgroup_format(); NULL or "": none */
        const char *systemd_helper; /* as in engine_set_systemd_helper() */
        int pidfd;                  /* of init; -1: there is none */
        bool unmount;
        enum rootfs_unmount_how unmount_how;
        bool keep_state;
        bool again; /* after a failure it will be asked for again: then poststop hooks wait for that
                     */
        pid_t dead_stage;                /* that may have written the state when it died; or 0 */
        bool remove_rootfs;              /* the directory, if it is empty then */
        const struct oci_spec *poststop; /* its poststop hooks are due; NULL: none are */
        const struct stage *stage;       /* warnings go there; NULL: to on_warning */
        void (*on_warning)(const struct error *warning, void *userdata); /* NULL: nowhere */
        void *userdata;
        uint64_t deadline_ns;       /* of all but the hooks; 0: END_TIMEOUT_MS, and as long as
                                       systemd takes */
        uint64_t hooks_deadline_ns; /* 0: what is usual, after which hooks with a timeout of their
                                       own go on */
        struct arena *arena;
};

/* Kills, unmounts, removes the cgroup, runs poststop hooks and, if all but the hooks went well,
 * removes the state. The first failure is the error, others are warnings. */
int teardown_run(const struct teardown *t, struct error *err);
