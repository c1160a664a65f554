/* SPDX-License-Identifier: Apache-2.0
 *
 * From the runtime's credentials to the process's own: groups, ids and capabilities, in the order
 * that the kernel's rules force. Nothing is left that was not asked for: the bounding set loses
 * what is not listed, inheritable capabilities are empty unless listed (CVE-2022-29162), and the
 * runtime's groups go even if no list is given.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

enum { CAPABILITIES_MAX = 63 };

/* A program that runs as a user must be able to reopen /dev/stdout: its FIFOs and pipes become
 * its own. Devices stay whose they are. */
int child_own_stdio(const struct plan *plan, struct error *err)
{
        const struct oci_user *user = &plan->process->user;

        for (int i = 0; i <= 2; i++) {
                struct stat st;

                if (fstat(i, &st) < 0 || !S_ISFIFO(st.st_mode))
                        continue;
                if (st.st_uid == user->uid && st.st_gid == user->gid)
                        continue;
                /* a read-only or foreign file system, or an id that it does not know */
                if (fchown(i, user->uid, user->gid) < 0 && errno != EPERM && errno != EINVAL &&
                    errno != EROFS)
                        return error_errno(err, errno, "change the owner of descriptor %d", i);
        }
        return 0;
}

static int drop_bounding(uint64_t keep, struct error *err)
{
        for (int i = 0; i <= CAPABILITIES_MAX; i++) {
                if (keep >> i & 1)
                        continue;
                if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0)
                        continue;
                if (errno == EINVAL) /* past the last one of this kernel */
                        return 0;
                return error_errno(err, errno, "drop capability %d from the bounding set", i);
        }
        return 0;
}

/* What the runtime itself does not own it cannot give: such capabilities are left out, as the
 * runtime-spec asks. */
static int set_capabilities(const struct oci_capabilities *want, uint64_t owned, struct error *err)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        uint64_t permitted = want->permitted & owned;
        uint64_t effective = want->effective & permitted;
        uint64_t inheritable = want->inheritable & owned;
        struct __user_cap_data_struct data[2] = {
                {.effective = (uint32_t)effective,
                 .permitted = (uint32_t)permitted,
                 .inheritable = (uint32_t)inheritable},
                {.effective = (uint32_t)(effective >> 32),
                 .permitted = (uint32_t)(permitted >> 32),
                 .inheritable = (uint32_t)(inheritable >> 32)},
        };
        uint64_t ambient = want->ambient & permitted & inheritable;

        if (syscall(SYS_capset, &header, data) < 0)
                return error_errno(err, errno, "set capabilities");
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
                return error_errno(err, errno, "clear ambient capabilities");
        for (int i = 0; i <= CAPABILITIES_MAX; i++) {
                if (ambient >> i & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
                        return error_errno(err, errno, "raise ambient capability %d", i);
        }
        return 0;
}

static int set_ids(const struct oci_user *user, struct error *err)
{
        /* A user namespace may deny setgroups(2); then there is nothing to take away either. */
        if (setgroups(user->n_additional_gids, user->additional_gids) < 0 &&
            !(errno == EPERM && user->n_additional_gids == 0))
                return error_errno(err, errno, "set the additional groups");
        /* EINVAL: the user namespace does not map it (setresuid(2)) */
        if (setresgid(user->gid, user->gid, user->gid) < 0)
                return error_errno(err, errno, "set the group id to %u%s", user->gid,
                                   errno == EINVAL ? " (not mapped?)" : "");
        if (setresuid(user->uid, user->uid, user->uid) < 0)
                return error_errno(err, errno, "set the user id to %u%s", user->uid,
                                   errno == EINVAL ? " (not mapped?)" : "");
        return 0;
}

int child_switch_user(const struct plan *plan, struct error *err)
{
        const struct oci_capabilities *want = &plan->private_->capabilities;
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {0};

        if (syscall(SYS_capget, &header, data) < 0)
                return error_errno(err, errno, "read the capabilities");
        if (drop_bounding(want->bounding, err) < 0)
                return -1;
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
                return error_errno(err, errno, "keep capabilities");
        if (set_ids(&plan->process->user, err) < 0)
                return -1;
        /* a change of ids has set it to fs.suid_dumpable */
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        return set_capabilities(want, data[0].permitted | (uint64_t)data[1].permitted << 32, err);
}
