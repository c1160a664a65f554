/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits and annotations as properties of a systemd unit: see systemd_properties.h.
 */
#include "pkg/cgroup/systemd_properties.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/cgroup/convert.h"

enum {
        SET_BITS = 8192, /* as many CPUs as a kernel can have */
        DEFAULT_PERIOD_US = 100000,
        PERCENT_US = 10000, /* of a second: what systemd counts a quota in */
};

#define USEC_PER_SEC       UINT64_C(1000000)
#define ANNOTATION_PREFIX  "org.systemd.property."
#define ANNOTATION_ALLOWED "booleans, numbers, strings and lists of strings"

/* ---- limits ---- */

/* Negative: no limit, which is the greatest number for systemd. */
static void put_limit(FILE *f, const char *name, int64_t value)
{
        (void)fprintf(f, "t %s %" PRIu64 "\n", name, value < 0 ? UINT64_MAX : (uint64_t)value);
}

/* As runc does it: rounded up to a whole percent, so that what is below can have what it asks for.
 */
static void put_quota(FILE *f, int64_t quota, uint64_t period)
{
        uint64_t per_sec = UINT64_MAX;

        if (period != 0)
                (void)fprintf(f, "t CPUQuotaPeriodUSec %" PRIu64 "\n", period);
        if (quota == 0 && period == 0)
                return;
        if (quota > 0 && (uint64_t)quota <= UINT64_MAX / USEC_PER_SEC) {
                per_sec = (uint64_t)quota * USEC_PER_SEC / (period ? period : DEFAULT_PERIOD_US);
                per_sec = (per_sec + PERCENT_US - 1) / PERCENT_US * PERCENT_US;
        }
        (void)fprintf(f, "t CPUQuotaPerSecUSec %" PRIu64 "\n", per_sec);
}

/* One number of a list such as "0-3,7", and the end of it. */
static bool take_number(const char **p, unsigned *ret)
{
        char *end;
        unsigned long n;

        if (**p < '0' || **p > '9')
                return false;
        errno = 0;
        n = strtoul(*p, &end, 10);
        if (errno || n >= SET_BITS)
                return false;
        *ret = (unsigned)n;
        *p = end;
        return true;
}

static bool set_parse(const char *list, unsigned char bits[SET_BITS / 8], size_t *ret_len)
{
        size_t len = 0;

        for (const char *p = list; *p; p += strspn(p, ", \n")) {
                unsigned from;
                unsigned to;

                if (!take_number(&p, &from))
                        return false;
                to = from;
                if (*p == '-') {
                        p++;
                        if (!take_number(&p, &to) || to < from)
                                return false;
                }
                if (*p && !strchr(", \n", *p))
                        return false;
                for (unsigned i = from; i <= to; i++)
                        bits[i / 8] |= (unsigned char)(1U << i % 8);
                if (to / 8 + 1 > len)
                        len = to / 8 + 1;
        }
        *ret_len = len;
        return true;
}

static int put_set(FILE *f, const char *name, const char *field, const char *list,
                   struct error *err)
{
        unsigned char bits[SET_BITS / 8] = {0};
        size_t len = 0;

        if (str_is_empty(list))
                return 0;
        if (!set_parse(list, bits, &len))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.%s: '%.64s' is not a list of numbers and ranges",
                                 field, list);
        (void)fprintf(f, "ay %s ", name);
        for (size_t i = 0; i < len; i++)
                (void)fprintf(f, "%02x", bits[i]);
        (void)fputc('\n', f);
        return 0;
}

static int put_memory(FILE *f, bool is_v2, const struct oci_memory *m, struct error *err)
{
        bool has_swap;
        int64_t swap;

        if (m->has_limit && m->limit != 0)
                put_limit(f, is_v2 ? "MemoryMax" : "MemoryLimit", m->limit);
        if (!is_v2)
                return 0; /* systemd has no more of v1's */
        if (m->has_reservation && m->reservation != 0)
                put_limit(f, "MemoryLow", m->reservation);
        if (cgroup_v2_swap(m, &has_swap, &swap, err) < 0)
                return -1;
        if (has_swap)
                put_limit(f, "MemorySwapMax", swap);
        return 0;
}

static int put_cpu(FILE *f, bool is_v2, const struct oci_cpu *c, struct error *err)
{
        if (c->has_shares && c->shares != 0)
                (void)fprintf(f, "t %s %" PRIu64 "\n", is_v2 ? "CPUWeight" : "CPUShares",
                              is_v2 ? cgroup_v2_weight(c->shares) : c->shares);
        put_quota(f, c->has_quota ? c->quota : 0, c->has_period ? c->period : 0);
        if (put_set(f, "AllowedCPUs", "cpu.cpus", c->cpus, err) < 0)
                return -1;
        return put_set(f, "AllowedMemoryNodes", "cpu.mems", c->mems, err);
}

