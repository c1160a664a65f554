/* SPDX-License-Identifier: Apache-2.0
 *
 * See resources.h. One row for each option: where its value goes in the document, and how it is
 * read.
 */
#include "cmd/belay/resources.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

enum kind { KIND_NONE, KIND_NUMBER, KIND_SWITCH, KIND_BYTES, KIND_TEXT, KIND_REFUSED };

struct row {
        const char *option;
        const char *object;
        const char *member;
        enum kind kind;
        int64_t min;
};

static const struct row rows[_ARG_LIMIT_MAX] = {
        [LIMIT_BLKIO_WEIGHT] = {"blkio-weight", "blockIO", "weight", KIND_NUMBER, 0},
        [LIMIT_CPU_PERIOD] = {"cpu-period", "cpu", "period", KIND_NUMBER, 0},
        [LIMIT_CPU_QUOTA] = {"cpu-quota", "cpu", "quota", KIND_NUMBER, INT64_MIN},
        [LIMIT_CPU_BURST] = {"cpu-burst", "cpu", "burst", KIND_NUMBER, 0},
        [LIMIT_CPU_SHARE] = {"cpu-share", "cpu", "shares", KIND_NUMBER, 0},
        [LIMIT_CPU_RT_PERIOD] = {"cpu-rt-period", "cpu", "realtimePeriod", KIND_NUMBER, 0},
        [LIMIT_CPU_RT_RUNTIME] = {"cpu-rt-runtime", "cpu", "realtimeRuntime", KIND_NUMBER,
                                  INT64_MIN},
        [LIMIT_CPU_IDLE] = {"cpu-idle", "cpu", "idle", KIND_SWITCH, 0},
        [LIMIT_CPUSET_CPUS] = {"cpuset-cpus", "cpu", "cpus", KIND_TEXT, 0},
        [LIMIT_CPUSET_MEMS] = {"cpuset-mems", "cpu", "mems", KIND_TEXT, 0},
        [LIMIT_MEMORY] = {"memory", "memory", "limit", KIND_BYTES, 0},
        [LIMIT_MEMORY_RESERVATION] = {"memory-reservation", "memory", "reservation", KIND_BYTES, 0},
        [LIMIT_MEMORY_SWAP] = {"memory-swap", "memory", "swap", KIND_BYTES, 0},
        [LIMIT_PIDS_LIMIT] = {"pids-limit", "pids", "limit", KIND_NUMBER, INT64_MIN},
        [LIMIT_L3_CACHE_SCHEMA] = {"l3-cache-schema", NULL, NULL, KIND_REFUSED, 0},
        [LIMIT_MEM_BW_SCHEMA] = {"mem-bw-schema", NULL, NULL, KIND_REFUSED, 0},
};

/* All of the text, or an error. */
static int parse_number(const char *text, int64_t *ret, const char **ret_rest)
{
        char *end = NULL;
        long long value;

        errno = 0;
        value = strtoll(text, &end, 10);
        if (errno != 0 || end == text)
                return -EINVAL;
        *ret = value;
        *ret_rest = end;
        return 0;
}

/* The shift of "", "b", "k", "KB", "KiB" and so on; -1: not a unit. */
static int unit_shift(const char *unit)
{
        static const char letters[] = "kmgtp";
        const char *letter;

        if (unit[0] == '\0' || strcasecmp(unit, "b") == 0)
                return 0;
        letter = strchr(letters, unit[0] | 0x20);
        if (!letter ||
            !(unit[1] == '\0' || strcasecmp(unit + 1, "b") == 0 || strcasecmp(unit + 1, "ib") == 0))
                return -1;
        return (int)(letter - letters + 1) * 10;
}

int resources_parse_bytes(const char *text, int64_t *ret, struct error *err)
{
        const char *rest = "";
        int64_t value = 0;
        int shift = 0;

        if (parse_number(text, &value, &rest) < 0 || value < -1 || (value == -1 && *rest))
                shift = -1;
        else
                shift = unit_shift(rest);
        if (shift < 0 || (value > 0 && value > INT64_MAX >> shift))
                return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not a number of bytes",
                                 text);
        *ret = value < 0 ? value : value << shift;
        return 0;
}

/* *ret stays NULL for what changes nothing. */
static int value_new(const struct row *row, const char *text, struct json_object **ret,
                     struct error *err)
{
        const char *rest = "";
        int64_t value = 0;

        if (row->kind == KIND_TEXT) {
                *ret = json_object_new_string(text);
                return 0;
        }
        if (row->kind == KIND_BYTES) {
                if (resources_parse_bytes(text, &value, err) < 0)
                        return error_prefix(err, "--%s", row->option);
        } else if (parse_number(text, &value, &rest) < 0 || *rest || value < row->min ||
                   (row->kind == KIND_SWITCH && value > 1)) {
                return error_set(err, STATUS_INVALID_ARGUMENT, "--%s: '%s' is not a number for it",
                                 row->option, text);
        }
        if (value != 0 || row->kind == KIND_SWITCH)
                *ret = json_object_new_int64(value);
        return 0;
}

static void add(struct json_object *document, const struct row *row, struct json_object *value)
{
        struct json_object *object = NULL;

        if (!json_object_object_get_ex(document, row->object, &object)) {
                object = json_object_new_object();
                json_object_object_add(document, row->object, object);
        }
        json_object_object_add(object, row->member, value);
}

static int fill(struct json_object *document, const char *const *limits, struct error *err)
{
        for (size_t i = 0; i < _ARG_LIMIT_MAX; i++) {
                struct json_object *value = NULL;

                if (!limits[i] || rows[i].kind == KIND_NONE)
                        continue;
                if (rows[i].kind == KIND_REFUSED)
                        return error_set(err, STATUS_UNIMPLEMENTED, "--%s is not supported",
                                         rows[i].option);
                if (value_new(&rows[i], limits[i], &value, err) < 0)
                        return -1;
                if (value)
                        add(document, &rows[i], value);
        }
        return 0;
}

int resources_format(const char *const limits[static _ARG_LIMIT_MAX], char **ret_json,
                     struct error *err)
{
        struct json_object *document = json_object_new_object();
        int r = fill(document, limits, err);

        if (r == 0)
                *ret_json = strdup(
                        json_object_to_json_string_ext(document, JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(document);
        if (r < 0)
                return -1;
        return *ret_json ? 0 : error_errno(err, ENOMEM, "update");
}
