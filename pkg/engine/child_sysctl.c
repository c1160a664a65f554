/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes to procfs: kernel parameters of the container's namespaces and the labels of security
 * modules. All go through the plan's private procfs, never through the container's /proc.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

enum { LABEL_MAX = 4096 }; /* a page: what attr files take */

int child_write_sysctl(const struct plan *plan, struct error *err)
{
        const struct plan_private *p = plan->private_;

        for (size_t i = 0; i < p->n_sysctl; i++) {
                int r = child_write_proc(plan, p->sysctl[i].path, p->sysctl[i].value);

                if (r < 0)
                        return error_errno(err, -r, "sysctl '%s': write '%s'", p->sysctl[i].key,
                                           p->sysctl[i].value);
        }
        return 0;
}

static int write_selinux_label(const struct plan *plan, const char *path, struct error *err)
{
        const char *label = plan->private_->selinux_label;
        int r = label ? child_write_proc(plan, path, label) : 0;

        if (r == -EINVAL)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "process.selinuxLabel: '%s' is no label of the loaded policy",
                                 label);
        if (r < 0)
                return error_errno(err, -r, "apply SELinux label '%s'", label);
        return 0;
}

int child_label_keys(const struct plan *plan, struct error *err)
{
        return write_selinux_label(plan, "self/attr/keycreate", err);
}

/* Taken up by the kernel at execve(2). */
int child_write_labels(const struct plan *plan, struct error *err)
{
        const struct plan_private *p = plan->private_;
        int r;

        if (p->apparmor_profile) {
                char text[LABEL_MAX];
                int n = snprintf(text, sizeof(text), "exec %s", p->apparmor_profile);

                if (n < 0 || (size_t)n >= sizeof(text))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "process.apparmorProfile: is too long");
                r = child_write_proc(plan, "self/attr/apparmor/exec", text);
                if (r == -ENOENT) /* before Linux 5.8: no such file; later: no such profile */
                        r = child_write_proc(plan, "self/attr/exec", text);
                if (r == -ENOENT)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "process.apparmorProfile: '%s' is not loaded",
                                         p->apparmor_profile);
                if (r < 0)
                        return error_errno(err, -r, "apply AppArmor profile '%s'",
                                           p->apparmor_profile);
        }
        return write_selinux_label(plan, "self/attr/exec", err);
}
