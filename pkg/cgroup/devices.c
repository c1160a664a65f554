/* SPDX-License-Identifier: Apache-2.0
 *
 * The device rules in force, and the v1 way to set them: see devices.h.
 */
#include "pkg/cgroup/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
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

static void number_format(int64_t number, char text[24])
{
        if (number < 0)
                (void)snprintf(text, 24, "*");
        else
                (void)snprintf(text, 24, "%lld", (long long)number);
}

void device_rule_format(const struct oci_device_rule *rule, char type,
                        char text[DEVICE_RULE_TEXT_MAX])
{
        char major[24];
        char minor[24];

        number_format(rule->major, major);
        number_format(rule->minor, minor);
        (void)snprintf(text, DEVICE_RULE_TEXT_MAX, "%c %s:%s %s%s%s", type, major, minor,
                       rule->read ? "r" : "", rule->write ? "w" : "", rule->mknod ? "m" : "");
}

/* The kernel takes 'a' for everything, whatever else stands there: such a rule with numbers or
 * less than all access is written as one for 'b' and one for 'c'. */
static int v1_write_rule(int fd, const struct oci_device_rule *rule,
                         char text[DEVICE_RULE_TEXT_MAX])
{
        const char one[] = {rule->type, '\0'};
        const char *types = one;

        if (!rule->read && !rule->write && !rule->mknod)
                return 0;
        if (rule->type == 'a' && !device_rule_is_everything(rule))
                types = "bc";
        for (; *types; types++) {
                int r;

                device_rule_format(rule, *types, text);
                r = fd_write_all(fd, text, strlen(text));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int v1_open(const struct cgroup_dir *dir, const char *file, struct error *err)
{
        char path[PATH_MAX];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", dir->path, file);
        fd = open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? error_errno(err, errno, "open '%s'", path) : fd;
}

static int v1_write(const struct cgroup_dir *dir, const struct oci_device_rule *rules, size_t n,
                    struct error *err)
{
        _cleanup_close_ int allow = v1_open(dir, "devices.allow", err);
        _cleanup_close_ int deny = allow < 0 ? -1 : v1_open(dir, "devices.deny", err);
        size_t n_fixed = n - N_DEFAULT_RULES;

        if (deny < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                char text[DEVICE_RULE_TEXT_MAX];
                int r = v1_write_rule(rules[i].allow ? allow : deny, &rules[i], text);

                /* A cgroup above that allows less keeps us from giving more: not asked for. */
                if (r == 0 || (r == -EPERM && i >= n_fixed))
                        continue;
                if (i == 0 || i >= n_fixed)
                        return error_errno(err, -r, "default device rules: write '%s' to '%s'",
                                           text, dir->path);
                return error_errno(err, -r, "linux.resources.devices[%zu]: %s '%s' in '%s'", i - 1,
                                   rules[i].allow ? "allow" : "deny", text, dir->path);
        }
        return 0;
}

int devices_write(const struct cgroup *cg, const struct oci_device_rule *user, size_t n_user,
                  struct error *err)
{
        const struct cgroup_dir *v1 = cgroup_find_v1(cg, "devices");
        const struct cgroup_dir *v2 = cgroup_find_v2(cg);
        _cleanup_free_ struct oci_device_rule *rules = NULL;
        size_t n;

        if (devices_rules(user, n_user, &rules, &n, err) < 0)
                return -1;
        if (v1)
                return v1_write(v1, rules, n, err);
        if (v2)
                return devices_bpf_attach(v2->path, rules, n, err);
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "linux.resources.devices: this host has no devices controller");
}
