/* SPDX-License-Identifier: Apache-2.0
 *
 * The stage of a Create: from config.json to an init that waits at the gate (steps S1 to S6 of the
 * set-up; C1 to C18 are init's, see init.h). It tells the shim each fact before it acts on it, so
 * that the shim can undo all of it should the stage die. Whatever fails, the stage undoes what it
 * did and reports last.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/create_cgroup.h"
#include "pkg/engine/create_clone.h"
#include "pkg/engine/create_facts.h"
#include "pkg/engine/hooks.h"
#include "pkg/engine/init.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/net_devices.h"
#include "pkg/engine/passed.h"
#include "pkg/engine/rootfs_mounts.h"
#include "pkg/engine/seccomp_cache.h"
#include "pkg/engine/stage_init.h"
#include "pkg/engine/state.h"
#include "pkg/engine/teardown.h"

struct create_stage {
        struct create_job *create;
        struct stage *stage;
        struct engine_container *container;
        int gate; /* the end that the shim will have for itself */
        int bundle_fd;
        int state_fd;
        char *config;
        size_t config_len;
        struct oci_spec *spec;
        struct plan *plan;
        struct passed passed;
        struct create_cgroup cgroup;
        struct engine_state state;
        pid_t pid;
        int pidfd;
        bool has_mounted;
};

static int no_memory(struct error *err)
{
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
}

/* Once: what happens to the file later is of no matter. */
static int read_config(struct create_stage *cs, struct error *err)
{
        int r = file_read(cs->bundle_fd, "config.json", LIMIT_CONFIG_BYTES, &cs->config,
                          &cs->config_len);

        if (r < 0)
                return error_errno(err, -r, "read '%s/config.json'", cs->container->bundle);
        if (oci_spec_parse(cs->config, cs->config_len, cs->stage->arena, &cs->spec, err) < 0)
                return error_prefix(err, "config.json");
        if (!cs->spec->has_process)
                return error_set(err, STATUS_INVALID_ARGUMENT, "config.json: process: missing");
        return 0;
}

