/* SPDX-License-Identifier: Apache-2.0
 *
 * A container and its processes as messages, and back: what outlives an execve of the program that
 * uses the engine. Jobs do not: neither their stages nor what they have made so far is in here.
 *
 * A restore looks at all that the message names before it claims anything. So when it fails, every
 * descriptor is as it was, and whoever has written the message may still take it back.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/kept.h"
#include "pkg/base/str.h"
#include "pkg/engine/internal.h"

#include "belay/state/v1/engine.pb-c.h"

CLEANUP_DEFINE(struct engine_container, engine_container_free)

/* ---- Facts ---- */

static int save_capabilities(const struct oci_capabilities *caps, struct arena *arena,
                             Belay__State__V1__EngineFacts *ret)
{
        Belay__State__V1__EngineCapabilities *msg = arena_alloc(arena, sizeof(*msg));

        if (!msg)
                return -1;
        belay__state__v1__engine_capabilities__init(msg);
        msg->bounding = caps->bounding;
        msg->effective = caps->effective;
        msg->inheritable = caps->inheritable;
        msg->permitted = caps->permitted;
        msg->ambient = caps->ambient;
        ret->capabilities = msg;
        return 0;
}

static int save_memory_policy(const struct oci_memory_policy *policy, struct arena *arena,
                              Belay__State__V1__EngineFacts *ret)
{
        Belay__State__V1__EngineMemoryPolicy *msg = arena_alloc(arena, sizeof(*msg));

        if (!msg)
                return -1;
        belay__state__v1__engine_memory_policy__init(msg);
        msg->mode = (char *)policy->mode_name;
        msg->flags = policy->flags;
        msg->n_nodes = OCI_NODE_WORDS;
        msg->nodes = (uint64_t *)policy->nodes;
        ret->memory_policy = msg;
        return 0;
}

static int save_facts(const struct container_facts *facts, struct arena *arena,
                      Belay__State__V1__EngineContainer *ret)
{
        Belay__State__V1__EngineFacts *msg = arena_alloc(arena, sizeof(*msg));

        if (!msg)
                return -1;
        belay__state__v1__engine_facts__init(msg);
        msg->namespaces = facts->namespaces;
        msg->seccomp_flags = facts->seccomp_flags;
        msg->has_poststart = facts->has_poststart;
        msg->has_poststop = facts->has_poststop;
        msg->private_pid = facts->private_pid;
        msg->has_personality = facts->personality.present;
        msg->personality = facts->personality.domain;
        if (facts->has_capabilities && save_capabilities(&facts->capabilities, arena, msg) < 0)
                return -1;
        if (facts->memory_policy.present &&
            save_memory_policy(&facts->memory_policy, arena, msg) < 0)
                return -1;
        ret->facts = msg;
        return 0;
}

static int restore_memory_policy(const Belay__State__V1__EngineMemoryPolicy *msg,
                                 struct oci_memory_policy *ret, struct error *err)
{
        if (oci_memory_mode_find(msg->mode, &ret->mode, &ret->mode_name) < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "memory policy '%s' is not known",
                                 msg->mode);
        if (msg->n_nodes > OCI_NODE_WORDS)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "memory policy: %zu words of nodes, at most %d", msg->n_nodes,
                                 OCI_NODE_WORDS);
        ret->present = true;
        ret->flags = msg->flags;
        if (msg->n_nodes > 0)
                memcpy(ret->nodes, msg->nodes, msg->n_nodes * sizeof(ret->nodes[0]));
        return 0;
}

static int restore_facts(const Belay__State__V1__EngineContainer *of, struct container_facts *ret,
                         struct error *err)
{
        const Belay__State__V1__EngineFacts *msg = of->facts;

        if (!msg)
                return error_set(err, STATUS_INVALID_ARGUMENT, "no facts");
        *ret = (struct container_facts){
                .namespaces = msg->namespaces,
                .seccomp_flags = msg->seccomp_flags,
                .has_seccomp = of->seccomp > 0,
                .has_config = of->config > 0,
                .has_poststart = msg->has_poststart,
                .has_poststop = msg->has_poststop,
                .private_pid = msg->private_pid,
                .personality = {.present = msg->has_personality, .domain = msg->personality},
        };
        if ((ret->has_poststart || ret->has_poststop) && !ret->has_config)
                return error_set(err, STATUS_INVALID_ARGUMENT, "hooks, but no config.json");
        if (msg->capabilities) {
                ret->has_capabilities = true;
                ret->capabilities = (struct oci_capabilities){
                        .bounding = msg->capabilities->bounding,
                        .effective = msg->capabilities->effective,
                        .inheritable = msg->capabilities->inheritable,
                        .permitted = msg->capabilities->permitted,
                        .ambient = msg->capabilities->ambient,
                };
        }
        return msg->memory_policy
                       ? restore_memory_policy(msg->memory_policy, &ret->memory_policy, err)
                       : 0;
}

/* ---- A container ---- */

int engine_container_save(const struct engine_container *c, struct arena *arena,
                          Belay__State__V1__EngineContainer *ret, struct error *err)
{
        belay__state__v1__engine_container__init(ret);
        ret->id = c->id;
        ret->bundle = c->bundle;
        ret->state_dir = c->state_dir;
        if (c->cgroup)
                ret->cgroup = c->cgroup;
        ret->init_pid = c->init_pid;
        ret->gate = kept_number(c->gate);
        ret->seccomp = kept_number(c->seccomp_fd);
        ret->config = kept_number(c->config_fd);
        ret->unmount = c->unmount;
        ret->made_rootfs = c->made_rootfs;
        ret->nested = c->nested;
        ret->poststop_due = c->poststop_due;
        if (save_facts(&c->facts, arena, ret) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "save container: no memory");
        return 0;
}

