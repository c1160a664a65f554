/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process says to the kernel about itself and hands on to its program: the CPUs that it may
 * use, where its memory comes from, and which machine uname(2) speaks of. None of it needs a
 * privilege, so an exec does the same as init.
 */
#include <errno.h>
#include <string.h>
#include <sys/personality.h>

#include "pkg/base/error.h"
#include "pkg/base/sys.h"
#include "pkg/engine/child_private.h"

/*
 * A set that the runtime was given by its own supervisor is not the container's: since Linux 6.2 it
 * would survive the join of a cpuset. All CPUs means all that the cpuset has.
 */
int child_set_cpus(const struct plan *plan, bool is_exec, struct error *err)
{
        const uint64_t *final = is_exec ? plan->process->exec_cpus_final : NULL;
        uint64_t all[OCI_CPU_WORDS];

        if (final) {
                if (sys_sched_setaffinity(0, final, OCI_CPU_WORDS * sizeof(*final)) < 0)
                        return error_errno(err, errno, "process.execCPUAffinity.final: set");
                return 0;
        }
        memset(all, 0xff, sizeof(all));
        (void)sys_sched_setaffinity(0, all, sizeof(all)); /* the old set is no reason to fail */
        return 0;
}

int child_set_memory_policy(const struct plan *plan, struct error *err)
{
        const struct oci_memory_policy *p = plan->private_->memory_policy;
        unsigned long max = 0;

        if (!p || !p->present)
                return 0;
        for (unsigned long i = 0; i < OCI_NODE_WORDS * 64UL; i++) {
                if (p->nodes[i / 64] >> i % 64 & 1)
                        max = i + 2; /* the kernel looks at one bit less than it is told */
        }
        if (sys_set_mempolicy(p->mode | (int)p->flags, max > 0 ? p->nodes : NULL, max) < 0)
                return error_errno(err, errno, "linux.memoryPolicy: set %s", p->mode_name);
        return 0;
}

int child_set_personality(const struct plan *plan, struct error *err)
{
        const struct oci_personality *p = plan->private_->personality;

        if (p && p->present && personality(p->domain) < 0)
                return error_errno(err, errno, "linux.personality: set");
        return 0;
}