static void put_device_limit(FILE *f, const char *name, uint32_t major, uint32_t minor,
                             uint64_t value)
{
        (void)fprintf(f, "a(st) %s /dev/block/%u:%u %" PRIu64 "\n", name, major, minor, value);
}

/* On v1 the weight alone, as runc does it. runc tells nothing on v2; but systemd writes all files
 * of a controller when one of its properties changes, and what it does not know would be lost. */
static void put_block_io(FILE *f, bool is_v2, const struct oci_block_io *b)
{
        static const char *const limits[_OCI_THROTTLE_MAX] = {
                [OCI_THROTTLE_READ_BPS] = "IOReadBandwidthMax",
                [OCI_THROTTLE_WRITE_BPS] = "IOWriteBandwidthMax",
                [OCI_THROTTLE_READ_IOPS] = "IOReadIOPSMax",
                [OCI_THROTTLE_WRITE_IOPS] = "IOWriteIOPSMax",
        };

        if (b->weight != 0)
                (void)fprintf(f, "t %s %" PRIu64 "\n", is_v2 ? "IOWeight" : "BlockIOWeight",
                              is_v2 ? cgroup_v2_io_weight(b->weight) : b->weight);
        for (size_t i = 0; is_v2 && i < b->n_weight_devices; i++) {
                const struct oci_weight_device *d = &b->weight_devices[i];

                if (d->weight != 0)
                        put_device_limit(f, "IODeviceWeight", d->major, d->minor,
                                         cgroup_v2_io_weight(d->weight));
        }
        for (size_t kind = 0; is_v2 && kind < _OCI_THROTTLE_MAX; kind++) {
                for (size_t i = 0; i < b->throttle[kind].n; i++) {
                        const struct oci_throttle_device *d = &b->throttle[kind].items[i];

                        put_device_limit(f, limits[kind], d->major, d->minor,
                                         d->rate != 0 ? d->rate : UINT64_MAX);
                }
        }
}

/* Those v2 files that are properties, too. What cannot be read as one is left to the kernel. */
static void put_unified(FILE *f, const struct oci_unified *u)
{
        static const struct {
                const char *file;
                const char *name;
        } files[] = {
                {"cpu.weight", "CPUWeight"}, {"memory.high", "MemoryHigh"},
                {"memory.low", "MemoryLow"}, {"memory.max", "MemoryMax"},
                {"memory.min", "MemoryMin"}, {"memory.swap.max", "MemorySwapMax"},
                {"pids.max", "TasksMax"},
        };
        uint64_t value;

        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                if (strcmp(u->file, files[i].file) != 0)
                        continue;
                if (strcmp(u->value, "max") == 0)
                        put_limit(f, files[i].name, -1);
                else if (str_to_u64(u->value, &value) == 0)
                        (void)fprintf(f, "t %s %" PRIu64 "\n", files[i].name, value);
        }
        if (strcmp(u->file, "cpu.max") == 0) {
                char *end = NULL;
                int64_t quota = -1;
                uint64_t period = DEFAULT_PERIOD_US;

                if (!str_has_prefix(u->value, "max")) {
                        quota = strtoll(u->value, &end, 10);
                        if (end == u->value || quota <= 0)
                                return;
                } else {
                        end = u->value + 3;
                }
                if (*end == ' ' && (str_to_u64(end + 1, &period) < 0 || period == 0))
                        return;
                put_quota(f, quota, period);
        }
}

int systemd_put_resources(FILE *f, bool is_v2, const struct oci_resources *r, struct error *err)
{
        if (r->has_memory && put_memory(f, is_v2, &r->memory, err) < 0)
                return -1;
        if (r->has_cpu && put_cpu(f, is_v2, &r->cpu, err) < 0)
                return -1;
        if (r->has_pids) /* 0 is 1 for the same reason as in the file */
                put_limit(f, "TasksMax", r->pids_limit == 0 ? 1 : r->pids_limit);
        put_block_io(f, is_v2, &r->block_io);
        for (size_t i = 0; is_v2 && i < r->n_unified; i++) {
                const struct oci_unified *u = &r->unified[i];

                put_unified(f, u);
                if (strcmp(u->file, "cpuset.cpus") == 0 &&
                    put_set(f, "AllowedCPUs", "unified.cpuset.cpus", u->value, err) < 0)
                        return -1;
                if (strcmp(u->file, "cpuset.mems") == 0 &&
                    put_set(f, "AllowedMemoryNodes", "unified.cpuset.mems", u->value, err) < 0)
                        return -1;
        }
        return 0;
}

/* ---- annotations ---- */

static int annotation_refuse(const struct oci_key_value *item, const char *why, struct error *err)
{
        return error_set(err, STATUS_INVALID_ARGUMENT, "annotations.%.64s: '%.64s': %s", item->key,
                         item->value, why);
}

