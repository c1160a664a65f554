/* SPDX-License-Identifier: Apache-2.0
 *
 * What a container's process does to itself between clone3 and execve, as four calls on a plan. The
 * plan is made in the stage (it decides everything and opens everything); the calls only do. init.c
 * strings them together with the messages to the stage and the gate in between; see
 * docs/architecture.md.
 *
 *   stage   plan_new()                        config.json -> decisions, descriptors, BPF
 *   child   child_prepare()                   namespaces, mounts, /dev; the host's root is still
 * visible … stage runs prestart and createRuntime hooks … child_enter() createContainer hooks,
 * pivot, console, sysctl, masks, read-only child_drop()                      rlimits are in place;
 * ids, capabilities, cwd, PATH lookup … gate: Create has been answered, Start opens it …
 *           child_exec()                      startContainer hooks, seccomp, execve
 *
 * An exec'd process has joined the container's namespaces already (exec_clone.c) when it does
 * child_enter_exec() in place of prepare and enter. It is given no hooks function, and has none to
 * call.
 *
 * What init.c does around the calls, so that child_*.c need not: signal dispositions and mask are
 * the default ones, PR_SET_PDEATHSIG, stdio at 0-2 (without a terminal; fchown to the user is
 * child_drop()'s), the join of the v1 cgroups, closing its copies of the stage's sockets. The stage
 * joins a pid namespace given by path (setns before clone3); all other join_fds are the child's.
 * For an exec the stage has set PR_SET_DUMPABLE to 0 before any join; in a create that is
 * child_prepare()'s. All else is child_*.c's: setsid, keyring, umask, labels.
 *
 * From the moment that the rootfs is in reach its content is hostile: paths in it are opened with
 * openat2(RESOLVE_IN_ROOT) and used as descriptors; writes to procfs check that it is procfs.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/base/fd.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/oci/spec.h"

struct plan_options {
        const char *id;
        const char *bundle; /* absolute */
        bool terminal;      /* wins over process.terminal */
        bool no_pivot_root;
        bool no_new_keyring;
        const struct passed *passed; /* passed.h; NULL: none */
        const char *seccomp_cache;   /* a folder (seccomp_cache.h); NULL: none */

        /* For an exec, which has no spec: the container's own; NULL: none. */
        const struct oci_personality *personality;
        const struct oci_memory_policy *memory_policy;
};

/* A compiled seccomp filter. */
struct plan_seccomp {
        struct sock_fprog prog; /* prog.len == 0: none */
        unsigned flags;         /* SECCOMP_FILTER_FLAG_* */
};

struct plan {
        const struct oci_spec
                *spec; /* of the container; for an exec: NULL where it is not needed */
        const struct oci_process *process; /* spec's own, or the exec's */
        struct plan_options options;
        struct plan_seccomp seccomp;

        /* CLONE_NEW* of namespaces to be created, for clone3. Never NEWCGROUP: it is rooted at the
         * cgroup in which it is made, so child_prepare() makes it after the join. */
        uint64_t clone_flags;
        int join_fds[_OCI_NS_MAX]; /* namespaces to be joined by path, opened and type-checked; -1
                                    */
        int rootfs_fd;             /* a detached clone of the rootfs (without a mount namespace:
                                      the directory itself); -1 for an exec */
        int proc_fd; /* a private procfs of the host, for verified writes; -1 if not needed */
        /* Further fields are child_*.c's and plan.c's own. */
        struct plan_private *private_;
};

/*
 * Validates what the runtime-spec demands across fields (ids, namespaces against hostname, sysctl
 * and mounts, rlimits, destinations), compiles seccomp and opens what the child needs. All from the
 * arena; the descriptors die with the stage. Errors: STATUS_INVALID_ARGUMENT or
 * STATUS_UNIMPLEMENTED with the path of the property, STATUS_UNKNOWN for the system's.
 */
int plan_new(struct plan **ret, const struct oci_spec *spec, const struct plan_options *options,
             struct arena *arena, struct error *err);

/*
 * For an exec, to be called before the stage joins anything: a plan for a process in a container
 * that runs. container_capabilities is used when the process brings none (never the runtime's own).
 * seccomp is the container's own filter; len 0 for none.
 */
int plan_new_exec(struct plan **ret, const struct oci_process *process,
                  const struct oci_capabilities *container_capabilities,
                  const struct plan_seccomp *seccomp, const struct plan_options *options,
                  struct arena *arena, struct error *err);

/* Compiles a profile: libseccomp to BPF. NULL gives len 0. Pure but for the arena, and for the
 * cache of compiled filters in the folder cache_dir (seccomp_cache.h; NULL: none). */
int seccomp_compile(const struct oci_seccomp *profile, const char *cache_dir, struct arena *arena,
                    struct plan_seccomp *ret, struct error *err);

/* True if the filter has a listener (SCMP_ACT_NOTIFY). */
bool plan_has_listener(const struct plan *plan);

/* True if child_drop() loads the filter, and not child_exec(). */
bool plan_loads_seccomp_early(const struct plan *plan);

/* The environment of the process; HOME is in it when child_enter() has returned. */
char *const *plan_environment(const struct plan *plan);

/* True if the plan makes a user namespace; it needs its maps written by the stage
 * before child_prepare(). */
bool plan_has_new_userns(const struct plan *plan);

/* True if it makes or joins one. Of a plan for an exec nothing is known. */
bool plan_has_userns(const struct plan *plan);

/*
 * True if namespaces given by path must be joined before the user namespace is made or joined,
 * since only the host's root may join them (and what is made afterwards belongs to the user
 * namespace). Then the stage does not clone init itself but an intermediate process (CLONE_PARENT),
 * which calls child_join() and then clones init with clone_flags and CLONE_PARENT. Otherwise
 * child_prepare() joins. A pid namespace is joined by the stage in both cases, beforehand.
 */
