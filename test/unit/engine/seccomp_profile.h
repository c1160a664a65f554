/* SPDX-License-Identifier: Apache-2.0
 *
 * Profiles for the tests of the compiler: one in the shape of those in use, and from text to
 * filter.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/arena.h"
#include "pkg/engine/child.h"

#include "test/unit/unit.h"

enum { BUDGET = 16 << 20 };

/* A profile in the shape of those that containerd and Docker use. */
#define ARCHES "\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"],"
#define RULES                                                                                     \
        "\"syscalls\":["                                                                          \
        "{\"names\":[\"accept\",\"access\",\"brk\",\"chdir\",\"chmod\",\"close\",\"clone3\","     \
        "\"dup\",\"epoll_wait\",\"execve\",\"exit\",\"exit_group\",\"faccessat2\",\"fcntl\","     \
        "\"fstat\",\"futex\",\"getcwd\",\"getpid\",\"ioctl\",\"mmap\",\"mmap2\",\"mkdir\","       \
        "\"openat\",\"openat2\",\"poll\",\"read\",\"recv\",\"recvfrom\",\"sendto\","              \
        "\"rt_sigreturn\",\"sigreturn\",\"socketcall\",\"connect\",\"stat\",\"stat64\","          \
        "\"wait4\",\"waitid\",\"write\",\"no_such_call_exists\"],\"action\":\"SCMP_ACT_ALLOW\"}," \
        "{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":["                   \
        "{\"index\":0,\"value\":0,\"op\":\"SCMP_CMP_EQ\"},"                                       \
        "{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"},"                                       \
        "{\"index\":0,\"value\":4294967295,\"op\":\"SCMP_CMP_EQ\"}]},"                            \
        "{\"names\":[\"clone\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":["                         \
        "{\"index\":0,\"value\":2114060288,\"valueTwo\":0,\"op\":\"SCMP_CMP_MASKED_EQ\"}]},"      \
        "{\"names\":[\"socket\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":["                        \
        "{\"index\":0,\"value\":40,\"op\":\"SCMP_CMP_NE\"}]},"                                    \
        "{\"names\":[\"prctl\"],\"action\":\"SCMP_ACT_TRAP\",\"args\":["                          \
        "{\"index\":1,\"value\":18446744073709551615,\"op\":\"SCMP_CMP_LT\"},"                    \
        "{\"index\":2,\"value\":7,\"op\":\"SCMP_CMP_GT\"}]},"                                     \
        "{\"names\":[\"setns\",\"unshare\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1},"       \
        "{\"names\":[\"ptrace\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"},"                          \
        "{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_LOG\"},"                                    \
        "{\"names\":[\"swapon\"],\"action\":\"SCMP_ACT_TRACE\",\"errnoRet\":5},"                  \
        "{\"names\":[\"reboot\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38}]"

static inline int compile(struct arena *arena, const char *seccomp, struct plan_seccomp *ret,
                          struct error *err)
{
        static const char format[] =
                "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"process\":{\"cwd\":"
                "\"/\",\"args\":[\"x\"],\"user\":{\"uid\":0,\"gid\":0}},"
                "\"linux\":{\"seccomp\":%s}}";
        struct oci_spec *spec = NULL;
        char *json = NULL;
        int r;

        assert_true(asprintf(&json, format, seccomp) > 0);
        r = oci_spec_parse(json, strlen(json), arena, &spec, err);
        free(json);
        return r < 0 ? r : seccomp_compile(spec->linux_.seccomp, NULL, arena, ret, err);
}
