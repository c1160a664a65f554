/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources (runtime-spec, config-linux.md "Control groups"), for Create and for Update.
 *
 * Invariant: a `has_` flag is set only for what is to be written. Zero in memory sizes and in CPU
 * shares, quotas and periods counts as absent, as in the stock runtime: Docker's update sends zeros
 * for all that the user did not name, and a memory limit of 0 would kill the container.
 */
#include <string.h>

#include "pkg/oci/parse.h"

/* ---- devices ---- */

static const struct json_word rule_words[] = {{"", 'a'}, {"a", 'a'}, {"b", 'b'}, {"c", 'c'}};

static int parse_access(const struct json_at *at, struct oci_device_rule *ret)
{
        char *given = NULL;
        const char *access;

        if (json_get_text(at, "access", &given) < 0)
                return -1;
        /* Nothing said: a denial denies all; a permission must say what it permits. */
        if (!given && ret->allow)
                return json_fail(at, "access", "missing");
        access = given ? given : "rwm";
        if (access[strspn(access, "rwm")] != '\0')
                return json_unknown_value(at, "access", access);
        ret->read = strchr(access, 'r') != NULL;
        ret->write = strchr(access, 'w') != NULL;
        ret->mknod = strchr(access, 'm') != NULL;
        return 0;
}

static int parse_rule(const struct json_at *at, struct oci_device_rule *ret)
{
        const struct json_word *word = &rule_words[0];

        *ret = (struct oci_device_rule){.major = -1, .minor = -1};
        if (json_get_bool(at, "allow", &ret->allow) < 0 ||
            json_get_word(at, "type", rule_words, WORD_COUNT(rule_words), &word) < 0 ||
            json_get_i64(at, "major", -1, UINT32_MAX, NULL, &ret->major) < 0 ||
            json_get_i64(at, "minor", -1, UINT32_MAX, NULL, &ret->minor) < 0)
                return -1;
        ret->type = (char)word->value;
        return parse_access(at, ret);
}

static int parse_rules(const struct json_at *resources, struct oci_resources *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(resources, "devices", &list, &n) < 0 ||
            json_alloc(resources, n, sizeof(*ret->devices), &ret->devices) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct json_at at;

                if (json_item_object(&list, i, &at) < 0 || parse_rule(&at, &ret->devices[i]) < 0)
                        return -1;
        }
        ret->n_devices = n;
        ret->has_devices = list.value != NULL;
        return 0;
}

/* ---- memory, cpu, pids ---- */

/* A number of at least -1, of which zero says nothing. */
static int get_limit(const struct json_at *at, const char *key, bool *ret_has, int64_t *ret)
{
        int64_t value = 0;

        if (json_get_i64(at, key, -1, INT64_MAX, NULL, &value) < 0)
                return -1;
        *ret_has = value != 0;
        *ret = value;
        return 0;
}

static int get_nonzero(const struct json_at *at, const char *key, bool *ret_has, uint64_t *ret)
{
        uint64_t value = 0;

        if (json_get_u64(at, key, UINT64_MAX, NULL, &value) < 0)
                return -1;
        *ret_has = value != 0;
        *ret = value;
        return 0;
}

/* -1 as an unsigned number is how callers of runc leave it open. */
static int get_swappiness(const struct json_at *at, bool *ret_has, uint64_t *ret)
{
        bool has = false;
        uint64_t value = 0;

        if (json_get_u64(at, "swappiness", UINT64_MAX, &has, &value) < 0)
                return -1;
        return has && value != UINT64_MAX ? json_get_u64(at, "swappiness", 100, ret_has, ret) : 0;
}

static int parse_memory(const struct json_at *resources, struct oci_resources *ret)
{
        struct oci_memory *m = &ret->memory;
        struct json_at at;
        int64_t ignored = 0;

        if (json_get_object(resources, "memory", &at) < 0 ||
            get_limit(&at, "limit", &m->has_limit, &m->limit) < 0 ||
            get_limit(&at, "reservation", &m->has_reservation, &m->reservation) < 0 ||
            get_limit(&at, "swap", &m->has_swap, &m->swap) < 0 ||
            get_limit(&at, "kernel", &m->has_kernel, &ignored) < 0 ||
            get_limit(&at, "kernelTCP", &m->has_kernel_tcp, &m->kernel_tcp) < 0 ||
            get_swappiness(&at, &m->has_swappiness, &m->swappiness) < 0 ||
            json_get_bool(&at, "disableOOMKiller", &m->disable_oom_killer) < 0 ||
            json_get_bool(&at, "useHierarchy", &m->use_hierarchy) < 0 ||
            json_get_bool(&at, "checkBeforeUpdate", &m->check_before_update) < 0)
                return -1;
        m->has_disable_oom_killer = json_has(&at, "disableOOMKiller");
        m->has_use_hierarchy = json_has(&at, "useHierarchy");
        ret->has_memory = at.value != NULL;
        return 0;
}

