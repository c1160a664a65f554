/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of things in the child: see child.h for the calls, child_private.h for the steps. Each
 * step depends on those before it; where that is not plain, it is said.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

enum { DEFAULT_UMASK = 0022 };

/* From the moment that a hostile process can see this one it must not be able to look into it
 * (CVE-2016-9962). */
static int begin(struct error *err)
{
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return error_errno(err, errno, "become undumpable");
        /* a session of its own: no terminal of ours to push characters into (CVE-2017-5226).
         * EPERM: it leads one already. */
        if (setsid() < 0 && errno != EPERM)
                return error_errno(err, errno, "make a session");
        (void)umask(0); /* modes of what is made are meant as they are written */
        return 0;
}

int child_prepare(const struct plan *plan, child_trees_fn trees, void *userdata, struct error *err)
{
        plan->private_->trees = trees;
        plan->private_->trees_userdata = userdata;
        if (begin(err) < 0)
                return -1;
        if (!plan_joins_early(plan) && child_join(plan, err) < 0)
                return -1;
        if (child_unshare_cgroup(plan, err) < 0)
                return -1;
        /* The way to the rootfs may be open to the host's root only: before the ids change. */
        if (child_attach_rootfs(plan, err) < 0 || child_become_root(plan, err) < 0)
                return -1;
        if (child_join_keyring(plan, err) < 0 || child_set_names(plan, err) < 0 ||
            child_raise_loopback(plan, err) < 0)
                return -1;
        if (child_mount_all(plan, err) < 0)
                return -1;
        return child_make_dev(plan, err);
}

int child_enter(const struct plan *plan, child_hooks_fn hooks, void *userdata, int *ret_terminal,
                struct error *err)
{
        const struct oci_hook_list *list = &plan->spec->hooks.create_container;

        *ret_terminal = -1;
        if (list->n > 0 && hooks && hooks(list, userdata, err) < 0)
                return -1;
        if (child_pivot(plan, err) < 0 || child_set_root_propagation(plan, err) < 0)
                return -1;
        if (child_reopen_null(plan, err) < 0 || child_make_cwd(plan, err) < 0)
                return -1;
        if (child_open_console(plan, true, ret_terminal, err) < 0)
                return -1;
        /* Read-only from here. */
        if (child_lock_mounts(plan, err) < 0 || child_write_sysctl(plan, err) < 0 ||
            child_readonly_paths(plan, err) < 0 || child_mask_paths(plan, err) < 0)
                return -1;
        child_find_home(plan);
        return 0;
}

int child_enter_exec(const struct plan *plan, int *ret_terminal, struct error *err)
{
        struct plan_private *p = plan->private_;

        *ret_terminal = -1;
        if (begin(err) < 0)
                return -1;
        p->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (p->root_fd < 0)
                return error_errno(err, errno, "open '/'");
        if (child_join_keyring(plan, err) < 0 ||
            child_open_console(plan, false, ret_terminal, err) < 0)
                return -1;
        child_find_home(plan);
        return 0;
}

/* Whatever the stage and the plan had open, and whatever leaked into them; but not what is passed
 * on, which keep is above of. */
static int close_all_but(int keep, const struct passed *passed, struct error *err)
{
        int from = 3 + (passed ? (int)passed->n : 0);

        if (passed && passed_place(passed, err) < 0)
                return -1;
        if ((keep > from && close_range((unsigned)from, (unsigned)keep - 1, 0) < 0) ||
            close_range(keep < from ? (unsigned)from : (unsigned)keep + 1, ~0u, 0) < 0)
                return error_errno(err, errno, "close descriptors");
        return 0;
}

int child_drop(const struct plan *plan, int keep_fd, child_listener_fn on_listener, void *userdata,
               struct error *err)
{
        const struct oci_user *user = &plan->process->user;
        bool in_cwd = false;

        if (child_own_stdio(plan, err) < 0 || child_write_labels(plan, err) < 0 ||
            child_set_memory_policy(plan, err) < 0 || child_set_personality(plan, err) < 0)
                return -1;
        /* Before names are looked up: no descriptor of the host can be named by /proc/self/fd. */
        if (close_all_but(keep_fd, plan->options.passed, err) < 0)
                return -1;
        plan->private_->root_fd = -1;
        if (child_enter_cwd(plan, &in_cwd, err) < 0)
                return -1;
        (void)umask(user->has_umask ? (mode_t)user->umask : DEFAULT_UMASK);
        /* Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go; it must then
         * allow what follows. With it, it is loaded last. */
        if (!plan->process->no_new_privileges &&
            child_load_seccomp(plan, on_listener, userdata, err) < 0)
                return -1;
        if (child_switch_user(plan, err) < 0)
                return -1;
        if (!in_cwd) {
                if (child_enter_cwd(plan, &in_cwd, err) < 0)
                        return -1;
                if (!in_cwd)
                        return error_errno(err, EACCES, "cwd '%s'", plan->process->cwd);
        }
        if (plan->process->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_errno(err, errno, "set no_new_privs");
        if (child_find_program(plan, err) < 0)
                return -1;
        /* A listener is handed over by the stage, which is gone when the program is executed. */
        if (plan->process->no_new_privileges && plan_has_listener(plan))
                return child_load_seccomp(plan, on_listener, userdata, err);
        return 0;
}
