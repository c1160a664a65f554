/* SPDX-License-Identifier: Apache-2.0
 *
 * Which namespaces are made and which are joined. A path is opened here, before anything of the
 * container exists, and its type is asked of the kernel: joining "network" by the path of a pid
 * namespace would leave the container in the host's network.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/plan_private.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static const struct {
        const char *name;
        uint64_t flag;
        const char *own; /* this process's */
} kinds[_OCI_NS_MAX] = {
        [OCI_NS_PID] = {"pid", CLONE_NEWPID, "/proc/self/ns/pid"},
        [OCI_NS_NETWORK] = {"network", CLONE_NEWNET, "/proc/self/ns/net"},
        [OCI_NS_MOUNT] = {"mount", CLONE_NEWNS, "/proc/self/ns/mnt"},
        [OCI_NS_IPC] = {"ipc", CLONE_NEWIPC, "/proc/self/ns/ipc"},
        [OCI_NS_UTS] = {"uts", CLONE_NEWUTS, "/proc/self/ns/uts"},
        [OCI_NS_USER] = {"user", CLONE_NEWUSER, "/proc/self/ns/user"},
        [OCI_NS_CGROUP] = {"cgroup", CLONE_NEWCGROUP, "/proc/self/ns/cgroup"},
        [OCI_NS_TIME] = {"time", CLONE_NEWTIME, "/proc/self/ns/time"},
};

static int open_namespace(size_t kind, const char *path, int *ret, bool *ret_is_own,
                          struct error *err)
{
        /* setns(2) refuses O_PATH; O_NONBLOCK is for a path that is a FIFO */
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat theirs;
        struct stat ours;
        int type;

        if (fd < 0)
                return error_errno(err, errno, "open %s namespace '%s'", kinds[kind].name, path);
        type = ioctl(fd, NS_GET_NSTYPE);
        if (type < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.namespaces: '%s' is not a namespace", path);
        if ((uint64_t)type != kinds[kind].flag)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.namespaces: '%s' is not a %s namespace", path,
                                 kinds[kind].name);
        /* Joining what one is in already is nothing to do, and for a user namespace EINVAL. */
        if (fstat(fd, &theirs) == 0 && stat(kinds[kind].own, &ours) == 0 &&
            theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino) {
                *ret_is_own = true;
                return 0;
        }
        *ret = TAKE_FD(fd);
        return 0;
}

/*
 * A namespace that is the runtime's own gives the container nothing of its own, whatever the
 * configuration calls it: what is set in it is set on the host. A rootfs there would take the place
 * of the host's root.
 */
static int check_own(const struct plan *plan, struct error *err)
{
        const struct plan_private *p = plan->private_;
        const struct oci_spec *spec = plan->spec;

        if (p->is_own[OCI_NS_MOUNT])
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.namespaces: the mount namespace '%s' is the runtime's own",
                                 spec->linux_.namespaces[OCI_NS_MOUNT].path);
        if (p->is_own[OCI_NS_NETWORK] && spec->linux_.n_net_devices > 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.netDevices: the network namespace '%s' is the runtime's "
                                 "own",
                                 spec->linux_.namespaces[OCI_NS_NETWORK].path);
        if (p->is_own[OCI_NS_UTS] &&
            (!str_is_empty(spec->hostname) || !str_is_empty(spec->domainname)))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "%s: the uts namespace '%s' is the runtime's own",
                                 str_is_empty(spec->hostname) ? "domainname" : "hostname",
                                 spec->linux_.namespaces[OCI_NS_UTS].path);
        for (size_t i = 0; i < p->n_sysctl; i++) {
                enum oci_namespace_type type = p->sysctl[i].type;

                if (p->is_own[type])
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.sysctl: '%s': the %s namespace '%s' is the "
                                         "runtime's own",
                                         p->sysctl[i].key, kinds[type].name,
                                         spec->linux_.namespaces[type].path);
        }
        return 0;
}

int plan_add_namespaces(struct plan *plan, struct error *err)
{
        const struct oci_namespace *ns = plan->spec->linux_.namespaces;
        struct plan_private *p = plan->private_;

        for (size_t i = 0; i < _OCI_NS_MAX; i++) {
                if (!ns[i].present)
                        continue;
                if (!ns[i].path)
                        plan->clone_flags |= kinds[i].flag;
                else if (open_namespace(i, ns[i].path, &plan->join_fds[i], &p->is_own[i], err) < 0)
                        return -1;
        }
        if (check_own(plan, err) < 0)
                return -1;
        /* It is rooted at the cgroup of its maker, who is in the container's only later. */
        p->new_cgroup_namespace = (plan->clone_flags & CLONE_NEWCGROUP) != 0;
        plan->clone_flags &= ~(uint64_t)CLONE_NEWCGROUP;
        p->has_cgroup_namespace = ns[OCI_NS_CGROUP].present && !p->is_own[OCI_NS_CGROUP];
        p->has_mount_namespace = ns[OCI_NS_MOUNT].present;
        p->has_user_namespace =
                (plan->clone_flags & CLONE_NEWUSER) || plan->join_fds[OCI_NS_USER] >= 0;
        /* The root of its mqueue file system belongs to its maker, who must have an id by then. */
        p->new_ipc_namespace =
                (plan->clone_flags & CLONE_NEWUSER) && (plan->clone_flags & CLONE_NEWIPC);
        if (p->new_ipc_namespace)
                plan->clone_flags &= ~(uint64_t)CLONE_NEWIPC;
        p->make_time_namespace =
                plan->spec->linux_.has_time_offsets && (plan->clone_flags & CLONE_NEWTIME);
        if (p->make_time_namespace)
                plan->clone_flags &= ~(uint64_t)CLONE_NEWTIME;
        p->bring_up_loopback = (plan->clone_flags & CLONE_NEWNET) != 0;
        return 0;
}

int plan_make_time_namespace(const struct plan *plan, int *ret, struct error *err)
{
        const struct oci_linux *l = &plan->spec->linux_;
        _cleanup_close_ int own = -1;
        char text[128];
        int r;

        if (!plan->private_->make_time_namespace)
                return 0;
        own = open(kinds[OCI_NS_TIME].own, O_RDONLY | O_CLOEXEC);
        if (own < 0)
                return error_errno(err, errno, "open '%s'", kinds[OCI_NS_TIME].own);
        if (unshare(CLONE_NEWTIME) < 0)
                return error_errno(err, errno, "make a time namespace");
        (void)snprintf(text, sizeof(text),
                       "monotonic %" PRIi64 " %" PRIu32 "\nboottime %" PRIi64 " %" PRIu32 "\n",
                       l->monotonic.secs, l->monotonic.nanosecs, l->boottime.secs,
                       l->boottime.nanosecs);
        r = file_write(AT_FDCWD, "/proc/self/timens_offsets", text);
        if (r < 0)
                return error_errno(err, -r, "linux.timeOffsets: set");
        *ret = TAKE_FD(own);
        return 0;
}

bool plan_has_new_userns(const struct plan *plan)
{
        return (plan->clone_flags & CLONE_NEWUSER) != 0;
}

bool plan_has_userns(const struct plan *plan)
{
        return plan->private_->has_user_namespace;
}

bool plan_joins_early(const struct plan *plan)
{
        if (plan->join_fds[OCI_NS_USER] >= 0)
                return true;
        if (!plan_has_new_userns(plan))
                return false;
        for (size_t i = 0; i < _OCI_NS_MAX; i++) {
                if (i != OCI_NS_PID && plan->join_fds[i] >= 0)
                        return true;
        }
        return false;
}
