/* SPDX-License-Identifier: Apache-2.0
 *
 * The stage of a Create: from config.json to an init that waits at the gate (steps S1 to S6 of the
 * set-up; C1 to C18 are init's, see init.h). It tells the shim each fact before it acts on it, so
 * that the shim can undo all of it should the stage die. Whatever fails, the stage undoes what it
 * did and reports last.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/create_clone.h"
#include "pkg/engine/hooks.h"
#include "pkg/engine/init.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/net_devices.h"
#include "pkg/engine/passed.h"
#include "pkg/engine/rootfs_mounts.h"
#include "pkg/engine/scope.h"
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
        struct cgroup cgroup;
        char *cgroup_text;
        struct systemd_unit unit; /* if systemd makes the cgroup */
        struct scope_keeper keeper;
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

/* ---- what the shim must know ---- */

/* What an exec has to join: not what the runtime is in itself (a user namespace cannot be joined
 * twice). */
static uint64_t namespace_flags(const struct oci_spec *spec, const struct plan *plan)
{
        static const uint64_t flags[_OCI_NS_MAX] = {
                [OCI_NS_PID] = CLONE_NEWPID,       [OCI_NS_NETWORK] = CLONE_NEWNET,
                [OCI_NS_MOUNT] = CLONE_NEWNS,      [OCI_NS_IPC] = CLONE_NEWIPC,
                [OCI_NS_UTS] = CLONE_NEWUTS,       [OCI_NS_USER] = CLONE_NEWUSER,
                [OCI_NS_CGROUP] = CLONE_NEWCGROUP, [OCI_NS_TIME] = CLONE_NEWTIME,
        };
        uint64_t result = 0;

        for (size_t i = 0; i < _OCI_NS_MAX; i++) {
                const struct oci_namespace *ns = &spec->linux_.namespaces[i];

                if (ns->present && (!ns->path || plan->join_fds[i] >= 0))
                        result |= flags[i];
        }
        return result;
}

static int send_facts(struct create_stage *cs, struct error *err)
{
        const struct plan *plan = cs->plan;
        const struct oci_hooks *hooks = &cs->spec->hooks;
        const struct oci_namespace *pid_ns = &cs->spec->linux_.namespaces[OCI_NS_PID];
        struct container_facts facts = {
                .namespaces = namespace_flags(cs->spec, plan),
                .seccomp_flags = plan->seccomp.flags,
                .has_seccomp = plan->seccomp.prog.len > 0,
                .has_poststart = hooks->poststart.n > 0,
                .has_poststop = hooks->poststop.n > 0,
                .has_config =
                        hooks->poststart.n > 0 || hooks->poststop.n > 0 || plan_has_listener(plan),
                .private_pid = pid_ns->present && !pid_ns->path,
                .has_capabilities = cs->spec->process.has_capabilities,
                .capabilities = cs->spec->process.capabilities,
                .personality = cs->spec->linux_.personality,
                .memory_policy = cs->spec->linux_.memory_policy,
        };
        _cleanup_close_ int seccomp_fd = -1;
        _cleanup_close_ int config_fd = -1;
        struct message msg = {.type = MESSAGE_FACTS};
        size_t n_fds = 0;
        int fds[2];
        int r;

        if (facts.has_seccomp) {
                seccomp_fd = stage_memfd("belay-seccomp", plan->seccomp.prog.filter,
                                         plan->seccomp.prog.len * sizeof(struct sock_filter), err);
                if (seccomp_fd < 0)
                        return -1;
                fds[n_fds++] = seccomp_fd;
        }
        if (facts.has_config) {
                config_fd = stage_memfd("belay-config", cs->config, cs->config_len, err);
                if (config_fd < 0)
                        return -1;
                fds[n_fds++] = config_fd;
        }
        static_assert(sizeof(facts) <= sizeof(msg.text), "they travel in one message");
        memcpy(msg.text, &facts, sizeof(facts));
        r = message_send(cs->stage->sock, &msg, fds, n_fds);
        if (r < 0)
                return error_errno(err, -r, "tell the shim about the container");
        cs->state.namespaces = facts.namespaces;
        return 0;
}

/* Names the directories to be made to the shim and to the bundle before it makes them. */
static int announce_cgroup(struct create_stage *cs, struct error *err)
{
        struct cgroup planned = cs->cgroup;

        if (cgroup_foresee(&planned, err) < 0 ||
            cgroup_format(&planned, cs->stage->arena, &cs->cgroup_text, err) < 0 ||
            stage_send_cgroup(cs->stage, cs->cgroup_text, err) < 0)
                return -1;
        cs->state.cgroup = cs->cgroup_text;
        return engine_state_write(cs->state_fd, &cs->state, cs->stage->arena, err);
}

/* What was announced has not come to be, or is somebody else's. */
static void revoke_cgroup(struct create_stage *cs)
{
        struct error err = ERROR_INIT;

        cs->cgroup_text = NULL;
        cs->state.cgroup = (char *)"";
        if (stage_send_cgroup(cs->stage, "", &err) < 0 ||
            engine_state_write(cs->state_fd, &cs->state, cs->stage->arena, &err) < 0)
                stage_send_warning(cs->stage, &err);
}

