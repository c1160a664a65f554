/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces and what is theirs alone: ids, names, the loopback device, the session keyring.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* The loopback device of every network namespace (net/core/dev.c). */
enum { LOOPBACK_IFINDEX = 1 };

/* keyctl(2): the possessor may do everything, processes of the same user may see it and, so that
 * an exec finds it, search. Nobody may change it from outside. */
#define KEYRING_PERMISSIONS 0x3f0b0000

int child_join(const struct plan *plan, struct error *err)
{
        /* What only the host's root may join comes before the user namespace; the mount namespace
         * comes last, for it takes the host's paths away. */
        static const struct {
                enum oci_namespace_type type;
                int flag;
                const char *name;
        } order[] = {
                {OCI_NS_NETWORK, CLONE_NEWNET, "network"},
                {OCI_NS_IPC, CLONE_NEWIPC, "ipc"},
                {OCI_NS_UTS, CLONE_NEWUTS, "uts"},
                {OCI_NS_CGROUP, CLONE_NEWCGROUP, "cgroup"},
                {OCI_NS_TIME, CLONE_NEWTIME, "time"},
                {OCI_NS_MOUNT, CLONE_NEWNS, "mount"},
                {OCI_NS_USER, CLONE_NEWUSER, "user"},
        };

        for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
                int fd = plan->join_fds[order[i].type];

                if (fd >= 0 && setns(fd, order[i].flag) < 0)
                        return error_errno(err, errno, "join %s namespace '%s'", order[i].name,
                                           plan->spec->linux_.namespaces[order[i].type].path);
        }
        return 0;
}

int child_unshare_cgroup(const struct plan *plan, struct error *err)
{
        if (plan->private_->new_cgroup_namespace && unshare(CLONE_NEWCGROUP) < 0)
                return error_errno(err, errno, "make a cgroup namespace");
        return 0;
}

/* In a user namespace the ids are still the host's, or none: from here on they are its root's, so
 * that what is made belongs to it. */
int child_become_root(const struct plan *plan, struct error *err)
{
        if (!plan->private_->has_user_namespace)
                return 0;
        /* setgroups may be denied in a joined namespace; child_switch_user() has the last word */
        (void)setgroups(0, NULL);
        if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                return error_errno(err, errno, "become root of the user namespace");
        /* a change of ids resets it (PR_SET_DUMPABLE(2const)) */
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (plan->private_->new_ipc_namespace && unshare(CLONE_NEWIPC) < 0)
                return error_errno(err, errno, "make an ipc namespace");
        return 0;
}

int child_set_names(const struct plan *plan, struct error *err)
{
        const struct oci_spec *spec = plan->spec;

        if (!str_is_empty(spec->hostname) &&
            sethostname(spec->hostname, strlen(spec->hostname)) < 0)
                return error_errno(err, errno, "set hostname '%s'", spec->hostname);
        if (!str_is_empty(spec->domainname) &&
            setdomainname(spec->domainname, strlen(spec->domainname)) < 0)
                return error_errno(err, errno, "set domainname '%s'", spec->domainname);
        return 0;
}

int child_raise_loopback(const struct plan *plan, struct error *err)
{
        _cleanup_close_ int fd = -1;
        struct {
                struct nlmsghdr header;
                struct ifinfomsg info;
        } request = {
                .header = {.nlmsg_len = sizeof(request),
                           .nlmsg_type = RTM_NEWLINK,
                           .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                .info = {.ifi_index = LOOPBACK_IFINDEX, .ifi_flags = IFF_UP, .ifi_change = IFF_UP},
        };
        struct {
                struct nlmsghdr header;
                struct nlmsgerr error;
        } reply = {0};
        ssize_t n;

        if (!plan->private_->bring_up_loopback)
                return 0;
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0)
                return error_errno(err, errno, "bring up loopback");
        do {
                n = recv(fd, &reply, sizeof(reply), 0);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return error_errno(err, errno, "bring up loopback");
        if ((size_t)n < sizeof(reply.header) + sizeof(reply.error.error) ||
            reply.header.nlmsg_type != NLMSG_ERROR)
                return error_set(err, STATUS_UNKNOWN, "bring up loopback: odd reply");
        if (reply.error.error < 0)
                return error_errno(err, -reply.error.error, "bring up loopback");
        return 0;
}

int child_join_keyring(const struct plan *plan, struct error *err)
{
        const char *name = plan->private_->keyring;
        long ring;

        if (!name)
                return 0;
        if (child_label_keys(plan, err) < 0)
                return -1;
        ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0);
        if (ring < 0) {
                /* no keyrings in this kernel, a filter around us, or the user's quota is used up:
                 * no reason for a container not to run */
                if (errno == ENOSYS || errno == EDQUOT || errno == EPERM || errno == EACCES)
                        return 0;
                return error_errno(err, errno, "make session keyring '%s'", name);
        }
        /* EACCES: it was there and belongs to another user of the container */
        if (syscall(SYS_keyctl, KEYCTL_SETPERM, ring, KEYRING_PERMISSIONS, 0, 0) < 0 &&
            errno != EACCES && errno != ENOSYS && errno != EPERM)
                return error_errno(err, errno, "set the permissions of session keyring '%s'", name);
        return 0;
}