static int mount_rootfs(struct create_stage *cs, struct error *err)
{
        const struct engine_create *args = &cs->create->args;
        char *rootfs;

        if (args->n_mounts == 0)
                return 0;
        rootfs = arena_printf(cs->stage->arena, "%s/rootfs", args->bundle);
        if (!rootfs)
                return no_memory(err);
        if (mkdirat(cs->bundle_fd, "rootfs", 0711) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make directory '%s'", rootfs);
        cs->has_mounted = true;
        if (rootfs_mount(rootfs, args->mounts, args->n_mounts, cs->stage->arena, err) < 0)
                return -1;
        if (fchdir(cs->bundle_fd) < 0)
                return error_errno(err, errno, "change to directory '%s'", args->bundle);
        return 0;
}

static int make_plan(struct create_stage *cs, struct error *err)
{
        const struct engine_create *args = &cs->create->args;
        struct plan_options options = {
                .id = args->id,
                .bundle = args->bundle,
                .terminal = args->terminal,
                .no_pivot_root = args->no_pivot_root,
                .no_new_keyring = args->no_new_keyring,
                .passed = &cs->passed,
                .seccomp_cache = SECCOMP_CACHE_DIR,
        };

        if (passed_take(&args->passed, cs->stage->arena, &cs->passed, err) < 0 ||
            passed_make_way(&cs->passed, &cs->create->init_gate, err) < 0)
                return -1;
        return plan_new(&cs->plan, cs->spec, &options, cs->stage->arena, err);
}

static int send_facts(struct create_stage *cs, struct error *err)
{
        const struct create_facts facts = {
                .spec = cs->spec,
                .plan = cs->plan,
                .config = cs->config,
                .config_len = cs->config_len,
        };

        return create_facts_send(&facts, cs->stage, &cs->state.namespaces, err);
}

static int make_cgroup(struct create_stage *cs, struct error *err)
{
        cs->cgroup = (struct create_cgroup){
                .stage = cs->stage,
                .container = cs->container,
                .spec = cs->spec,
                .is_systemds = cs->create->args.systemd_cgroup,
                .state = &cs->state,
                .state_fd = cs->state_fd,
        };
        if (create_cgroup_make(&cs->cgroup, cs->plan, err) < 0)
                return -1;
        plan_set_cgroup(cs->plan, &cs->cgroup.cgroup);
        return 0;
}

/* ---- init ---- */

static bool has_stage_hooks(const struct create_stage *cs)
{
        return cs->spec->hooks.prestart.n > 0 || cs->spec->hooks.create_runtime.n > 0;
}

/* The host's side of the set-up between PREPARED and the second GO. */
static bool has_stage_work(const struct create_stage *cs)
{
        return has_stage_hooks(cs) || cs->spec->linux_.n_net_devices > 0 ||
               create_cgroup_has_keeper(&cs->cgroup);
}

/* What init cannot do itself between ENTERED and the third GO. A listener's word is waited for in
 * no other place. */
static bool has_limits(const struct create_stage *cs)
{
        return (cs->spec->process.n_rlimits > 0 && plan_has_userns(cs->plan)) ||
               plan_has_scheduling(cs->plan) || plan_has_listener(cs->plan);
}

static int set_limits(const struct create_stage *cs, struct error *err)
{
        if (plan_has_userns(cs->plan) && plan_apply_rlimits(cs->plan, cs->pid, err) < 0)
                return -1;
        return plan_apply_scheduling(cs->plan, cs->pid, err);
}

static int await(const struct create_stage *cs, enum message_type type, struct error *err)
{
        return stage_await_mounting(cs->stage, cs->gate, type, cs->plan, err);
}

static int clone_init(struct create_stage *cs, struct error *err)
{
        const int others[] = {cs->stage->sock, cs->gate};
        int stdio[3] = {-1, -1, -1};
        struct init_args args = {
                .plan = cs->plan,
                .arena = cs->stage->arena,
                .gate = cs->create->init_gate,
                .others = others,
                .n_others = sizeof(others) / sizeof(others[0]),
                .tasks = cs->cgroup.join.tasks,
                .n_tasks = cs->cgroup.join.n_tasks,
                .wait_hooks = has_stage_work(cs),
                .wait_limits = has_limits(cs),
                .orphan = cs->container->engine->orphans,
        };

        if (!cs->create->args.terminal) {
                memcpy(stdio, cs->create->args.stdio, sizeof(stdio));
                if (stage_raise_stdio(stdio, err) < 0)
                        return -1;
                args.stdio = stdio;
        }
        if (create_clone(&args, cs->cgroup.join.v2_dir, &cs->pid, &cs->pidfd, err) < 0)
                return -1;
        cs->create->init_gate = fd_close(cs->create->init_gate);
        /* Right before its pid: what they tell of matters only once there is an init. */
        if (send_facts(cs, err) < 0)
                return -1;
        return stage_send_cloned(cs->stage, cs->pid, cs->pidfd, err);
}

static void on_hook_group(pid_t group, void *userdata)
{
        const struct create_stage *cs = userdata;

        stage_send_hook(cs->stage, group);
}

static int run_hooks(struct create_stage *cs, const struct oci_hook_list *hooks, const char *kind,
                     const char *status, struct error *err)
{
        struct hook_state state = {
                .oci_version = cs->spec->version,
                .id = cs->create->args.id,
                .status = status,
                .pid = cs->pid,
                .bundle = cs->create->args.bundle,
                .annotations = cs->spec->annotations,
                .n_annotations = cs->spec->n_annotations,
        };
        struct hook_context context = {
                .kind = kind,
                .cwd = cs->create->args.bundle,
                .default_env = environ,
                .on_group = on_hook_group,
                .userdata = cs,
        };
        char *json;

        if (hooks->n == 0)
                return 0;
        cs->container->poststop_due = true;
        if (hook_state_format(&state, cs->stage->arena, &json, err) < 0)
                return -1;
        context.state_json = json;
        return hooks_run(hooks, &context, err);
}

/* prestart is older than the state "creating" of the runtime-spec: its hooks know "created". */
static int run_stage_hooks(struct create_stage *cs, struct error *err)
{
        if (run_hooks(cs, &cs->spec->hooks.prestart, "prestart", "created", err) < 0)
                return -1;
        return run_hooks(cs, &cs->spec->hooks.create_runtime, "createRuntime", "creating", err);
}

/* Before the hooks, which may want to look at them. */
static int move_net_devices(const struct create_stage *cs, struct error *err)
{
        const struct oci_linux *l = &cs->spec->linux_;
        _cleanup_close_ int netns = -1;
        char path[64];

        if (l->n_net_devices == 0)
                return 0;
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)cs->pid);
        netns = open(path, O_RDONLY | O_CLOEXEC);
        if (netns < 0)
                return error_errno(err, errno, "open '%s'", path);
        /* If init has ended since, the pid may have been another's. */
        if (stage_wait_end(cs->pidfd, 0) == 0)
                return stage_set_ended(err);
        return net_devices_move(l->net_devices, l->n_net_devices, netns, cs->stage->arena, err);
}

static int hand_listener_over(const struct create_stage *cs, struct error *err)
{
        struct hook_state state = {
                .oci_version = cs->spec->version,
                .id = cs->create->args.id,
                .status = "creating",
                .pid = cs->pid,
                .bundle = cs->create->args.bundle,
                .annotations = cs->spec->annotations,
                .n_annotations = cs->spec->n_annotations,
        };
        struct seccomp_notify notify = {
                .profile = cs->spec->linux_.seccomp,
                .state = &state,
                .pid = cs->pid,
                .pidfd = cs->pidfd,
        };

        return stage_hand_listener_over(cs->stage, cs->gate, &notify, err);
}

