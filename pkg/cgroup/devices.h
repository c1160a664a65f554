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

/* How many rules every container has at the end of its list. */
enum { DEVICES_DEFAULT_RULES = 10 };
bool device_rule_is_default(const struct oci_device_rule *rule);

/* One rule as devices.allow and devices.deny take it ("c 1:3 rwm"); type is 'b' or 'c', or 'a' for
 * the rule that stands for everything. */
enum { DEVICE_RULE_TEXT_MAX = 64 };
void device_rule_format(const struct oci_device_rule *rule, char type,
                        char text[DEVICE_RULE_TEXT_MAX]);
bool device_rule_is_everything(const struct oci_device_rule *rule);

/* True if `whole` speaks of all devices that `part` does. */
bool device_rule_covers(const struct oci_device_rule *whole, const struct oci_device_rule *part);

/*
 * The same rules as a program of BPF_PROG_TYPE_CGROUP_DEVICE, which returns 1 to allow. Pure. insns
 * has room for DEVICE_BPF_INSNS_MAX(n) instructions.
 */
#define DEVICE_BPF_INSNS_MAX(n_rules) (8 + 7 * (n_rules))
size_t devices_bpf_generate(const struct oci_device_rule *rules, size_t n, struct bpf_insn *insns);

/* Loads it and attaches it to a v2 directory, in one step in the place of the program that an
 * earlier call has attached. */
int devices_bpf_attach(const char *path, const struct oci_device_rule *rules, size_t n,
                       struct error *err);

/* Refuses what v1 cannot express: a rule about a part of what the opposite was said of before.
 * rules as devices_rules() makes them. Pure. */
int devices_v1_check(const struct oci_device_rule *rules, size_t n, struct error *err);

/* The same on v1, from nothing, and for a container that runs. */
int devices_v1_write(const struct cgroup_dir *dir, const struct oci_device_rule *rules, size_t n,
                     struct error *err);
int devices_v1_update(const struct cgroup_dir *dir, const struct oci_device_rule *rules, size_t n,
                      struct error *err);

/* What v1 allows, as devices.list shows it: everything, or these. */
struct device_set {
        bool allows_all;
        bool has_exceptions; /* to allows_all, which a list does not show */
        struct oci_device_rule *items;
        size_t n;
        size_t room;
};

void device_set_free(struct device_set *set);

/* Both add to a set that may be zeroed: 0, -ENOMEM or, for a text that the kernel would not write,
 * -EINVAL. Pure. */
int device_set_from_rules(const struct oci_device_rule *rules, size_t n, struct device_set *set);
int device_set_parse(const char *text, struct device_set *set);

/* True on v1 if all devices are allowed: to a list and from one there is a moment in which none is.
 */
bool devices_are_all_allowed_v1(const struct cgroup *cg);

/* devices_rules() put into force for the cgroup of a new container, or of one that runs: then the
 * old rules hold until the new ones do, as far as the kernel lets us, and after a failure, too. */
int devices_write(const struct cgroup *cg, const struct oci_device_rule *user, size_t n_user,
                  struct error *err);
int devices_update(const struct cgroup *cg, const struct oci_device_rule *user, size_t n_user,
                   struct error *err);
