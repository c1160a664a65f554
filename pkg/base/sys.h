/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls for which glibc 2.36 has no wrapper. They behave as wrappers do: -1 and errno. All
 * that glibc has (pidfd_open, pidfd_send_signal, open_tree, move_mount, fsopen, mount_setattr,
 * close_range) is called directly.
 */
#pragma once

#include <linux/openat2.h>
#include <linux/sched.h>
#include <stdint.h>
#include <sys/types.h>

/* clone3(2), Linux 5.3. Only for CLONE_VM-less clones: it returns twice, as fork does. */
pid_t sys_clone3(struct clone_args *args);

/* openat2(2), Linux 5.6; resolve: RESOLVE_* bits. O_CLOEXEC is added. EAGAIN is retried some times.
 */
int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

union bpf_attr;

/* bpf(2); cmd: BPF_*. */
int sys_bpf(int cmd, union bpf_attr *attr, unsigned size);
