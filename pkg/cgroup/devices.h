/* SPDX-License-Identifier: Apache-2.0
 *
 * Which devices a container may use: the rules in force, and how v1 and v2 are told.
 *
 * The meaning of a list of rules, on v2 exactly and on v1 as far as the kernel goes: for each of
 * read, write and mknod that is asked for, the last rule that speaks of it decides. On v1 a "deny"
 * only takes back what an "allow" of the same numbers gave.
 */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>

#include "pkg/base/error.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/oci/spec.h"

/* Deny all, the document's rules, what every container may do. On the heap. */
int devices_rules(const struct oci_device_rule *user, size_t n_user, struct oci_device_rule **ret,
                  size_t *ret_n, struct error *err);

/* One rule as devices.allow and devices.deny take it ("c 1:3 rwm"); type is 'b' or 'c', or 'a' for
 * the rule that stands for everything. */
enum { DEVICE_RULE_TEXT_MAX = 64 };
void device_rule_format(const struct oci_device_rule *rule, char type,
                        char text[DEVICE_RULE_TEXT_MAX]);
bool device_rule_is_everything(const struct oci_device_rule *rule);

/*
 * The same rules as a program of BPF_PROG_TYPE_CGROUP_DEVICE, which returns 1 to allow. Pure. insns
 * has room for DEVICE_BPF_INSNS_MAX(n) instructions.
 */
#define DEVICE_BPF_INSNS_MAX(n_rules) (8 + 7 * (n_rules))
size_t devices_bpf_generate(const struct oci_device_rule *rules, size_t n, struct bpf_insn *insns);

/* Loads it and attaches it to a v2 directory. */
int devices_bpf_attach(const char *path, const struct oci_device_rule *rules, size_t n,
                       struct error *err);

/* devices_rules() put into force for the cgroup. */
int devices_write(const struct cgroup *cg, const struct oci_device_rule *user, size_t n_user,
                  struct error *err);
