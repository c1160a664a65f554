/* SPDX-License-Identifier: Apache-2.0
 *
 * Device rules as an eBPF program: see devices.h.
 *
 * The program keeps in r3 the kinds of access that no rule has decided yet and goes through the
 * rules from the last to the first. A rule that matches the device either denies, if it speaks of a
 * kind that is left, or takes its kinds away; when none is left, all is allowed. What is still left
 * at the end is denied.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/sys.h"
#include "pkg/cgroup/devices.h"
#include "pkg/cgroup/internal.h"

enum {
        ACCESS_ALL = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE,
        CHECKS_MAX = 3,    /* type, major, minor */
        PROGRAMS_MAX = 64, /* the kernel's own bound for one cgroup */
};

struct program {
        struct bpf_insn *insns;
        size_t n;
};

static void emit(struct program *p, struct bpf_insn insn)
{
        p->insns[p->n++] = insn;
}

static void emit_return(struct program *p, int value)
{
        emit(p, (struct bpf_insn){
                        .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = value});
        emit(p, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT});
}

static void emit_load(struct program *p, int reg, size_t offset)
{
        emit(p, (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W,
                                  .dst_reg = (unsigned)reg & 0xf,
                                  .src_reg = BPF_REG_1,
                                  .off = (short)offset});
}

/* r2: type, r3: access, r4: major, r5: minor. */
static void emit_prologue(struct program *p)
{
        emit_load(p, BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
        emit(p, (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_X,
                                  .dst_reg = BPF_REG_3,
                                  .src_reg = BPF_REG_2});
        emit(p, (struct bpf_insn){
                        .code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = BPF_REG_2, .imm = 0xffff});
        emit(p, (struct bpf_insn){
                        .code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = BPF_REG_3, .imm = 16});
        emit_load(p, BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, major));
        emit_load(p, BPF_REG_5, offsetof(struct bpf_cgroup_dev_ctx, minor));
}

static int rule_access(const struct oci_device_rule *rule)
{
        return (rule->read ? BPF_DEVCG_ACC_READ : 0) | (rule->write ? BPF_DEVCG_ACC_WRITE : 0) |
               (rule->mknod ? BPF_DEVCG_ACC_MKNOD : 0);
}

/* "If the register is something else, on to the next rule"; the distance is filled in later. */
static void emit_check(struct program *p, int reg, int64_t value, size_t checks[CHECKS_MAX],
                       size_t *n_checks)
{
        checks[(*n_checks)++] = p->n;
        emit(p, (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K,
                                  .dst_reg = (unsigned)reg & 0xf,
                                  .imm = (int)value});
}

static void emit_rule(struct program *p, const struct oci_device_rule *rule)
{
        size_t checks[CHECKS_MAX];
        size_t n_checks = 0;
        int access = rule_access(rule);

        if (rule->type != 'a')
                emit_check(p, BPF_REG_2,
                           rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, checks,
                           &n_checks);
        if (rule->major >= 0)
                emit_check(p, BPF_REG_4, rule->major, checks, &n_checks);
        if (rule->minor >= 0)
                emit_check(p, BPF_REG_5, rule->minor, checks, &n_checks);
        if (access != ACCESS_ALL && !rule->allow) {
                emit(p, (struct bpf_insn){.code = BPF_JMP | BPF_JSET | BPF_K,
                                          .dst_reg = BPF_REG_3,
                                          .off = 1,
                                          .imm = access});
                emit(p, (struct bpf_insn){.code = BPF_JMP | BPF_JA, .off = 2});
        } else if (access != ACCESS_ALL) {
                emit(p, (struct bpf_insn){.code = BPF_ALU64 | BPF_AND | BPF_K,
                                          .dst_reg = BPF_REG_3,
                                          .imm = ACCESS_ALL & ~access});
                emit(p, (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K,
                                          .dst_reg = BPF_REG_3,
                                          .off = 2,
                                          .imm = 0});
        }
        emit_return(p, rule->allow);
        for (size_t i = 0; i < n_checks; i++)
                p->insns[checks[i]].off = (short)(p->n - checks[i] - 1);
}

