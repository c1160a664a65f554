/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking a container away: see teardown.h.
 */
#include "pkg/engine/teardown.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/hooks.h"
#include "pkg/engine/scope.h"
#include "pkg/engine/state.h"

enum { END_TIMEOUT_MS = 2000 }; /* for all steps together */

static void warn(const struct teardown *t, const struct error *warning)
{
        if (t->stage)
                stage_send_warning(t->stage, warning);
        else if (t->on_warning)
                t->on_warning(warning, t->userdata);
}

/* Keeps the first error, and passes the others on. */
static void note(const struct teardown *t, struct error *first, const struct error *next)
{
        if (first->code == STATUS_OK)
                *first = *next;
        else
                warn(t, next);
}

int teardown_share_ms(uint64_t deadline_ns, uint64_t now_ns, enum teardown_step step)
{
        static const unsigned kept_ms[_TEARDOWN_STEP_MAX] = {
                [TEARDOWN_KILL] = 100,
                [TEARDOWN_INIT_ENDS] = 100,
                [TEARDOWN_SCOPE] = 200,
                [TEARDOWN_CGROUP] = 100,
        };
        int64_t left_ms = ((int64_t)deadline_ns - (int64_t)now_ns) / (int64_t)NSEC_PER_MSEC;

        for (int later = step + 1; later < _TEARDOWN_STEP_MAX; later++)
                left_ms -= kept_ms[later];
        return left_ms > kept_ms[step] ? (int)left_ms : (int)kept_ms[step];
}

static int share_ms(uint64_t deadline_ns, enum teardown_step step)
{
        return teardown_share_ms(deadline_ns, clock_monotonic_ns(), step);
}

static int kill_all(const struct teardown *t, const struct cgroup *cg, uint64_t deadline_ns,
                    struct error *err)
{
        char who[80];
        int r;

        if (t->pidfd >= 0)
                (void)pidfd_send_signal(t->pidfd, SIGKILL, NULL, 0);
        if (cg->n_dirs > 0 &&
            cgroup_kill(cg, SIGKILL, share_ms(deadline_ns, TEARDOWN_KILL), err) < 0)
                return -1;
        if (t->pidfd < 0)
                return 0;
        r = stage_wait_end(t->pidfd, share_ms(deadline_ns, TEARDOWN_INIT_ENDS));
        if (r < 0 && cgroup_survivor(cg, who, sizeof(who)))
                return error_set(err, STATUS_FAILED_PRECONDITION, "kill the container's init: %s",
                                 who);
        if (r < 0)
                return error_errno(err, -r, "kill the container's init");
        return 0;
}

static int stop_scope(const struct teardown *t, const struct cgroup *cg, uint64_t deadline_ns,
                      struct error *err)
{
        int timeout_ms =
                t->deadline_ns > 0 ? share_ms(deadline_ns, TEARDOWN_SCOPE) : SCOPE_TIMEOUT_MS;

        return cg->unit ? scope_stop(t->systemd_helper, cg, timeout_ms, t->arena, err) : 0;
}

/* A cgroup cannot be removed as long as somebody is in it. */
static int remove_cgroup(const struct cgroup *cg, uint64_t deadline_ns, struct error *err)
{
        char who[80];

        if (cg->n_dirs == 0 || cgroup_remove(cg, share_ms(deadline_ns, TEARDOWN_CGROUP), err) == 0)
                return 0;
        if (cgroup_survivor(cg, who, sizeof(who)))
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "%s, though it was killed: delete again when it is gone", who);
        return -1;
}

static void on_hook_group(pid_t group, void *userdata)
{
        const struct teardown *t = userdata;

        if (t->stage)
                stage_send_hook(t->stage, group);
}

/* All of them, whatever becomes of each. */
static void run_poststop(const struct teardown *t)
{
        const struct oci_spec *spec = t->poststop;
        struct hook_state state = {
                .oci_version = spec->version,
                .id = t->id,
                .status = "stopped",
                .bundle = t->bundle,
                .annotations = spec->annotations,
                .n_annotations = spec->n_annotations,
        };
        struct hook_context context = {
                .kind = "poststop",
                .cwd = t->bundle,
                .default_env = environ,
                .deadline_ns = clock_monotonic_ns() + LIMIT_POSTSTOP_SECONDS * NSEC_PER_SEC,
                .final_ns = t->hooks_deadline_ns,
                .on_group = on_hook_group,
                .userdata = (void *)t,
        };
        struct error err = ERROR_INIT;
        char *json;

        if (spec->hooks.poststop.n == 0)
                return;
        if (hook_state_format(&state, t->arena, &json, &err) < 0) {
                warn(t, &err);
                return;
        }
        context.state_json = json;
        for (size_t i = 0; i < spec->hooks.poststop.n; i++) {
                if (hook_run(&spec->hooks.poststop.items[i], &context, &err) < 0)
                        warn(t, &err);
        }
}

static int unmount(const struct teardown *t, int bundle_fd, struct error *err)
{
        char *rootfs = arena_printf(t->arena, "%s/rootfs", t->bundle);

        if (!rootfs)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "unmount rootfs: no memory");
        if (rootfs_unmount(rootfs, t->unmount_how, err) < 0)
                return error_prefix(err, "rootfs");
        if (t->remove_rootfs)
                (void)unlinkat(bundle_fd, "rootfs", AT_REMOVEDIR);
        return 0;
}

int teardown_run(const struct teardown *t, struct error *err)
{
        _cleanup_close_ int bundle_fd = -1;
        _cleanup_close_ int state_fd = -1;
        uint64_t deadline_ns = t->deadline_ns > 0
                                       ? t->deadline_ns
                                       : clock_monotonic_ns() + END_TIMEOUT_MS * NSEC_PER_MSEC;
        struct error first = ERROR_INIT;
        struct error next = ERROR_INIT;
        struct cgroup cg = {0};

        bundle_fd = open(t->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        state_fd = open(t->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (t->cgroup && *t->cgroup && cgroup_parse(t->cgroup, t->arena, &cg, &next) < 0)
                note(t, &first, &next);
        if (kill_all(t, &cg, deadline_ns, &next) < 0)
                note(t, &first, &next);
        if (t->unmount && unmount(t, bundle_fd, &next) < 0)
                note(t, &first, &next);
        if (stop_scope(t, &cg, deadline_ns, &next) < 0)
                note(t, &first, &next);
        if (remove_cgroup(&cg, deadline_ns, &next) < 0)
                note(t, &first, &next);
        if (t->poststop && (first.code == STATUS_OK || !t->again))
                run_poststop(t);
        if (first.code != STATUS_OK) {
                if (err)
                        *err = first;
                return -1;
        }
        if (state_fd >= 0 && !t->keep_state)
                engine_state_remove(state_fd, t->dead_stage);
        return 0;
}