static int parse_cpu(const struct json_at *resources, struct oci_resources *ret)
{
        struct oci_cpu *c = &ret->cpu;
        struct json_at at;

        if (json_get_object(resources, "cpu", &at) < 0 ||
            get_nonzero(&at, "shares", &c->has_shares, &c->shares) < 0 ||
            json_get_i64(&at, "quota", INT64_MIN, INT64_MAX, NULL, &c->quota) < 0 ||
            get_nonzero(&at, "period", &c->has_period, &c->period) < 0 ||
            json_get_u64(&at, "burst", UINT64_MAX, &c->has_burst, &c->burst) < 0 ||
            get_limit(&at, "realtimeRuntime", &c->has_rt_runtime, &c->rt_runtime) < 0 ||
            get_nonzero(&at, "realtimePeriod", &c->has_rt_period, &c->rt_period) < 0 ||
            json_get_i64(&at, "idle", 0, 1, &c->has_idle, &c->idle) < 0 ||
            json_get_text(&at, "cpus", &c->cpus) < 0 || json_get_text(&at, "mems", &c->mems) < 0)
                return -1;
        c->has_quota = c->quota != 0;
        if (c->quota < 0)
                c->quota = -1;
        ret->has_cpu = at.value != NULL;
        return 0;
}

static int parse_pids(const struct json_at *resources, struct oci_resources *ret)
{
        struct json_at at;

        if (json_get_object(resources, "pids", &at) < 0 ||
            json_get_i64(&at, "limit", INT64_MIN, INT64_MAX, &ret->has_pids, &ret->pids_limit) < 0)
                return -1;
        if (ret->pids_limit < 0)
                ret->pids_limit = -1;
        return 0;
}

/* ---- huge pages, unified ---- */

/* "64KB", "2MB", "1GB": as in the names of the hugetlb files. */
static bool is_page_size(const char *s)
{
        size_t n_digits = strspn(s, "0123456789");

        return n_digits > 0 && n_digits <= 9 && s[0] != '0' && s[n_digits] != '\0' &&
               strchr("KMG", s[n_digits]) && strcmp(s + n_digits + 1, "B") == 0;
}

static int parse_hugepage_limits(const struct json_at *resources, struct oci_resources *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(resources, "hugepageLimits", &list, &n) < 0 ||
            json_alloc(resources, n, sizeof(*ret->hugepage_limits), &ret->hugepage_limits) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct oci_hugepage_limit *h = &ret->hugepage_limits[i];
                struct json_at at;

                if (json_item_object(&list, i, &at) < 0 || json_require(&at, "pageSize") < 0 ||
                    json_require(&at, "limit") < 0 ||
                    json_get_string(&at, "pageSize", &h->page_size) < 0 ||
                    json_get_u64(&at, "limit", UINT64_MAX, NULL, &h->limit) < 0)
                        return -1;
                if (!is_page_size(h->page_size))
                        return json_unknown_value(&at, "pageSize", h->page_size);
        }
        ret->n_hugepage_limits = n;
        return 0;
}

/* The names are those of files in the container's cgroup, and of no other. */
static int parse_unified(const struct json_at *resources, struct oci_resources *ret)
{
        struct oci_key_value *pairs = NULL;
        struct json_at at;
        size_t n = 0;

        if (json_get_object(resources, "unified", &at) < 0 ||
            json_get_string_map(resources, "unified", &pairs, &n) < 0 ||
            json_alloc(resources, n, sizeof(*ret->unified), &ret->unified) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                if (strchr(pairs[i].key, '/') || pairs[i].key[0] == '.')
                        return json_fail(&at, pairs[i].key, "not a file of a cgroup");
                ret->unified[i] = (struct oci_unified){pairs[i].key, pairs[i].value};
        }
        ret->n_unified = n;
        return 0;
}

int parse_resources(const struct json_at *at, struct oci_resources *ret)
{
        if (parse_rules(at, ret) < 0 || parse_memory(at, ret) < 0 || parse_cpu(at, ret) < 0 ||
            parse_pids(at, ret) < 0 || parse_hugepage_limits(at, ret) < 0 ||
            parse_block_io(at, &ret->block_io) < 0 || parse_network(at, &ret->network) < 0 ||
            parse_rdma(at, ret) < 0)
                return -1;
        return parse_unified(at, ret);
}
