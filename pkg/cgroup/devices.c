/* SPDX-License-Identifier: Apache-2.0
 *
 * The device rules in force: see devices.h.
 */
#include "pkg/cgroup/devices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/internal.h"

#define ALLOW_ALL_ACCESS .allow = true, .read = true, .write = true, .mknod = true

static const struct oci_device_rule deny_everything = {
        .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true};

static const struct oci_device_rule default_rules[] = {
        /* To make a node is harmless; it is the use of it that counts. */
        {.allow = true, .type = 'c', .major = -1, .minor = -1, .mknod = true},
        {.allow = true, .type = 'b', .major = -1, .minor = -1, .mknod = true},
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 1, .minor = 3},    /* null */
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 1, .minor = 5},    /* zero */
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 1, .minor = 7},    /* full */
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 1, .minor = 8},    /* random */
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 1, .minor = 9},    /* urandom */
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 5, .minor = 0},    /* tty */
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 5, .minor = 2},    /* ptmx */
        {ALLOW_ALL_ACCESS, .type = 'c', .major = 136, .minor = -1}, /* ptys */
};

enum { N_DEFAULT_RULES = sizeof(default_rules) / sizeof(default_rules[0]) };

static_assert((int)N_DEFAULT_RULES == (int)DEVICES_DEFAULT_RULES, "see devices.h");

static int rule_check(const struct oci_device_rule *rule, size_t index, struct error *err)
{
        if (!strchr("abc", rule->type) || rule->type == '\0')
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.devices[%zu].type: unknown", index);
        if (rule->major < -1 || rule->major > INT32_MAX || rule->minor < -1 ||
            rule->minor > INT32_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.devices[%zu]: device number out of range", index);
        return 0;
}

int devices_rules(const struct oci_device_rule *user, size_t n_user, struct oci_device_rule **ret,
                  size_t *ret_n, struct error *err)
{
        _cleanup_free_ struct oci_device_rule *rules = NULL;

        if (n_user > LIMIT_DEVICE_RULES)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.devices: more than %d rules", LIMIT_DEVICE_RULES);
        rules = calloc(1 + n_user + N_DEFAULT_RULES, sizeof(*rules));
        if (!rules)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "device rules: no memory");
        rules[0] = deny_everything;
        for (size_t i = 0; i < n_user; i++) {
                if (rule_check(&user[i], i, err) < 0)
                        return -1;
                rules[1 + i] = user[i];
        }
        memcpy(rules + 1 + n_user, default_rules, sizeof(default_rules));
        *ret = TAKE_PTR(rules);
        *ret_n = 1 + n_user + N_DEFAULT_RULES;
        return 0;
}

bool device_rule_is_everything(const struct oci_device_rule *rule)
{
        return rule->type == 'a' && rule->major == -1 && rule->minor == -1 && rule->read &&
               rule->write && rule->mknod;
}

bool device_rule_is_default(const struct oci_device_rule *rule)
{
        for (size_t i = 0; i < N_DEFAULT_RULES; i++) {
                const struct oci_device_rule *one = &default_rules[i];

                if (one->type == rule->type && one->major == rule->major &&
                    one->minor == rule->minor)
                        return true;
        }
        return false;
}

static int devices_set(const struct cgroup *cg, bool is_update, const struct oci_device_rule *user,
                       size_t n_user, struct error *err)
{
        const struct cgroup_dir *v1 = cgroup_find_v1(cg, "devices");
        const struct cgroup_dir *v2 = cgroup_find_v2(cg);
        _cleanup_free_ struct oci_device_rule *rules = NULL;
        size_t n;

        if (devices_rules(user, n_user, &rules, &n, err) < 0)
                return -1;
        if (v1 && devices_v1_check(rules, n, err) < 0)
                return -1;
        if (v1)
                return is_update ? devices_v1_update(v1, rules, n, err)
                                 : devices_v1_write(v1, rules, n, err);
        if (v2)
                return devices_bpf_attach(v2->path, rules, n, err);
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "linux.resources.devices: this host has no devices controller");
}

int devices_write(const struct cgroup *cg, const struct oci_device_rule *user, size_t n_user,
                  struct error *err)
{
        return devices_set(cg, false, user, n_user, err);
}

int devices_update(const struct cgroup *cg, const struct oci_device_rule *user, size_t n_user,
                   struct error *err)
{
        return devices_set(cg, true, user, n_user, err);
}
