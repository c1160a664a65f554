/* SPDX-License-Identifier: Apache-2.0
 *
 * Device rules on cgroup v1, where a cgroup has a list of what is allowed, or of what is denied.
 * A rule to allow or to deny changes the entry of just its numbers.
 *
 * A list of rules is set by denying everything and going through them. For a container that runs
 * that would be a moment in which it has no device at all: an update adds what is new to the list
 * and then takes away what is too much. Only from "everything is allowed", and to that, there is
 * no such way, and the container is stopped meanwhile (resources.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/devices.h"
#include "pkg/cgroup/internal.h"

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

/* The kernel takes back what it finds by the same numbers, so what a wider rule denies is denied
 * item by item. */
static int v1_write_rule_at(int fd, const struct oci_device_rule *rules, size_t i,
                            char text[DEVICE_RULE_TEXT_MAX])
{
        const struct oci_device_rule *rule = &rules[i];
        int r = v1_write_rule(fd, rule, text);

        if (rule->allow || device_rule_is_everything(rule))
                return r;
        for (size_t k = 0; r == 0 && k < i; k++) {
                struct oci_device_rule item = rules[k];

                if (item.type == 'a')
                        item.type = rule->type;
                if (!item.allow || !device_rule_covers(rule, &item))
                        continue;
                item.read = rule->read;
                item.write = rule->write;
                item.mknod = rule->mknod;
                r = v1_write_rule(fd, &item, text);
        }
        return r;
}

int devices_v1_write(const struct cgroup_dir *dir, const struct oci_device_rule *rules, size_t n,
                     struct error *err)
{
        _cleanup_close_ int allow = v1_open(dir, "devices.allow", err);
        _cleanup_close_ int deny = allow < 0 ? -1 : v1_open(dir, "devices.deny", err);
        size_t n_fixed = n - DEVICES_DEFAULT_RULES;