bool plan_joins_early(const struct plan *plan);

/* Joins all of join_fds but pid, the user namespace last. In the intermediate or in
 * the child. */
int child_join(const struct plan *plan, struct error *err);

/*
 * To be called by the stage between cgroup_create() and the clone: notes the container's cgroup
 * directories for a mount of type cgroup (or, on v2 without a cgroup or user namespace, the host's
 * tree). Without such a mount it does nothing. cg's texts are
 * borrowed by the plan.
 */
void plan_set_cgroup(struct plan *plan, const struct cgroup *cg);

/* True if the container is to own its cgroup: it has a cgroup and a user namespace of its own and
 * may write to a mount of type cgroup. *ret: the host's id of the process's user. */
bool plan_owns_cgroup(const struct plan *plan, uid_t *ret);

/*
 * The stage's part of child_prepare(): detached clones of what mounts[first] and those right behind
 * it bind, or of the hierarchies of a cgroup mount. They are made when the child comes to them and
 * not before, since the kernel lists mounts by their age (Linux 6.8). They are the caller's to
 * close; on failure there are none. `first` is below plan_count_mounts().
 */
size_t plan_count_mounts(const struct plan *plan);
size_t plan_count_trees(const struct plan *plan, size_t first); /* at most FD_PASS_MAX */
int plan_clone_trees(const struct plan *plan, size_t first, int *fds, struct error *err);

/* True if the child may ask for trees still: those of mounts[from] and behind. */
bool plan_may_want_trees(const struct plan *plan, size_t from);

/* The index behind those that plan_count_trees(first) counts. */
size_t plan_end_of_trees(const struct plan *plan, size_t first);

/* True if nothing new is mounted between those and the next: then the stage goes on with the next
 * without being asked. */
bool plan_trees_follow(const struct plan *plan, size_t first);

/* The stage's part: writes uid_map and gid_map of a child that waits. */
int plan_write_id_maps(const struct plan *plan, pid_t child, struct error *err);

/*
 * For a child in a user namespace, whose maps are written: hands the FIFOs among its stdio (three
 * descriptors) to the process's user, which the child itself cannot do, since their owner has no id
 * there. Without it /dev/stdout could not be opened again.
 */
int plan_own_stdio(const struct plan *plan, pid_t child, const int *stdio, struct error *err);

/* Applies process.rlimits to a child (0: to the caller) that has been set up; in a user namespace
 * from the stage, which holds the host's capabilities. */
int plan_apply_rlimits(const struct plan *plan, pid_t child, struct error *err);

/* Applies process.oomScoreAdj to a child, from the stage: the child is not dumpable. A score that
 * the host's own lack of CAP_SYS_RESOURCE forbids stays as it is. */
int plan_apply_oom_score(const struct plan *plan, pid_t child, struct error *err);

/* Likewise process.scheduler and process.ioPriority; the child is in its cgroup. */
bool plan_has_scheduling(const struct plan *plan);
int plan_apply_scheduling(const struct plan *plan, pid_t child, struct error *err);

/* In the stage of an exec, for its child to inherit: process.execCPUAffinity.initial. */
int plan_set_initial_cpus(const struct plan *plan, struct error *err);

/*
 * Around the clone of init, with linux.timeOffsets: a time namespace for children of the caller,
 * whose clocks can be set only before anybody is in it (clone_flags lacks CLONE_NEWTIME then). *ret
 * takes the caller back, by setns(2); -1: there was nothing to do.
 */
int plan_make_time_namespace(const struct plan *plan, int *ret, struct error *err);

/* ---- in the child; each returns 0 or -1 with err, which must not be NULL here ---- */

/* Right after the join of the cgroup: process.execCPUAffinity.final, or else all that the cgroup's
 * cpuset has. */
int child_set_cpus(const struct plan *plan, bool is_exec, struct error *err);

/* Gets n = plan_count_trees(first) of them, from the stage, which has to be asked for them unless
 * they follow. */
typedef int (*child_trees_fn)(size_t first, bool follow, int *fds, size_t n, void *userdata,
                              struct error *err);
int child_prepare(const struct plan *plan, child_trees_fn trees, void *userdata, struct error *err);

/* *ret_terminal: the pty's master when plan->options.terminal, to be sent to the shim; the slave is
 * then 0-2 and the controlling terminal. Calls hook for each createContainer hook (still before the
 * pivot). */
typedef int (*child_hooks_fn)(const struct oci_hook_list *hooks, void *userdata, struct error *err);
int child_enter(const struct plan *plan, child_hooks_fn hooks, void *userdata, int *ret_terminal,
                struct error *err);
int child_enter_exec(const struct plan *plan, int *ret_terminal, struct error *err);

/*
 * keep_fd: the one descriptor above 2 that stays (the gate, CLOEXEC); all others are closed.
 * Includes the lookup of args[0] in the container's PATH: a missing binary is reported here, at
 * Create, with texts that clients look for: exec: "x": executable file not found in $PATH / stat
 * /x: no such file or directory / permission denied. Without noNewPrivileges, or with a listener,
 * the seccomp filter is loaded here. on_listener is called right afterwards with its descriptor,
 * which must be handed over by write(2) and nothing else, before it returns; NULL: a plan with one
 * is an error.
 */
typedef int (*child_listener_fn)(int listener, void *userdata, struct error *err);
int child_drop(const struct plan *plan, int keep_fd, child_listener_fn on_listener, void *userdata,
               struct error *err);

/* Returns only on failure. before_exec runs as the very last thing but seccomp and execve. */
int child_exec(const struct plan *plan, child_hooks_fn hooks, void *userdata,
               void (*before_exec)(void *userdata), struct error *err);
