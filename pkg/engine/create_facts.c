/* SPDX-License-Identifier: Apache-2.0
 *
 * What the shim must know of a container: see create_facts.h.
 */
#include "pkg/engine/create_facts.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/engine/child.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/message.h"

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

static bool has_labels(const struct oci_process *process)
{
        return !str_is_empty(process->apparmor_profile) || !str_is_empty(process->selinux_label);
}

int create_facts_send(const struct create_facts *of, struct stage *stage, uint64_t *ret_namespaces,
                      struct error *err)
{
        const struct oci_spec *spec = of->spec;
        const struct plan *plan = of->plan;
        const struct oci_hooks *hooks = &spec->hooks;
        const struct oci_namespace *pid_ns = &spec->linux_.namespaces[OCI_NS_PID];
        struct container_facts facts = {
                .namespaces = namespace_flags(spec, plan),
                .seccomp_flags = plan->seccomp.flags,
                .has_seccomp = plan->seccomp.prog.len > 0,
                .has_poststart = hooks->poststart.n > 0,
                .has_poststop = hooks->poststop.n > 0,
                .has_config = hooks->poststart.n > 0 || hooks->poststop.n > 0 ||
                              plan_has_listener(plan) || has_labels(&spec->process),
                .has_labels = has_labels(&spec->process),
                .private_pid = pid_ns->present && !pid_ns->path,
                .has_capabilities = spec->process.has_capabilities,
                .capabilities = spec->process.capabilities,
                .personality = spec->linux_.personality,
                .memory_policy = spec->linux_.memory_policy,
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
                config_fd = stage_memfd("belay-config", of->config, of->config_len, err);
                if (config_fd < 0)
                        return -1;
                fds[n_fds++] = config_fd;
        }
        static_assert(sizeof(facts) <= sizeof(msg.text), "they travel in one message");
        memcpy(msg.text, &facts, sizeof(facts));
        r = message_send(stage->sock, &msg, fds, n_fds);
        if (r < 0)
                return error_errno(err, -r, "tell the shim about the container");
        *ret_namespaces = facts.namespaces;
        return 0;
}
