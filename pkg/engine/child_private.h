/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of child_prepare(), child_enter(), child_drop() and child_exec(), one file each. All
 * run in the child, in the order in which the files call them, return 0 or -1 with err, and use
 * neither heap nor stdio streams.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/engine/passed.h"
#include "pkg/engine/plan_private.h"

/* ---- child_fs.c: paths inside a root that may be hostile ---- */

/*
 * Opens path as if root were "/": neither symlinks nor ".." lead out of it, magic links are
 * refused. flags: O_*; O_CLOEXEC is added. Returns a descriptor or -1 and errno.
 */
int child_open_in_root(int root, const char *path, uint64_t flags);

/* The same without any symlink on the way. */
int child_open_in_root_nofollow(int root, const char *path, uint64_t flags);

/*
 * O_PATH of path, which is made if it is missing (directories 0755; the last part a directory or an
 * empty file). Dangling symlinks of an image are resolved in the root, too. Returns a descriptor or
 * -1 and errno; *ret_made may be NULL.
 */
int child_make_in_root(const struct plan *plan, const char *path, bool is_directory,
                       bool *ret_made);

/* O_PATH of a name in a directory, whatever it is; a symlink gives ELOOP. */
int child_open_name(int dir, const char *name);

/* True if fd is on a file system with this magic number (linux/magic.h). */
bool child_is_on(int fd, long magic);

/* move_mount(2) of the mount at from onto to, both by descriptor. */
int child_move_mount(int from, int to);

/* mount_setattr(2) on a descriptor. */
int child_set_attr(int fd, bool recursive, uint64_t set, uint64_t clear, unsigned propagation);

/* Writes text to a file of plan->proc_fd, reached without links and without leaving it. */
int child_write_proc(const struct plan *plan, const char *path, const char *text);

/* The descriptor of the container's root. */
int child_root(const struct plan *plan);

/* ---- steps ---- */

/* child_ns.c */
int child_unshare_cgroup(const struct plan *plan, struct error *err);
int child_become_root(const struct plan *plan, struct error *err);
int child_set_names(const struct plan *plan, struct error *err);
int child_raise_loopback(const struct plan *plan, struct error *err);
int child_join_keyring(const struct plan *plan, struct error *err);

/* child_rootfs.c */
int child_attach_rootfs(const struct plan *plan, struct error *err);
int child_pivot(const struct plan *plan, struct error *err);
int child_set_root_propagation(const struct plan *plan, struct error *err);
int child_lock_mounts(const struct plan *plan, struct error *err); /* late "ro", root.readonly */

/* child_mounts.c, child_fsmount.c, child_copyup.c, child_cgroup.c */
int child_mount_all(const struct plan *plan, struct error *err);
int child_fsmount(const struct plan *plan, const struct plan_mount *m, const char *extra_options,
                  struct error *err); /* a detached mount, or -1 */
int child_fsmount_is_possible(const struct plan_mount *m);
/* target: the directory beneath; tmpfs: a new mount, attached or not. */
int child_copy_up(const struct plan *plan, const struct plan_mount *m, int target, int tmpfs,
                  struct error *err);
int child_mount_cgroup(const struct plan *plan, struct plan_mount *m, int target,
                       struct error *err);

/* child_dev.c */
int child_make_dev(const struct plan *plan, struct error *err);
int child_reopen_null(const struct plan *plan, struct error *err);

/* child_paths.c */
int child_mask_paths(const struct plan *plan, struct error *err);
int child_readonly_paths(const struct plan *plan, struct error *err);

/* child_sysctl.c */
int child_write_sysctl(const struct plan *plan, struct error *err);
int child_write_labels(const struct plan *plan, struct error *err);

/* The keys that are made from now to execve(2) have the process's SELinux label; otherwise it could
 * not use its own session keyring. */
int child_label_keys(const struct plan *plan, struct error *err);

/* child_console.c */
int child_open_console(const struct plan *plan, bool bind, int *ret_master, struct error *err);

/* child_home.c: fills HOME's place in the environ. Cannot fail: HOME is "/" then. */
void child_find_home(const struct plan *plan);

/* child_cwd.c: *ret_done is false when these credentials have no right to enter it. */
int child_make_cwd(const struct plan *plan, struct error *err);
int child_enter_cwd(const struct plan *plan, bool *ret_done, struct error *err);

/* child_user.c */
int child_own_stdio(const struct plan *plan, struct error *err);
int child_switch_user(const struct plan *plan, struct error *err);

/* child_scheduling.c */
int child_set_memory_policy(const struct plan *plan, struct error *err);
int child_set_personality(const struct plan *plan, struct error *err);

/* child_exec.c */
int child_load_seccomp(const struct plan *plan, child_listener_fn on_listener, void *userdata,
                       struct error *err);
int child_find_program(const struct plan *plan, struct error *err);
