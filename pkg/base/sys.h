/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls for which glibc 2.36 has no wrapper. They behave as wrappers do: -1 and errno. All
 * that glibc has (pidfd_open, pidfd_send_signal, open_tree, move_mount, fsopen, mount_setattr,
 * close_range) is called directly.
 */
#pragma once

#include <linux/openat2.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* clone3(2), Linux 5.3. Only for CLONE_VM-less clones: it returns twice, as fork does. */
pid_t sys_clone3(struct clone_args *args);

/* openat2(2), Linux 5.6; resolve: RESOLVE_* bits. O_CLOEXEC is added. EAGAIN is retried some times.
 */
int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/* The kernel's struct sched_attr in its second version (Linux 5.3), under a name that no libc has.
 */
struct sys_sched_attr {
        uint32_t size;
        uint32_t policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime;
        uint64_t deadline;
        uint64_t period;
        uint32_t util_min;
        uint32_t util_max;
};

/* sched_setattr(2), Linux 3.14. */
int sys_sched_setattr(pid_t pid, const struct sys_sched_attr *attr, unsigned flags);

/* sched_setaffinity(2) on a set of any size, in bytes. */
int sys_sched_setaffinity(pid_t pid, const uint64_t *cpus, size_t size);

/* ioprio_set(2) */
int sys_ioprio_set(int which, int who, int ioprio);

/* set_mempolicy(2); n_bits: of nodes, plus one. */
int sys_set_mempolicy(int mode, const uint64_t *nodes, unsigned long n_bits);

union bpf_attr;

/* bpf(2); cmd: BPF_*. */
int sys_bpf(int cmd, union bpf_attr *attr, unsigned size);