static int place_cgroup(struct create_stage *cs, struct error *err)
{
        const struct engine_create *args = &cs->create->args;
        const char *path = cs->spec->linux_.cgroups_path;
        struct cgroup_layout layout = {0};

        if (cgroup_layout_read(cs->stage->arena, &layout, err) < 0)
                return -1;
        if (args->systemd_cgroup)
                return systemd_plan(&layout, path, args->id, cs->stage->arena, &cs->unit,
                                    &cs->cgroup, err);
        return cgroup_plan(&layout, path ? path : "", args->id, cs->stage->arena, &cs->cgroup, err);
}

static int start_scope(struct create_stage *cs, struct error *err)
{
        const struct scope_start start = {
                .helper = cs->container->engine->systemd_helper,
                .unit = &cs->unit,
                .cgroup = &cs->cgroup,
                .spec = cs->spec,
        };

        return scope_start(&start, cs->stage->arena, &cs->keeper, err);
}

/* The limits as they can be while there is a keeper; NULL: none. */
static int apply_limits(struct create_stage *cs, struct error *err)
{
        const struct oci_linux *linux_ = &cs->spec->linux_;
        struct oci_resources widened;

        if (!linux_->has_resources)
                return cgroup_apply(&cs->cgroup, NULL, err);
        if (cs->keeper.pid > 0 && scope_widen(&linux_->resources, &widened))
                return cgroup_apply(&cs->cgroup, &widened, err);
        return cgroup_apply(&cs->cgroup, &linux_->resources, err);
}

/* init is in the scope by now. */
static int release_scope(struct create_stage *cs, struct error *err)
{
        const struct oci_linux *linux_ = &cs->spec->linux_;
        struct oci_resources widened;
        const struct oci_resources pids = {.has_pids = true,
                                           .pids_limit = linux_->resources.pids_limit};

        if (cs->keeper.pid == 0)
                return 0;
        scope_keeper_end(&cs->keeper);
        if (!linux_->has_resources || !scope_widen(&linux_->resources, &widened))
                return 0;
        return scope_update(cs->container->engine->systemd_helper, &cs->cgroup, &pids,
                            cs->stage->arena, err);
}

static int make_cgroup(struct create_stage *cs, struct error *err)
{
        uid_t owner;
        char *text;

        if (place_cgroup(cs, err) < 0 || announce_cgroup(cs, err) < 0)
                return -1;
        if (cs->cgroup.unit && start_scope(cs, err) < 0) {
                revoke_cgroup(cs);
                return -1;
        }
        if (cgroup_create(&cs->cgroup, err) < 0) {
                if (!cs->cgroup.unit)
                        cs->cgroup_text = NULL; /* it has undone its own */
                return -1;
        }
        if (cgroup_format(&cs->cgroup, cs->stage->arena, &text, err) < 0)
                return -1;
        if (strcmp(text, cs->cgroup_text) != 0) {
                cs->cgroup_text = text;
                cs->state.cgroup = text;
                if (stage_send_cgroup(cs->stage, text, err) < 0)
                        return -1;
        }
        if (apply_limits(cs, err) < 0)
                return -1;
        if (plan_owns_cgroup(cs->plan, &owner) && cgroup_delegate(&cs->cgroup, owner, err) < 0)
                return -1;
        plan_set_cgroup(cs->plan, &cs->cgroup);
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
        return has_stage_hooks(cs) || cs->spec->linux_.n_net_devices > 0 || cs->keeper.pid > 0;
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
        int tasks[CGROUP_HIERARCHIES_MAX];
        int stdio[3] = {-1, -1, -1};
        struct init_args args = {
                .plan = cs->plan,
                .arena = cs->stage->arena,
                .gate = cs->create->init_gate,
                .others = others,
                .n_others = sizeof(others) / sizeof(others[0]),
                .tasks = tasks,
                .wait_hooks = has_stage_work(cs),
                .wait_limits = has_limits(cs),
                .orphan = cs->container->engine->orphans,
        };
        int v2_dir = -1;

        if (!cs->create->args.terminal) {
                memcpy(stdio, cs->create->args.stdio, sizeof(stdio));
                if (stage_raise_stdio(stdio, err) < 0)
                        return -1;
                args.stdio = stdio;
        }
        if (cgroup_open_join(&cs->cgroup, tasks, &args.n_tasks, &v2_dir, err) < 0)
                return -1;
        if (create_clone(&args, v2_dir, &cs->pid, &cs->pidfd, err) < 0)
                return -1;
        cs->create->init_gate = fd_close(cs->create->init_gate);
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
                return error_set(err, STATUS_UNKNOWN,
                                 "the container's process has ended during its set-up");
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

static int converse(struct create_stage *cs, struct error *err)
{
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
        if (has_stage_work(cs) &&
            (await(cs, MESSAGE_PREPARED, err) < 0 || release_scope(cs, err) < 0 ||
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
            send_facts(cs, err) < 0 || make_cgroup(cs, err) < 0 || clone_init(cs, err) < 0)
                return -1;
        return converse(cs, err);
}

static void undo(struct create_stage *cs)
{
        struct teardown t = {
                .id = cs->create->args.id,
                .bundle = cs->create->args.bundle,
                .state_dir = cs->container->state_dir,
                .cgroup = cs->cgroup_text,
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

        scope_keeper_end(&cs->keeper);
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

        if (strcmp(cs.container->bundle, cs.container->state_dir) != 0)
                cs.state.bundle = cs.container->bundle;
        if (job->engine->systemd_helper && cs.create->args.systemd_cgroup)
                cs.state.systemd_helper = job->engine->systemd_helper;
        if (create(&cs, err) == 0)
                return 0;
        undo(&cs);
        return -1;
}
