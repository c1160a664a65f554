/* SPDX-License-Identifier: Apache-2.0
 *
 * process.scheduler and process.ioPriority, from the stage: both ask for capabilities of the host's
 * root, which a child in a user namespace has not. The child is in its cgroup by then (with
 * RT_GROUP_SCHED the cgroup decides what a real-time policy may have) and runs nothing of the
 * container's yet.
 */
#include <errno.h>
#include <linux/ioprio.h>

#include "pkg/base/error.h"
#include "pkg/base/sys.h"
#include "pkg/engine/plan_private.h"

bool plan_has_scheduling(const struct plan *plan)
{
        return plan->process->scheduler.present || plan->process->io_priority.present;
}

static int set_scheduler(const struct oci_scheduler *s, pid_t child, struct error *err)
{
        const struct sys_sched_attr attr = {
                .size = sizeof(attr),
                .policy = s->policy,
                .flags = s->flags,
                .nice = s->nice,
                .priority = s->priority,
                .runtime = s->runtime,
                .deadline = s->deadline,
                .period = s->period,
        };

        if (sys_sched_setattr(child, &attr, 0) < 0)
                return error_errno(err, errno, "process.scheduler: set %s", s->policy_name);
        return 0;
}

int plan_apply_scheduling(const struct plan *plan, pid_t child, struct error *err)
{
        const struct oci_scheduler *scheduler = &plan->process->scheduler;
        const struct oci_io_priority *io = &plan->process->io_priority;

        if (scheduler->present && set_scheduler(scheduler, child, err) < 0)
                return -1;
        if (io->present && sys_ioprio_set(IOPRIO_WHO_PROCESS, child, (int)io->value) < 0)
                return error_errno(err, errno, "process.ioPriority: set %s", io->class_name);
        return 0;
}

int plan_set_initial_cpus(const struct plan *plan, struct error *err)
{
        const uint64_t *cpus = plan->process->exec_cpus_initial;

        if (cpus && sys_sched_setaffinity(0, cpus, OCI_CPU_WORDS * sizeof(*cpus)) < 0)
                return error_errno(err, errno, "process.execCPUAffinity.initial: set");
        return 0;
}
