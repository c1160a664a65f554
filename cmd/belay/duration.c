/* SPDX-License-Identifier: Apache-2.0
 *
 * See duration.h. Numbers are taken digit by digit, since strtod(3) takes what is no number to us.
 */
#include "cmd/belay/duration.h"

#include <stddef.h>
#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define MAX_NS    (UINT64_C(24) * 3600 * SECOND_NS)

static const struct unit {
        const char *name;
        uint64_t ns;
} units[] = {
        {"ns", 1},        {"us", 1000},          {"ms", 1000000},
        {"s", SECOND_NS}, {"m", 60 * SECOND_NS}, {"h", 3600 * SECOND_NS},
};

static const struct unit *unit_find(const char *name, size_t len)
{
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                if (strlen(units[i].name) == len && memcmp(units[i].name, name, len) == 0)
                        return &units[i];
        }
        return NULL;
}

/* "90s" or "1.5h", at *at, which is moved behind it. */
static int read_part(const char **at, uint64_t *sum)
{
        const char *p = *at;
        size_t whole = strspn(p, "0123456789");
        size_t fraction = p[whole] == '.' ? strspn(p + whole + 1, "0123456789") : 0;
        const char *name = p + whole + (p[whole] == '.' ? 1 + fraction : 0);
        size_t len = strspn(name, "nsumh");
        const struct unit *unit = len == 0 && !*name ? unit_find("s", 1) : unit_find(name, len);
        uint64_t value = 0;
        uint64_t scale;

        if (whole + fraction == 0 || whole > 15 || !unit)
                return -1;
        for (size_t i = 0; i < whole; i++)
                value = value * 10 + (uint64_t)(p[i] - '0');
        if (value > MAX_NS / unit->ns)
                return -1;
        value *= unit->ns;
        scale = unit->ns;
        for (size_t i = 0; i < fraction && scale > 0; i++) {
                scale /= 10;
                value += scale * (uint64_t)(p[whole + 1 + i] - '0');
        }
        *sum += value;
        *at = name + len;
        return *sum <= MAX_NS ? 0 : -1;
}

int duration_parse(const char *text, uint64_t *ret_ns, struct error *err)
{
        const char *at = text;
        uint64_t sum = 0;
        int r = *text ? 0 : -1;

        while (r == 0 && *at)
                r = read_part(&at, &sum);
        if (r < 0 || sum == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s' is not a duration of up to a day, as 500ms, 5s or 1m30s",
                                 text);
        *ret_ns = sum;
        return 0;
}
