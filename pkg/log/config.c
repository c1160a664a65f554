/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of a log:// URI: see log.h.
 */
#include <errno.h>
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/log/log.h"

static const struct {
        const char *name;
        int value;
} formats[] = {{"cri", LOG_FORMAT_CRI}, {"json", LOG_FORMAT_JSON}, {"raw", LOG_FORMAT_RAW}},
  policies[] = {
          {"block", LOG_POLICY_BLOCK}, {"drop", LOG_POLICY_DROP}, {"spill", LOG_POLICY_SPILL}};

/* Large enough for any line that is written in one piece (format.h). */
static const uint64_t max_size_min = 64 << 10;
static const uint64_t max_files_max = 1000;
static const uint64_t spill_limit = UINT64_C(1) << 30;
static const uint64_t ring_limit = 16 << 20;

void log_config_init(struct log_config *config, const char *path)
{
        *config = (struct log_config){
                .path = path,
                .format = LOG_FORMAT_CRI,
                .policy = LOG_POLICY_BLOCK,
                .max_files = 5,
                .spill_max = 8 << 20,
                .ring_size = 256 << 10,
        };
}

/* Bytes, or with k, m or g behind them the powers of 1024. */
static int parse_size(const char *text, uint64_t *ret)
{
        static const char units[] = "kmg";
        size_t n = strlen(text);
        char digits[24];
        const char *unit;
        unsigned shift = 0;
        int r;

        if (n == 0 || n >= sizeof(digits))
                return -EINVAL;
        memcpy(digits, text, n + 1);
        unit = strchr(units, digits[n - 1] | 0x20);
        if (unit) {
                shift = 10 * (unsigned)(unit - units + 1);
                digits[n - 1] = '\0';
        }
        r = str_to_u64(digits, ret);
        if (r == 0 && *ret > UINT64_MAX >> shift)
                return -ERANGE;
        *ret <<= shift;
        return r;
}

static int bad_value(const char *key, const char *value, const char *want, struct error *err)
{
        return error_set(err, STATUS_INVALID_ARGUMENT, "log parameter %s='%.64s': not %s", key,
                         value, want);
}

static int set_size(const char *key, const char *value, uint64_t max, const char *want,
                    uint64_t *ret, struct error *err)
{
        if (parse_size(value, ret) < 0 || *ret > max)
                return bad_value(key, value, want, err);
        return 0;
}

static int set_format(struct log_config *config, const char *value, struct error *err)
{
        for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
                if (strcmp(formats[i].name, value) == 0) {
                        config->format = (enum log_format)formats[i].value;
                        return 0;
                }
        }
        return bad_value("format", value, "cri, json or raw", err);
}

static int set_policy(struct log_config *config, const char *value, struct error *err)
{
        for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
                if (strcmp(policies[i].name, value) == 0) {
                        config->policy = (enum log_policy)policies[i].value;
                        return 0;
                }
        }
        return bad_value("policy", value, "block, drop or spill", err);
}

static int set_max_size(struct log_config *config, const char *value, struct error *err)
{
        static const char want[] = "0 or a size of at least 64k";

        if (set_size("max_size", value, UINT64_MAX, want, &config->max_size, err) < 0)
                return -1;
        if (config->max_size > 0 && config->max_size < max_size_min)
                return bad_value("max_size", value, want, err);
        return 0;
}

static int set_max_files(struct log_config *config, const char *value, struct error *err)
{
        if (str_to_u64(value, &config->max_files) < 0 || config->max_files < 1 ||
            config->max_files > max_files_max)
                return bad_value("max_files", value, "a number from 1 to 1000", err);
        return 0;
}

int log_config_set(struct log_config *config, const char *key, const char *value, struct error *err)
{
        if (strcmp(key, "format") == 0)
                return set_format(config, value, err);
        if (strcmp(key, "policy") == 0)
                return set_policy(config, value, err);
        if (strcmp(key, "max_size") == 0)
                return set_max_size(config, value, err);
        if (strcmp(key, "max_files") == 0)
                return set_max_files(config, value, err);
        if (strcmp(key, "spill") == 0)
                return set_size(key, value, spill_limit, "a size of at most 1g", &config->spill_max,
                                err);
        if (strcmp(key, "ring") == 0)
                return set_size(key, value, ring_limit, "a size of at most 16m", &config->ring_size,
                                err);
        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown log parameter '%.64s'", key);
}