/* Before GO: afterwards init may fail, end and be reaped at any time. */
static int note_init(struct create_stage *cs, struct error *err)
{
        bool zombie;
        int r = process_start_time(cs->pid, &cs->state.start_time, &zombie);

        if (r < 0)
                return error_errno(err, -r, "read the start time of init");
        cs->state.pid = cs->pid;
        cs->state.poststop_due = true;
        return 0;
}

/* 0, or 1 when nothing is left for the stage but to hear that init is ready: then the shim hears it
 * itself, and the stage's end, and the way through it, are in nobody's way. */
static int converse(struct create_stage *cs, struct error *err)
{
        /* While init joins its cgroups, before it does anything else. */
        if (create_cgroup_set_devices(&cs->cgroup, err) < 0)
                return -1;
        if (plan_has_new_userns(cs->plan) && plan_write_id_maps(cs->plan, cs->pid, err) < 0)
                return -1;
        if (plan_has_userns(cs->plan) &&
            plan_own_stdio(cs->plan, cs->pid, cs->create->args.stdio, err) < 0)
                return -1;
        if (plan_apply_oom_score(cs->plan, cs->pid, err) < 0 || note_init(cs, err) < 0 ||
            stage_send_go(cs->gate, err) < 0)
                return -1;
        /* While init is busy. */
        if (engine_state_write(cs->state_fd, &cs->state, cs->stage->arena, err) < 0)
                return -1;
        if (!has_stage_work(cs) && !has_limits(cs) && !cs->container->engine->orphans)
                return stage_serve_trees(cs->stage, cs->gate, cs->plan, err);
        if (has_stage_work(cs) &&
            (await(cs, MESSAGE_PREPARED, err) < 0 || create_cgroup_release(&cs->cgroup, err) < 0 ||
             move_net_devices(cs, err) < 0 || run_stage_hooks(cs, err) < 0 ||
             stage_send_go(cs->gate, err) < 0))
                return -1;
        if (has_limits(cs) && (await(cs, MESSAGE_ENTERED, err) < 0 || set_limits(cs, err) < 0 ||
                               stage_send_go(cs->gate, err) < 0))
                return -1;
        if (plan_has_listener(cs->plan) && hand_listener_over(cs, err) < 0)
                return -1;
        return await(cs, MESSAGE_READY, err);
}

static int create(struct create_stage *cs, struct error *err)
{
        cs->bundle_fd = open(cs->create->args.bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cs->bundle_fd < 0 || fchdir(cs->bundle_fd) < 0)
                return error_errno(err, errno, "open bundle '%s'", cs->create->args.bundle);
        cs->state_fd = open(cs->container->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cs->state_fd < 0)
                return error_errno(err, errno, "open '%s'", cs->container->state_dir);
        if (read_config(cs, err) < 0 || mount_rootfs(cs, err) < 0 || make_plan(cs, err) < 0 ||
            make_cgroup(cs, err) < 0 || clone_init(cs, err) < 0)
                return -1;
        return converse(cs, err);
}

static void undo(struct create_stage *cs)
{
        struct teardown t = {
                .id = cs->create->args.id,
                .bundle = cs->create->args.bundle,
                .state_dir = cs->container->state_dir,
                .cgroup = cs->cgroup.text,
                .systemd_helper = cs->container->engine->systemd_helper,
                .pidfd = cs->pidfd,
                .unmount = cs->has_mounted,
                .unmount_how =
                        cs->container->nested ? ROOTFS_UNMOUNT_NESTED : ROOTFS_UNMOUNT_SIMPLE,
                .remove_rootfs = cs->container->made_rootfs,
                .poststop = cs->container->poststop_due ? cs->spec : NULL,
                .stage = cs->stage,
                .arena = cs->stage->arena,
        };
        struct error err = ERROR_INIT;

        scope_keeper_end(&cs->cgroup.keeper);
        if (teardown_run(&t, &err) < 0)
                stage_send_warning(cs->stage, &err);
}

int create_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        struct create_stage cs = {
                .create = container_of(job, struct create_job, job),
                .stage = stage,
                .container = job->container,
                .gate = job->container->gate,
                .bundle_fd = -1,
                .state_fd = -1,
                .pidfd = -1,
                .state = {.id = job->container->id},
        };
        int r;

        if (strcmp(cs.container->bundle, cs.container->state_dir) != 0)
                cs.state.bundle = cs.container->bundle;
        if (job->engine->systemd_helper && cs.create->args.systemd_cgroup)
                cs.state.systemd_helper = job->engine->systemd_helper;
        r = create(&cs, err);
        if (r < 0)
                undo(&cs);
        return r;
}