/* A string between quotes, without any of what would have to be unescaped; *p behind it. */
static bool take_string(const char **p, const char **ret, size_t *ret_len)
{
        char quote = **p;
        const char *from = *p + 1;
        size_t n;

        if (quote != '\'' && quote != '"')
                return false;
        for (n = 0; from[n] != quote; n++) {
                if ((unsigned char)from[n] < ' ' || from[n] == '\\' || from[n] == '\x7f')
                        return false;
        }
        *ret = from;
        *ret_len = n;
        *p = from + n + 1;
        return true;
}

static bool put_strings(FILE *f, const char *name, const char *value)
{
        const char *p = value + 1 + strspn(value + 1, " ");
        const char *text;
        size_t len;

        (void)fprintf(f, "as %s ", name);
        while (*p != ']') {
                if (!take_string(&p, &text, &len))
                        return false;
                p += strspn(p, " ");
                if (*p == ',')
                        p += 1 + strspn(p + 1, " ");
                else if (*p != ']')
                        return false;
                (void)fprintf(f, "%.*s%s", (int)len, text, *p == ']' ? "" : "\t");
        }
        (void)fputc('\n', f);
        return p[1] == '\0';
}

/* A number, with its type before it or not; what it is without one is an int32. */
static bool take_integer(const char *value, char *ret_type, int64_t *ret, uint64_t *ret_u)
{
        static const struct {
                const char *prefix;
                char type;
        } types[] = {{"uint64 ", 't'}, {"uint32 ", 'u'}, {"int64 ", 'x'}, {"int32 ", 'i'}};
        char *end;

        *ret_type = 'i';
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                if (str_has_prefix(value, types[i].prefix)) {
                        *ret_type = types[i].type;
                        value += strlen(types[i].prefix);
                        break;
                }
        }
        if (*ret_type == 't' || *ret_type == 'u')
                return str_to_u64(value, ret_u) == 0 && (*ret_type == 't' || *ret_u <= UINT32_MAX);
        errno = 0;
        *ret = strtoll(value, &end, 10);
        if (errno || end == value || *end || strspn(value, "-0123456789") != strlen(value))
                return false;
        *ret_u = *ret < 0 ? 0 : (uint64_t)*ret;
        return *ret_type == 'x' || (*ret >= INT32_MIN && *ret <= INT32_MAX);
}

/* "TimeoutStopSec" in seconds is "TimeoutStopUSec" on the bus. */
static int put_seconds(FILE *f, const char *name, const struct oci_key_value *item,
                       struct error *err)
{
        size_t len = strlen(name) - strlen("Sec");
        int64_t value = 0;
        uint64_t seconds = 0;
        char type;

        if (!take_integer(item->value, &type, &value, &seconds) || value < 0 ||
            seconds > UINT64_MAX / USEC_PER_SEC)
                return annotation_refuse(item, "is not a whole number of seconds", err);
        (void)fprintf(f, "t %.*sUSec %" PRIu64 "\n", (int)len, name, seconds * USEC_PER_SEC);
        return 0;
}

static int put_annotation(FILE *f, const struct oci_key_value *item, struct error *err)
{
        const char *name = item->key + strlen(ANNOTATION_PREFIX);
        const char *value = item->value;
        size_t len = strlen(name);
        int64_t number = 0;
        uint64_t unsigned_number = 0;
        const char *text;
        char type;

        for (size_t i = 0; i < len; i++) {
                char lower = (char)(name[i] | 0x20);

                if (lower < 'a' || lower > 'z')
                        len = 0;
        }
        if (len < 3)
                return annotation_refuse(item, "its key does not end in a property's name", err);
        if (str_has_suffix(name, "Sec") && !str_has_suffix(name, "USec"))
                return put_seconds(f, name, item, err);
        if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
                (void)fprintf(f, "b %s %d\n", name, value[0] == 't');
        } else if (take_string(&value, &text, &len)) {
                if (*value)
                        return annotation_refuse(item, "more follows behind the string", err);
                (void)fprintf(f, "s %s %.*s\n", name, (int)len, text);
        } else if (*value == '[') {
                if (!put_strings(f, name, value))
                        return annotation_refuse(item, "is not a list of strings", err);
        } else if (take_integer(value, &type, &number, &unsigned_number)) {
                if (type == 't' || type == 'u')
                        (void)fprintf(f, "%c %s %" PRIu64 "\n", type, name, unsigned_number);
                else
                        (void)fprintf(f, "%c %s %" PRId64 "\n", type, name, number);
        } else {
                return annotation_refuse(item, "only " ANNOTATION_ALLOWED " are supported", err);
        }
        return 0;
}

int systemd_put_annotations(FILE *f, const struct oci_key_value *items, size_t n, struct error *err)
{
        for (size_t i = 0; i < n; i++) {
                if (str_has_prefix(items[i].key, ANNOTATION_PREFIX) &&
                    put_annotation(f, &items[i], err) < 0)
                        return -1;
        }
        return 0;
}
