/* SPDX-License-Identifier: Apache-2.0
 *
 * What the `delete` action does when the shim is gone, from the state in the bundle alone. It runs
 * after every normal Delete, too, and then finds nothing to do.
 */
#include "pkg/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/engine/engine.h"
#include "pkg/engine/state.h"
#include "pkg/engine/teardown.h"

CLEANUP_DEFINE(struct arena, arena_free)

/* The pidfd of the init that the state names, if that is alive; else -1. The start time is looked
 * at when the pidfd is open already, so the pid cannot be reused in between. */
static int open_init(const struct engine_state *state)
{
        _cleanup_close_ int fd = -1;
        uint64_t start_time = 0;
        bool zombie = false;

        if (state->pid <= 0)
                return -1;
        fd = pidfd_open(state->pid, 0);
        if (fd < 0 || process_start_time(state->pid, &start_time, &zombie) < 0 ||
            start_time != state->start_time || zombie)
                return -1;
        return TAKE_FD(fd);
}

/* For its poststop hooks. A bundle whose config.json cannot be read any more has none. */
static struct oci_spec *read_spec(const char *bundle, struct arena *arena)
{
        _cleanup_close_ int bundle_fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *json = NULL;
        struct oci_spec *spec = NULL;
        size_t len = 0;

        if (bundle_fd < 0 ||
            file_read(bundle_fd, "config.json", LIMIT_CONFIG_BYTES, &json, &len) < 0 ||
            oci_spec_parse(json, len, arena, &spec, NULL) < 0)
                return NULL;
        return spec;
}

bool engine_has_state(int state_fd)
{
        return faccessat(state_fd, ENGINE_STATE_FILE, F_OK, 0) == 0 || errno != ENOENT;
}

int engine_cleanup(const char *state_dir, const char *id,
                   const struct engine_cleanup_limits *limits, pid_t *ret_pid, bool *ret_killed,
                   struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = arena_new(STAGE_ARENA_BUDGET);
        _cleanup_close_ int state_fd = -1;
        _cleanup_close_ int pidfd = -1;
        struct engine_state state = {0};
        struct teardown t = {
                .id = id,
                .bundle = state_dir,
                .state_dir = state_dir,
                .pidfd = -1,
                .unmount = true,
                .unmount_how = ROOTFS_UNMOUNT_LAZY,
                .on_warning = limits ? limits->on_warning : NULL,
                .userdata = limits ? limits->userdata : NULL,
                .deadline_ns = limits ? limits->deadline_ns : 0,
                .hooks_deadline_ns = limits ? limits->hooks_deadline_ns : 0,
                .arena = arena,
        };
        struct error state_err = ERROR_INIT;
        int r;

        *ret_pid = 0;
        *ret_killed = false;
        if (!arena)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "clean up: no memory");
        state_fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (state_fd < 0 && errno == ENOENT)
                return 0;
        if (state_fd < 0)
                return error_errno(err, errno, "open bundle '%s'", state_dir);
        r = engine_state_read(state_fd, arena, &state, &state_err);
        if (r > 0 && !str_equal(state.id, id))
                r = error_set(&state_err, STATUS_FAILED_PRECONDITION,
                              "the bundle is of container '%s', not of '%s'", state.id, id);
        if (r > 0) {
                pidfd = open_init(&state);
                t.pidfd = pidfd;
                t.cgroup = state.cgroup;
                t.systemd_helper = state.systemd_helper;
                /* What is mounted in somebody else's bundle was not mounted by us. */
                if (state.bundle) {
                        t.bundle = state.bundle;
                        t.unmount = false;
                }
                t.poststop = state.poststop_due ? read_spec(t.bundle, arena) : NULL;
                *ret_pid = state.pid;
                *ret_killed = pidfd >= 0;
        }
        /* Without a state that can be read, the mounts are taken away at least. */
        t.keep_state = r < 0;
        if (teardown_run(&t, err) < 0)
                return -1;
        if (r < 0) {
                if (err)
                        *err = state_err;
                return -1;
        }
        return 0;
}
