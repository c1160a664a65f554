/* SPDX-License-Identifier: Apache-2.0
 *
 * Device rules as a list of what is allowed: see systemd_properties.h. The rules are gone through
 * in their order, and what each of them gives or takes is noted in the list.
 */
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/devices.h"
#include "pkg/cgroup/systemd_properties.h"

struct allowed {
        struct oci_device_rule *items;
        size_t n;
        bool everything;
};

static void allow(struct allowed *a, const struct oci_device_rule *rule)
{
        struct oci_device_rule *item = NULL;

        for (size_t i = 0; i < a->n && !item; i++) {
                if (a->items[i].type == rule->type && a->items[i].major == rule->major &&
                    a->items[i].minor == rule->minor)
                        item = &a->items[i];
        }
        if (!item) {
                item = &a->items[a->n++];
                *item = (struct oci_device_rule){
                        .type = rule->type, .major = rule->major, .minor = rule->minor};
        }
        item->read = item->read || rule->read;
        item->write = item->write || rule->write;
        item->mknod = item->mknod || rule->mknod;
}

static void deny(struct allowed *a, const struct oci_device_rule *rule)
{
        for (size_t i = 0; i < a->n; i++) {
                struct oci_device_rule *item = &a->items[i];

                if (!device_rule_covers(rule, item))
                        continue;
                item->read = item->read && !rule->read;
                item->write = item->write && !rule->write;
                item->mknod = item->mknod && !rule->mknod;
        }
}

/* An item for one of the types 'b' and 'c'. "char-136" is the major number's (systemd 240). */
static void put_item(FILE *f, const struct oci_device_rule *item, char type)
{
        const char *class = type == 'b' ? "block" : "char";

        if (!item->read && !item->write && !item->mknod)
                return;
        if (item->major < 0)
                (void)fprintf(f, "a(ss) DeviceAllow %s-*", class);
        else if (item->minor < 0)
                (void)fprintf(f, "a(ss) DeviceAllow %s-%lld", class, (long long)item->major);
        else
                (void)fprintf(f, "a(ss) DeviceAllow /dev/%s/%lld:%lld", class,
                              (long long)item->major, (long long)item->minor);
        (void)fprintf(f, " %s%s%s\n", item->read ? "r" : "", item->write ? "w" : "",
                      item->mknod ? "m" : "");
}

int systemd_put_devices(FILE *f, const struct oci_device_rule *user, size_t n_user,
                        struct error *err)
{
        _cleanup_free_ struct oci_device_rule *rules = NULL;
        _cleanup_free_ struct oci_device_rule *items = NULL;
        struct allowed a = {0};
        size_t n;

        if (devices_rules(user, n_user, &rules, &n, err) < 0)
                return -1;
        items = calloc(n, sizeof(*items));
        if (!items)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "device rules: no memory");
        a.items = items;
        for (size_t i = 0; i < n; i++) {
                if (device_rule_is_everything(&rules[i])) {
                        a.everything = rules[i].allow;
                        a.n = 0;
                } else if (rules[i].allow) {
                        allow(&a, &rules[i]);
                } else {
                        deny(&a, &rules[i]);
                }
        }
        (void)fprintf(f, "s DevicePolicy %s\na(ss) DeviceAllow\n",
                      a.everything ? "auto" : "strict");
        for (size_t i = 0; !a.everything && i < a.n; i++) {
                if (a.items[i].type != 'c')
                        put_item(f, &a.items[i], 'b');
                if (a.items[i].type != 'b')
                        put_item(f, &a.items[i], 'c');
        }
        return 0;
}
