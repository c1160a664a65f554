/* SPDX-License-Identifier: Apache-2.0
 *
 * The cgroup part of a Create: see create_cgroup.h.
 */
#include "pkg/engine/create_cgroup.h"

#include <string.h>

#include "pkg/engine/child.h"

bool create_cgroup_has_keeper(const struct create_cgroup *cc)
{
        return cc->keeper.pid > 0;
}

static const char *systemd_helper(const struct create_cgroup *cc)
{
        return cc->container->engine->systemd_helper;
}

/* What was announced has not come to be, or is somebody else's. */
static void revoke(struct create_cgroup *cc)
{
        struct error err = ERROR_INIT;

        cc->text = NULL;
        cc->state->cgroup = (char *)"";
        if (stage_send_cgroup(cc->stage, "", &err) < 0 ||
            engine_state_write(cc->state_fd, cc->state, cc->stage->arena, &err) < 0)
                stage_send_warning(cc->stage, &err);
}

static int place(struct create_cgroup *cc, struct error *err)
{
        const char *path = cc->spec->linux_.cgroups_path;
        const char *id = cc->container->id;
        struct cgroup_layout layout = {0};

        if (cgroup_layout_read(cc->stage->arena, &layout, err) < 0)
                return -1;
        if (cc->is_systemds)
                return systemd_plan(&layout, path, id, cc->stage->arena, &cc->unit, &cc->cgroup,
                                    err);
        return cgroup_plan(&layout, path ? path : "", id, cc->stage->arena, &cc->cgroup, err);
}

static int start_scope(struct create_cgroup *cc, struct error *err)
{
        const struct scope_start start = {
                .helper = systemd_helper(cc),
                .unit = &cc->unit,
                .cgroup = &cc->cgroup,
                .spec = cc->spec,
        };

        return scope_start(&start, cc->stage->arena, &cc->keeper, err);
}

/* cgroup_announce_fn. Names the directories to be made to the shim and to the bundle; if they are
 * systemd's, it then makes most of them. */
static int announce(const struct cgroup *planned, void *userdata, struct error *err)
{
        struct create_cgroup *cc = userdata;

        if (cgroup_format(planned, cc->stage->arena, &cc->text, err) < 0 ||
            stage_send_cgroup(cc->stage, cc->text, err) < 0)
                return -1;
        cc->state->cgroup = cc->text;
        if (engine_state_write(cc->state_fd, cc->state, cc->stage->arena, err) < 0)
                return -1;
        if (cc->cgroup.unit && start_scope(cc, err) < 0) {
                revoke(cc);
                return -1;
        }
        return 0;
}

/* The directories; what they are in the end may be less than was announced. */
static int make_directories(struct create_cgroup *cc, struct error *err)
{
        char *text;

        if (cgroup_create_with(&cc->cgroup, announce, cc, &cc->join, err) < 0) {
                if (!cc->cgroup.unit)
                        cc->text = NULL; /* it has undone its own */
                return -1;
        }
        if (cgroup_format(&cc->cgroup, cc->stage->arena, &text, err) < 0)
                return -1;
        if (strcmp(text, cc->text) == 0)
                return 0;
        cc->text = text;
        cc->state->cgroup = text;
        return stage_send_cgroup(cc->stage, text, err);
}

/* As they can be while there is a keeper. */
static int apply_limits(struct create_cgroup *cc, struct error *err)
{
        const struct oci_linux *linux_ = &cc->spec->linux_;
        struct oci_resources widened;

        if (!linux_->has_resources)
                return 0;
        if (create_cgroup_has_keeper(cc) && scope_widen(&linux_->resources, &widened))
                return cgroup_apply_limits(&cc->cgroup, &widened, err);
        return cgroup_apply_limits(&cc->cgroup, &linux_->resources, err);
}

int create_cgroup_make(struct create_cgroup *cc, const struct plan *plan, struct error *err)
{
        uid_t owner;

        if (place(cc, err) < 0 || make_directories(cc, err) < 0 || apply_limits(cc, err) < 0)
                return -1;
        if (plan_owns_cgroup(plan, &owner))
                return cgroup_delegate(&cc->cgroup, owner, err);
        return 0;
}

int create_cgroup_set_devices(const struct create_cgroup *cc, struct error *err)
{
        const struct oci_linux *linux_ = &cc->spec->linux_;

        return cgroup_apply_devices(&cc->cgroup, linux_->has_resources ? &linux_->resources : NULL,
                                    err);
}

int create_cgroup_release(struct create_cgroup *cc, struct error *err)
{
        const struct oci_linux *linux_ = &cc->spec->linux_;
        struct oci_resources widened;
        const struct oci_resources pids = {.has_pids = true,
                                           .pids_limit = linux_->resources.pids_limit};

        if (!create_cgroup_has_keeper(cc))
                return 0;
        scope_keeper_end(&cc->keeper);
        if (!linux_->has_resources || !scope_widen(&linux_->resources, &widened))
                return 0;
        return scope_update(systemd_helper(cc), &cc->cgroup, &pids, cc->stage->arena, err);
}
