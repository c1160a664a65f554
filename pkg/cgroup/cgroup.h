/* SPDX-License-Identifier: Apache-2.0
 *
 * The control groups of one container: on cgroup v1 (one directory for each hierarchy), on v2 (one
 * directory), and on hybrid hosts (v1 controllers with a v2 tree beside them, which then serves for
 * cgroup.kill and for listing).
 *
 * Creation and limits may block (a cold cgroup write waits for an RCU grace period), so they belong
 * in a stage. What the shim itself calls is marked "quick".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/oci/spec.h"

enum { CGROUP_HIERARCHIES_MAX = 16 };

/* One mounted hierarchy of the host, from /proc/self/mountinfo. Text lives in the layout's arena.
 */
struct cgroup_hierarchy {
        const char *mountpoint;
        const char *root;        /* the part of the hierarchy that is mounted, "/" mostly */
        const char *controllers; /* comma-separated, as mounted; "name=systemd"; "" for v2 */
        bool is_v2;
};

struct cgroup_layout {
        struct cgroup_hierarchy hierarchies[CGROUP_HIERARCHIES_MAX];
        size_t n_hierarchies;
        bool is_unified; /* cgroup2 at /sys/fs/cgroup and no v1 controller */
};

int cgroup_layout_parse(const char *mountinfo, struct arena *arena, struct cgroup_layout *ret,
                        struct error *err); /* pure */

/* Of this host. With all of v2 at /sys/fs/cgroup what may be mounted elsewhere is not looked at. */
int cgroup_layout_read(struct arena *arena, struct cgroup_layout *ret, struct error *err);

/* The directories of one container, parallel to nothing: only hierarchies in which it has one. */
struct cgroup_dir {
        const char *path; /* absolute host path of the container's directory */
        const char *controllers;
        bool is_v2;
        bool created;       /* by us: then it is removed on delete */
        unsigned n_parents; /* how many directories right above it were made by us, too */
};

struct cgroup {
        struct cgroup_dir dirs[CGROUP_HIERARCHIES_MAX];
        size_t n_dirs;
        const char *unit; /* the systemd scope whose cgroup it is; NULL: nobody's but ours */
};

/*
 * Where a container's cgroup is. cgroups_path: linux.cgroupsPath; a path, absolute or not, is below
 * the mount of each hierarchy, NULL and "" mean "/<id>". `..`, control characters, components over
 * NAME_MAX and the root itself are refused; so is the form "slice:prefix:name", which is for
 * systemd_plan(). Pure.
 */
int cgroup_plan(const struct cgroup_layout *layout, const char *cgroups_path, const char *id,
                struct arena *arena, struct cgroup *ret, struct error *err);

/*
 * Where a process is that somebody else has placed: from the text of its /proc/PID/cgroup.
 * Hierarchies in which it is where `own` (the caller's text) is were left alone and are not part of
 * it; neither is what is outside the mounted part of a hierarchy. Nothing counts as created by us.
 * Pure.
 */
int cgroup_of_process(const struct cgroup_layout *layout, const char *text, const char *own,
                      struct arena *arena, struct cgroup *ret, struct error *err);

/*
 * Makes the directories (v1 cpuset: copies cpus and mems down; v2 without v1: enables controllers
 * down the path). A directory that exists and has processes in or below it, or is frozen, is
 * refused. On failure what was made is removed again. Beside v1 the v2 tree is a convenience: where
 * it cannot be written, cg goes on without it.
 *
 * With a unit, which must have been started: what systemd has made is taken as it is, the rest is
 * made, and all of it counts as ours, since the unit is.
 */
int cgroup_create(struct cgroup *cg, struct error *err);

/*
 * Descriptors for a child to join with: on v1 each hierarchy's `tasks`, opened O_WRONLY, into which
 * the single-threaded child writes "0"; the v2 directory for CLONE_INTO_CGROUP (-1 if none).
 * Writing `cgroup.procs` instead costs 11 to 15 ms when cold.
 */
struct cgroup_join {
        int tasks[CGROUP_HIERARCHIES_MAX];
        size_t n_tasks;
        int v2_dir;
};
void cgroup_join_close(struct cgroup_join *join);

/*
 * The same for a caller that takes note of the directories before they are made, to kill and to
 * remove all of them should it be interrupted. tell() gets cg as it is going to be, unless it has
 * been refused already; -1 and an error from it, and nothing is made. What is there by the time
 * that it is made is removed only if it is empty. join: on success what cgroup_open_join() would
 * give, but opened from where the directories are made, which saves a long walk for each; may be
 * NULL.
 */
typedef int (*cgroup_announce_fn)(const struct cgroup *planned, void *userdata, struct error *err);
int cgroup_create_with(struct cgroup *cg, cgroup_announce_fn tell, void *userdata,
                       struct cgroup_join *join, struct error *err);

/*
 * Writes the limits, but for device rules. A limit whose controller or file the host lacks fails
 * with the name of the field; memory.kernel, useHierarchy and, on v2, kernelTCP are accepted and
 * ignored, since no kernel heeds them. When something fails, limits that were changed are set back;
 * what could not be set back is in the error's text.
 */
int cgroup_apply_limits(const struct cgroup *cg, const struct oci_resources *resources,
                        struct error *err);

/*
 * Device rules of a new cgroup; resources may be NULL: then only the default ones. Everything is
 * denied first, then the document's rules in their order, then what every container may do, as runc
 * has it: mknod of any device, and null, zero, full, random, urandom, tty, ptmx and ptys for
 * reading and writing. Apart from the limits, since they need not be there before a process is.
 */