/* Descriptors that have been looked at, but are not claimed. */
struct container_fds {
        int gate;
        int seccomp;
        int config;
};

static int look_at_fds(const Belay__State__V1__EngineContainer *msg, struct container_fds *ret,
                       struct error *err)
{
        if (kept_look(msg->gate, KEPT_SOCKET, "gate", &ret->gate, err) < 0 ||
            kept_look(msg->seccomp, KEPT_FILE, "seccomp filter", &ret->seccomp, err) < 0 ||
            kept_look(msg->config, KEPT_FILE, "config.json", &ret->config, err) < 0)
                return -1;
        return 0;
}

/* Init's end of the gate closes when it executes its program, or ends. */
static bool gate_has_ended(int fd)
{
        struct pollfd p = {.fd = fd};

        return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static int restore_cgroup(struct engine_container *c, const char *text, struct error *err)
{
        if (str_is_empty(text))
                return 0;
        c->cgroup = strdup(text);
        if (!c->cgroup)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return container_cgroup(c, &c->cgroup_arena, &c->cgroup_parsed, err);
}

static int restore_container(struct engine_container **ret, struct engine *engine,
                             const Belay__State__V1__EngineContainer *msg, struct error *err)
{
        _cleanup_(engine_container_free_p) struct engine_container *c = NULL;
        struct container_fds fds;

        if (!id_is_valid(msg->id))
                return error_set(err, STATUS_INVALID_ARGUMENT, "id '%s' is not valid", msg->id);
        if (msg->bundle[0] != '/' || msg->state_dir[0] != '/' || msg->init_pid <= 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "bundle '%s', state '%s', init %d: not what was saved",
                                 msg->bundle, msg->state_dir, (int)msg->init_pid);
        c = engine_container_new(engine, msg->id, msg->bundle, msg->state_dir);
        if (!c)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        if (restore_facts(msg, &c->facts, err) < 0 || restore_cgroup(c, msg->cgroup, err) < 0 ||
            look_at_fds(msg, &fds, err) < 0)
                return -1;
        kept_claim(fds.gate);
        kept_claim(fds.seccomp);
        kept_claim(fds.config);
        c->gate = fds.gate >= 0 && gate_has_ended(fds.gate) ? fd_close(fds.gate) : fds.gate;
        c->is_restored = true;
        c->seccomp_fd = fds.seccomp;
        c->config_fd = fds.config;
        c->init_pid = msg->init_pid;
        c->unmount = msg->unmount;
        c->made_rootfs = msg->made_rootfs;
        c->nested = msg->nested;
        c->poststop_due = msg->poststop_due;
        *ret = TAKE_PTR(c);
        return 0;
}

int engine_container_restore(struct engine_container **ret, struct engine *engine,
                             const Belay__State__V1__EngineContainer *msg, struct error *err)
{
        if (restore_container(ret, engine, msg, err) < 0)
                return error_prefix(err, "restore container");
        return 0;
}

bool engine_container_has_started(const struct engine_container *c)
{
        return c->gate < 0;
}

/* ---- A process ---- */

void engine_process_save(const struct engine_process *p, Belay__State__V1__EngineProcess *ret)
{
        const struct reaper_saved saved =
                reaper_save(p->pid, p->pidfd, p->is_orphan, p->has_exited ? &p->exit : NULL);

        belay__state__v1__engine_process__init(ret);
        ret->pid = saved.pid;
        ret->pidfd = saved.pidfd;
        ret->orphan = saved.is_orphan;
        ret->exited = saved.has_exited;
        ret->code = saved.code;
        ret->status = saved.status;
        ret->exited_at_ns = saved.at_ns;
        ret->init = p->container != NULL;
        ret->delivered = p->is_delivered;
}

static int restore_process(struct engine_process **ret, struct engine_container *c,
                           const Belay__State__V1__EngineProcess *msg, struct error *err)
{
        const struct reaper_saved saved = {
                .pid = msg->pid,
                .pidfd = msg->pidfd,
                .is_orphan = msg->orphan,
                .has_exited = msg->exited,
                .code = msg->code,
                .status = msg->status,
                .at_ns = msg->exited_at_ns,
        };
        struct reaper_exit exit;
        struct engine_process *p;
        int pidfd;
        int r;

        r = reaper_look_at_saved(c->engine->reaper, &saved, &pidfd, &exit, err);
        if (r < 0)
                return -1;
        if (msg->init && (c->init || c->init_pid != msg->pid))
                return error_set(err, STATUS_INVALID_ARGUMENT, "the container's init is %d",
                                 (int)c->init_pid);
        if (pidfd < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "pidfd: none");
        p = process_restore(c->engine, msg->pid, pidfd, msg->orphan, r == 1 ? &exit : NULL);
        if (!p)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        kept_claim(pidfd);
        p->is_delivered = msg->delivered;
        if (msg->init) {
                p->container = c;
                c->init = p;
        }
        *ret = p;
        return 0;
}

int engine_process_restore(struct engine_process **ret, struct engine_container *c,
                           const Belay__State__V1__EngineProcess *msg, struct error *err)
{
        if (restore_process(ret, c, msg, err) < 0)
                return error_prefix(err, "restore process %d", (int)msg->pid);
        return 0;
}
