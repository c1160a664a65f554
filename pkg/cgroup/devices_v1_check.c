/* SPDX-License-Identifier: Apache-2.0
 *
 * What cgroup v1 cannot express. It has one answer for everything and a list of exceptions to it.
 * An exception is taken back by naming it alone: to take back a part of one ("deny 10:229" where
 * all of 10 is allowed) does nothing, and the kernel does not say so. A container must not have
 * what its document denies, so such a list is refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/devices.h"

static bool number_covers(int64_t whole, int64_t part)
{
        return whole < 0 || whole == part;
}

bool device_rule_covers(const struct oci_device_rule *whole, const struct oci_device_rule *part)
{
        return (whole->type == 'a' || whole->type == part->type) &&
               number_covers(whole->major, part->major) && number_covers(whole->minor, part->minor);
}

static bool number_meets(int64_t a, int64_t b)
{
        return a < 0 || b < 0 || a == b;
}

/* True if there is a device, and a kind of access to it, that both speak of. */
static bool rule_meets(const struct oci_device_rule *a, const struct oci_device_rule *b)
{
        return a->type == b->type && number_meets(a->major, b->major) &&
               number_meets(a->minor, b->minor) &&
               ((a->read && b->read) || (a->write && b->write) || (a->mknod && b->mknod));
}

static void take(struct oci_device_rule *from, const struct oci_device_rule *rule)
{
        from->read = from->read && !rule->read;
        from->write = from->write && !rule->write;
        from->mknod = from->mknod && !rule->mknod;
}

static int refuse(const struct oci_device_rule *rule, size_t index, size_t n,
                  const struct oci_device_rule *exception, struct error *err)
{
        char part[DEVICE_RULE_TEXT_MAX];
        char whole[DEVICE_RULE_TEXT_MAX];
        char where[32] = "";

        device_rule_format(rule, rule->type, part);
        device_rule_format(exception, exception->type, whole);
        if (index < n - DEVICES_DEFAULT_RULES)
                (void)snprintf(where, sizeof(where), "[%zu]", index - 1);
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "linux.resources.devices%s: cgroup v1 cannot %s '%s' within '%s', which "
                         "is %s",
                         where, rule->allow ? "allow" : "deny", part, whole,
                         rule->allow ? "denied" : "allowed");
}

struct exceptions {
        struct oci_device_rule *items;
        size_t n;
        bool allows_all;
};

/* Of one type, 'b' or 'c'. The first exception of which the rule would take back a part; NULL: the
 * rule can be expressed, and is part of the exceptions now. */
static const struct oci_device_rule *add(struct exceptions *e, const struct oci_device_rule *rule)
{
        if (rule->allow != e->allows_all) {
                e->items[e->n++] = *rule;
                return NULL;
        }
        for (size_t i = 0; i < e->n; i++) {
                if (device_rule_covers(rule, &e->items[i]))
                        take(&e->items[i], rule);
                else if (rule_meets(rule, &e->items[i]))
                        return &e->items[i];
        }
        return NULL;
}

int devices_v1_check(const struct oci_device_rule *rules, size_t n, struct error *err)
{
        _cleanup_free_ struct oci_device_rule *items = calloc(2 * n, sizeof(*items));
        struct exceptions e = {.items = items, .allows_all = true};

        if (!items)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "device rules: no memory");
        for (size_t i = 0; i < n; i++) {
                const char own[] = {rules[i].type, '\0'};

                if (device_rule_is_everything(&rules[i])) {
                        e.allows_all = rules[i].allow;
                        e.n = 0;
                        continue;
                }
                for (const char *type = rules[i].type == 'a' ? "bc" : own; *type; type++) {
                        struct oci_device_rule rule = rules[i];
                        const struct oci_device_rule *exception;

                        rule.type = *type;
                        exception = add(&e, &rule);
                        if (exception)
                                return refuse(&rule, i, n, exception, err);
                }
        }
        return 0;
}