int cgroup_apply_devices(const struct cgroup *cg, const struct oci_resources *resources,
                         struct error *err);

/*
 * The same for a container that runs: what is not given is left as it is, device rules, too; given,
 * they replace the old ones as a whole. Where that cannot be done without a moment in which no
 * device is allowed, the container is stopped for it: on v1, if it might use all devices before or
 * may afterwards, or if somebody else sets its rules, too (below). Whoever kills the process that
 * is at it has to thaw the cgroup, unless it was paused.
 */
int cgroup_update(const struct cgroup *cg, const struct oci_resources *resources,
                  struct error *err);

/*
 * The same for a cgroup that somebody else keeps, too. When limits have been written, but for
 * device rules, tell() tells him of them: 1, 0 if there is nothing that concerns him, or -1 and an
 * error, and then they are set back. He has a coarser idea of limits, so they are written once
 * more.
 */
typedef int (*cgroup_told_fn)(void *userdata, struct error *err);
int cgroup_update_with(const struct cgroup *cg, const struct oci_resources *resources,
                       cgroup_told_fn tell, void *userdata, struct error *err);

/*
 * On v2: gives the directory and the files in it that the kernel lists as fit for that to a user,
 * so that the container can make cgroups below its own. On v1, where that would not be safe, it
 * does nothing.
 */
int cgroup_delegate(const struct cgroup *cg, uid_t uid, struct error *err);

/* Those of a container that is there; on failure nothing is open. */
int cgroup_open_join(const struct cgroup *cg, struct cgroup_join *ret, struct error *err);

/*
 * Where in cg an exec goes that is to be in a cgroup below the container's own. text, one a line:
 * PATH for all hierarchies, or CONTROLLER[,CONTROLLER...]:PATH of v1, the others left as they are.
 * A PATH is below the container's cgroup, with or without a '/' before it; '..' is refused. Whether
 * it is there shows when it is opened to join; but where v1 has a v2 tree beside it, that is passed
 * over if it has no such cgroup. What comes out is to be joined, and for nothing else.
 */
int cgroup_below(const struct cgroup *cg, const char *text, struct arena *arena, struct cgroup *ret,
                 struct error *err);

/* One path a line: "v2 /path" or "v1:<controllers> /path"; with "+N" behind "v1"/"v2" if it was
 * created by us, N parents with it. Before them "systemd <unit>", if there is one. What the shim
 * keeps, and what stands in the bundle for `delete`. */
int cgroup_format(const struct cgroup *cg, struct arena *arena, char **ret_text, struct error *err);
int cgroup_parse(const char *text, struct arena *arena, struct cgroup *ret, struct error *err);

/*
 * All processes, in sub-cgroups too. The array is on the heap. A cgroup that is gone has none. The
 * quick one is for a container with a few cgroups: with more than LIMIT_CGROUP_LOOK, or when they
 * take long to look at, it gives up with 1 and sets nothing.
 */
int cgroup_pids(const struct cgroup *cg, pid_t **ret_pids, size_t *ret_n, struct error *err);
int cgroup_pids_quick(const struct cgroup *cg, pid_t **ret_pids, size_t *ret_n, struct error *err);

/* True if SIGKILL for all takes one write (cgroup.kill, Linux 5.14). Quick. */
bool cgroup_has_kill(const struct cgroup *cg);

/*
 * Stops or continues every process, on v1 by the freezer, else on v2. Waits for the kernel to have
 * done it, for at most timeout_ms; what could not be frozen by then is thawed again. A thaw with a
 * timeout of 0 does not wait, and is quick.
 */
int cgroup_freeze(const struct cgroup *cg, int timeout_ms, struct error *err);
int cgroup_thaw(const struct cgroup *cg, int timeout_ms, struct error *err);

/* True if it was asked to be stopped, whether or not all of it is. Quick. */
bool cgroup_is_paused(const struct cgroup *cg);

/* After SIGKILL, whose way v1's freezer is in: thaws the cgroup and what the container has frozen
 * below it, up to LIMIT_CGROUP_LOOK directories. Quick. */
void cgroup_let_go(const struct cgroup *cg);

/*
 * Signals every process. SIGKILL: cgroup.kill where there is one (quick), else freeze, signal, thaw
 * until nothing is left, for at most timeout_ms (0: one pass, whatever is left); what outlives that
 * is named in a STATUS_FAILED_PRECONDITION. Other signals: one
 * pass over the list (quick).
 */
int cgroup_kill(const struct cgroup *cg, int signo, int timeout_ms, struct error *err);

/*
 * For an error's text: a process that is still in the cgroup, one in uninterruptible sleep if there
 * is such a one: "process 12 (dd) is in uninterruptible sleep". False if there is none within
 * LIMIT_CGROUP_LOOK directories. Quick.
 */
bool cgroup_survivor(const struct cgroup *cg, char *text, size_t size);

/*
 * Removes the directories that were created by us, sub-cgroups first, retrying EBUSY for timeout_ms
 * in all. Then the parents that were made with them, where nothing else is in them: runc leaves
 * those. A parent that another container still uses stays for good.
 */
int cgroup_remove(const struct cgroup *cg, int timeout_ms, struct error *err);

/* Removes the directories that count as created, and only where nothing is in or below them; what
 * is may leave for timeout_ms in all. */
int cgroup_remove_empty(const struct cgroup *cg, int timeout_ms, struct error *err);