size_t devices_bpf_generate(const struct oci_device_rule *rules, size_t n, struct bpf_insn *insns)
{
        struct program p = {.insns = insns};

        emit_prologue(&p);
        for (size_t i = n; i > 0; i--) {
                const struct oci_device_rule *rule = &rules[i - 1];

                if (rule_access(rule) == 0)
                        continue;
                emit_rule(&p, rule);
                /* Nothing gets past it, and the verifier wants no code that cannot be reached. */
                if (device_rule_is_everything(rule))
                        return p.n;
        }
        emit_return(&p, 0);
        assert(p.n <= DEVICE_BPF_INSNS_MAX(n));
        return p.n;
}

/* By this name the program is found again. */
static const char program_name[] = "belay_devices";

static int program_load_once(const struct bpf_insn *insns, size_t n)
{
        union bpf_attr attr;
        int fd;

        memset(&attr, 0, sizeof(attr));
        attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
        attr.insns = (uint64_t)(uintptr_t)insns;
        attr.insn_cnt = (uint32_t)n;
        attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
        (void)snprintf(attr.prog_name, sizeof(attr.prog_name), "%s", program_name);
        fd = sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
        return fd < 0 ? -errno : fd;
}

/* Before Linux 5.11 programs count against RLIMIT_MEMLOCK. It is raised for the moment only: the
 * container's processes inherit what the stage has. */
static int program_load(const struct bpf_insn *insns, size_t n)
{
        const struct rlimit unlimited = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        struct rlimit before;
        int fd = program_load_once(insns, n);

        if (fd != -EPERM || getrlimit(RLIMIT_MEMLOCK, &before) < 0 ||
            setrlimit(RLIMIT_MEMLOCK, &unlimited) < 0)
                return fd;
        fd = program_load_once(insns, n);
        (void)setrlimit(RLIMIT_MEMLOCK, &before);
        return fd;
}

static bool program_is_ours(int fd)
{
        struct bpf_prog_info info;
        union bpf_attr attr;

        memset(&info, 0, sizeof(info));
        memset(&attr, 0, sizeof(attr));
        attr.info.bpf_fd = (uint32_t)fd;
        attr.info.info_len = sizeof(info);
        attr.info.info = (uint64_t)(uintptr_t)&info;
        return sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) == 0 &&
               strcmp(info.name, program_name) == 0;
}

/* The program that an earlier call has attached to the directory; -1 if there is none. */
static int program_find(int dir)
{
        uint32_t ids[PROGRAMS_MAX] = {0};
        union bpf_attr attr;
        size_t n;

        memset(&attr, 0, sizeof(attr));
        attr.query.target_fd = (uint32_t)dir;
        attr.query.attach_type = BPF_CGROUP_DEVICE;
        attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
        attr.query.prog_cnt = PROGRAMS_MAX;
        if (sys_bpf(BPF_PROG_QUERY, &attr, sizeof(attr)) < 0)
                return -1;
        n = attr.query.prog_cnt;
        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int fd = -1;

                memset(&attr, 0, sizeof(attr));
                attr.prog_id = ids[i];
                fd = sys_bpf(BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
                if (fd >= 0 && program_is_ours(fd))
                        return TAKE_FD(fd);
        }
        return -1;
}

int devices_bpf_attach(const char *path, const struct oci_device_rule *rules, size_t n,
                       struct error *err)
{
        _cleanup_free_ struct bpf_insn *insns = calloc(DEVICE_BPF_INSNS_MAX(n), sizeof(*insns));
        _cleanup_close_ int dir = dir_open(AT_FDCWD, path);
        _cleanup_close_ int prog = -1;
        _cleanup_close_ int old = -1;
        union bpf_attr attr;

        if (!insns)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "device rules: no memory");
        if (dir < 0)
                return error_errno(err, -dir, "open cgroup '%s'", path);
        prog = program_load(insns, devices_bpf_generate(rules, n, insns));
        if (prog < 0)
                return error_errno(err, -prog, "linux.resources.devices: load BPF program");
        old = program_find(dir);
        memset(&attr, 0, sizeof(attr));
        attr.target_fd = (uint32_t)dir;
        attr.attach_bpf_fd = (uint32_t)prog;
        attr.attach_type = BPF_CGROUP_DEVICE;
        attr.attach_flags = BPF_F_ALLOW_MULTI;
        if (old >= 0) {
                attr.attach_flags |= BPF_F_REPLACE;
                attr.replace_bpf_fd = (uint32_t)old;
        }
        if (sys_bpf(BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
                return error_errno(err, errno,
                                   "linux.resources.devices: attach BPF program to "
                                   "'%s'",
                                   path);
        return 0;
}