        if (deny < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                char text[DEVICE_RULE_TEXT_MAX];
                int r = v1_write_rule_at(rules[i].allow ? allow : deny, rules, i, text);

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

/* ---- update ---- */

void device_set_free(struct device_set *set)
{
        free(set->items);
        *set = (struct device_set){0};
}

static struct oci_device_rule *set_find(const struct device_set *set,
                                        const struct oci_device_rule *like, char type)
{
        for (size_t i = 0; i < set->n; i++) {
                struct oci_device_rule *item = &set->items[i];

                if (item->type == type && item->major == like->major && item->minor == like->minor)
                        return item;
        }
        return NULL;
}

static int set_add(struct device_set *set, const struct oci_device_rule *rule, char type)
{
        struct oci_device_rule *item = set_find(set, rule, type);

        if (!item && set->n == set->room) {
                size_t room = set->room ? 2 * set->room : 32;
                struct oci_device_rule *bigger = reallocarray(set->items, room, sizeof(*bigger));

                if (!bigger)
                        return -ENOMEM;
                set->items = bigger;
                set->room = room;
        }
        if (!item) {
                item = &set->items[set->n++];
                *item = (struct oci_device_rule){
                        .allow = true, .type = type, .major = rule->major, .minor = rule->minor};
        }
        item->read |= rule->read;
        item->write |= rule->write;
        item->mknod |= rule->mknod;
        return 0;
}

static void set_take(struct device_set *set, const struct oci_device_rule *rule, char type)
{
        for (size_t i = 0; i < set->n; i++) {
                struct oci_device_rule *item = &set->items[i];

                if (item->type != type || !device_rule_covers(rule, item))
                        continue;
                item->read &= !rule->read;
                item->write &= !rule->write;
                item->mknod &= !rule->mknod;
        }
}

int device_set_from_rules(const struct oci_device_rule *rules, size_t n, struct device_set *set)
{
        for (size_t i = 0; i < n; i++) {
                const struct oci_device_rule *rule = &rules[i];
                const char one[] = {rule->type, '\0'};

                if (device_rule_is_everything(rule)) {
                        set->n = 0;
                        set->allows_all = rule->allow;
                        set->has_exceptions = false;
                        continue;
                }
                if (set->allows_all) {
                        set->has_exceptions |= !rule->allow;
                        continue;
                }
                for (const char *type = rule->type == 'a' ? "bc" : one; *type; type++) {
                        if (!rule->allow)
                                set_take(set, rule, *type);
                        else if (set_add(set, rule, *type) < 0)
                                return -ENOMEM;
                }
        }
        return 0;
}

/* "*" or a number, and the character behind it. */
static const char *number_parse(const char *text, char stop, int64_t *ret)
{
        char digits[16];
        size_t len = strcspn(text, " :\n");
        uint64_t value;

        if (text[len] != stop || len == 0 || len >= sizeof(digits))
                return NULL;
        (void)snprintf(digits, sizeof(digits), "%.*s", (int)len, text);
        if (str_equal(digits, "*"))
                *ret = -1;
        else if (str_to_u64(digits, &value) == 0 && value <= INT32_MAX)
                *ret = (int64_t)value;
        else
                return NULL;
        return text + len + 1;
}

int device_set_parse(const char *text, struct device_set *set)
{
        while (*text) {
                struct oci_device_rule rule = {.allow = true, .type = *text};
                const char *p = text;

                if (!strchr("abc", *p) || p[1] != ' ')
                        return -EINVAL;
                p = number_parse(p + 2, ':', &rule.major);
                p = p ? number_parse(p, ' ', &rule.minor) : NULL;
                if (!p)
                        return -EINVAL;
                for (; *p && *p != '\n'; p++) {
                        rule.read |= *p == 'r';
                        rule.write |= *p == 'w';
                        rule.mknod |= *p == 'm';
                        if (!strchr("rwm", *p))
                                return -EINVAL;
                }
                text = p + (*p == '\n');
                if (device_set_from_rules(&rule, 1, set) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int set_read(const struct cgroup_dir *dir, struct device_set *set, struct error *err)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, dir->path);
        _cleanup_free_ char *text = NULL;
        int r = fd < 0 ? fd : dir_read(fd, "devices.list", &text);

        if (r == 0)
                r = device_set_parse(text, set);
        return r < 0 ? error_errno(err, -r, "read '%s/devices.list'", dir->path) : 0;
}

bool devices_are_all_allowed_v1(const struct cgroup *cg)
{
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "devices");
        struct device_set set = {0};
        bool all = dir && set_read(dir, &set, NULL) == 0 && set.allows_all;

        device_set_free(&set);
        return all;
}

/* What `from` allows beyond `to`, with the verb for it. Nothing at all is no rule. */
static int set_write_difference(const struct device_set *from, const struct device_set *to, int fd,
                                char text[DEVICE_RULE_TEXT_MAX])
{
        for (size_t i = 0; i < from->n; i++) {
                struct oci_device_rule rule = from->items[i];
                const struct oci_device_rule *other = set_find(to, &rule, rule.type);
                int r;

                if (other) {
                        rule.read &= !other->read;
                        rule.write &= !other->write;
                        rule.mknod &= !other->mknod;
                }
                r = v1_write_rule(fd, &rule, text);
                /* As in devices_v1_write(): what all have by default may be out of reach. */
                if (r < 0 && !(r == -EPERM && device_rule_is_default(&from->items[i])))
                        return r;
        }
        return 0;
}

/* Both are lists of what is allowed. */
static int set_change(const struct cgroup_dir *dir, const struct device_set *from,
                      const struct device_set *to, struct error *err)
{
        _cleanup_close_ int allow = v1_open(dir, "devices.allow", err);
        _cleanup_close_ int deny = allow < 0 ? -1 : v1_open(dir, "devices.deny", err);
        char text[DEVICE_RULE_TEXT_MAX];
        int r;

        if (deny < 0)
                return -1;
        r = set_write_difference(to, from, allow, text);
        if (r < 0)
                return error_errno(err, -r, "linux.resources.devices: allow '%s' in '%s'", text,
                                   dir->path);
        r = set_write_difference(from, to, deny, text);
        return r < 0 ? error_errno(err, -r, "linux.resources.devices: deny '%s' in '%s'", text,
                                   dir->path)
                     : 0;
}

/* From the last rule on that allows everything: it makes void what is before it. */
static int rules_write_allowing(const struct cgroup_dir *dir, const struct oci_device_rule *rules,
                                size_t n, struct error *err)
{
        _cleanup_close_ int allow = v1_open(dir, "devices.allow", err);
        _cleanup_close_ int deny = allow < 0 ? -1 : v1_open(dir, "devices.deny", err);
        size_t first = n;

        if (deny < 0)
                return -1;
        while (first > 0 && !device_rule_is_everything(&rules[first - 1]))
                first--;
        for (size_t i = first > 0 ? first - 1 : 0; i < n; i++) {
                char text[DEVICE_RULE_TEXT_MAX];
                int r = v1_write_rule(rules[i].allow ? allow : deny, &rules[i], text);

                if (r < 0)
                        return error_errno(err, -r, "linux.resources.devices: %s '%s' in '%s'",
                                           rules[i].allow ? "allow" : "deny", text, dir->path);
        }
        return 0;
}

/* After a failure: from whatever is there now back to what was. */
static void set_restore(const struct cgroup_dir *dir, const struct device_set *before,
                        struct error *err)
{
        static const struct oci_device_rule all = {.allow = true,
                                                   .type = 'a',
                                                   .major = -1,
                                                   .minor = -1,
                                                   .read = true,
                                                   .write = true,
                                                   .mknod = true};
        struct device_set now = {0};
        struct error why = ERROR_INIT;
        int r;

        if (before->allows_all) {
                _cleanup_close_ int fd = v1_open(dir, "devices.allow", &why);
                char text[DEVICE_RULE_TEXT_MAX];

                r = fd < 0 ? -1 : v1_write_rule(fd, &all, text);
        } else {
                r = set_read(dir, &now, &why);
                if (r == 0)
                        r = set_change(dir, &now, before, &why);
        }
        device_set_free(&now);
        if (r < 0 && err) {
                struct error failed = *err;

                (void)error_set(err, failed.code,
                                "%s; and the rules before could not be set back: %s", failed.msg,
                                why.msg);
                err->errnum = failed.errnum;
        }
}

int devices_v1_update(const struct cgroup_dir *dir, const struct oci_device_rule *rules, size_t n,
                      struct error *err)
{
        struct device_set before = {0};
        struct device_set after = {0};
        int r = set_read(dir, &before, err);

        if (r == 0 && device_set_from_rules(rules, n, &after) < 0)
                r = error_set(err, STATUS_RESOURCE_EXHAUSTED, "device rules: no memory");
        if (r == 0) {
                if (after.allows_all)
                        r = rules_write_allowing(dir, rules, n, err);
                else if (before.allows_all)
                        r = devices_v1_write(dir, rules, n, err);
                else
                        r = set_change(dir, &before, &after, err);
                if (r < 0)
                        set_restore(dir, &before, err);
        }
        device_set_free(&before);
        device_set_free(&after);
        return r;
}
