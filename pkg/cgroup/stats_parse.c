/* SPDX-License-Identifier: Apache-2.0
 *
 * See stats_parse.h. Nothing here steps over a NUL, so a text that is cut anywhere is safe; what is
 * allocated is bounded by the number of lines or words of the text.
 */
#include "pkg/cgroup/stats_parse.h"

#include <stdbool.h>
#include <string.h>

#include "pkg/base/str.h"

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* A number, or "max", at *text, which is moved behind it. */
static uint64_t number_take(const char **text)
{
        const char *s = *text;
        uint64_t value = 0;

        if (*s == 'm' && str_has_prefix(s, "max")) {
                *text = s + strlen("max");
                return UINT64_MAX;
        }
        for (; is_digit(*s); s++) {
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value)) {
                        while (is_digit(*s))
                                s++;
                        value = UINT64_MAX;
                        break;
                }
        }
        *text = s;
        return value;
}

uint64_t stats_parse_number(const char *text)
{
        return number_take(&text);
}

static const char *next_line(const char *line)
{
        line = strchrnul(line, '\n');
        return *line ? line + 1 : line;
}

static size_t count_lines(const char *text)
{
        size_t n = 0;

        for (; *text; text = next_line(text))
                n++;
        return n;
}

/* The search begins at *at, which is moved behind what is found: files have their keys in order. */
static const struct stats_key *find_key(const char *line, const struct stats_key *keys,
                                        size_t n_keys, size_t *at)
{
        for (size_t i = 0; i < n_keys; i++) {
                const struct stats_key *key = &keys[*at];

                *at = *at + 1 == n_keys ? 0 : *at + 1;
                if (key->name[0] == line[0] && strncmp(line, key->name, key->length) == 0 &&
                    line[key->length] == ' ')
                        return key;
        }
        return NULL;
}

void stats_parse_keys(const char *text, const struct stats_key *keys, size_t n_keys, void *ret)
{
        size_t at = 0;

        for (const char *line = text; *line; line = next_line(line)) {
                const struct stats_key *key = find_key(line, keys, n_keys, &at);

                if (!key)
                        continue;
                line += key->length + 1;
                *(uint64_t *)((char *)ret + key->offset) = number_take(&line);
        }
}

int stats_parse_list(const char *text, struct arena *arena, uint64_t **ret, size_t *ret_n)
{
        size_t room = 0;
        size_t n = 0;
        uint64_t *items;

        for (const char *s = text; *s; s++)
                room += is_digit(*s) && !is_digit(s[1]);
        items = arena_calloc(arena, room, sizeof(*items));
        if (!items)
                return -1;
        while (n < room) {
                text += strcspn(text, "0123456789");
                items[n++] = number_take(&text);
        }
        *ret = items;
        *ret_n = n;
        return 0;
}

/* The text behind " key=" in this line, NULL if it is not there. */
static const char *find_value(const char *line, const char *key)
{
        size_t len = strlen(key);

        while (*line && *line != '\n') {
                line += strcspn(line, " \n");
                if (*line == ' ')
                        line++;
                if (strncmp(line, key, len) == 0 && line[len] == '=')
                        return line + len + 1;
        }
        return NULL;
}

static uint64_t value_number(const char *line, const char *key)
{
        const char *value = find_value(line, key);

        return value ? stats_parse_number(value) : 0;
}

static double value_decimal(const char *line, const char *key)
{
        const char *value = find_value(line, key);
        double result = 0;
        double unit = 1;

        if (!value)
                return 0;
        result = (double)number_take(&value);
        if (*value == '.')
                value++;
        for (; is_digit(*value) && unit < 1e9; value++) {
                result = result * 10 + (*value - '0');
                unit *= 10;
        }
        return result / unit;
}

void stats_parse_psi(const char *text, struct cgroup_psi *ret)
{
        for (const char *line = text; *line; line = next_line(line)) {
                bool is_some = str_has_prefix(line, "some ");
                struct cgroup_psi_line *l = is_some ? &ret->some : &ret->full;

                if (!is_some && !str_has_prefix(line, "full "))
                        continue;
                ret->is_known = true;
                *l = (struct cgroup_psi_line){
                        .avg10 = value_decimal(line, "avg10"),
                        .avg60 = value_decimal(line, "avg60"),
                        .avg300 = value_decimal(line, "avg300"),
                        .total = value_number(line, "total"),
                };
        }
}

/* "8:0 " at *text, which is moved behind it. */
static bool device_take(const char **text, uint64_t *ret_major, uint64_t *ret_minor)
{
        const char *s = *text;

        if (!is_digit(*s))
                return false;
        *ret_major = number_take(&s);
        if (*s != ':' || !is_digit(s[1]))
                return false;
        s++;
        *ret_minor = number_take(&s);
        if (*s != ' ')
                return false;
        *text = s + 1;
        return true;
}

int stats_parse_blkio(const char *text, struct arena *arena, struct cgroup_blkio_list *ret)
{
        struct cgroup_blkio_entry *items = arena_calloc(arena, count_lines(text), sizeof(*items));
        size_t n = 0;

        if (!items)
                return -1;
        for (const char *line = text; *line; line = next_line(line)) {
                struct cgroup_blkio_entry entry = {0};
                const char *s = line;
                size_t len;

                if (!device_take(&s, &entry.major, &entry.minor))
                        continue;
                len = strcspn(s, " \n");
                if (s[len] == ' ') {
                        if (len >= sizeof(entry.op))
                                continue;
                        memcpy(entry.op, s, len);
                        s += len + 1;
                }
                if (!is_digit(*s))
                        continue;
                entry.value = stats_parse_number(s);
                items[n++] = entry;
        }
        *ret = (struct cgroup_blkio_list){.items = items, .n = n};
        return 0;
}

int stats_parse_io(const char *text, struct arena *arena, struct cgroup_io_entry **ret,
                   size_t *ret_n)
{
        struct cgroup_io_entry *items = arena_calloc(arena, count_lines(text), sizeof(*items));
        size_t n = 0;

        if (!items)
                return -1;
        for (const char *line = text; *line; line = next_line(line)) {
                struct cgroup_io_entry entry = {0};
                const char *s = line;

                if (!device_take(&s, &entry.major, &entry.minor))
                        continue;
                s--;
                entry.rbytes = value_number(s, "rbytes");
                entry.wbytes = value_number(s, "wbytes");
                entry.rios = value_number(s, "rios");
                entry.wios = value_number(s, "wios");
                items[n++] = entry;
        }
        *ret = items;
        *ret_n = n;
        return 0;
}

int stats_parse_rdma(const char *text, struct arena *arena, struct cgroup_rdma_list *ret)
{
        struct cgroup_rdma_entry *items = arena_calloc(arena, count_lines(text), sizeof(*items));
        size_t n = 0;

        if (!items)
                return -1;
        for (const char *line = text; *line; line = next_line(line)) {
                size_t len = strcspn(line, " \n");

                if (len == 0 || line[len] != ' ')
                        continue;
                items[n] = (struct cgroup_rdma_entry){
                        .device = arena_memdup(arena, line, len),
                        .hca_handles = value_number(line + len, "hca_handle"),
                        .hca_objects = value_number(line + len, "hca_object"),
                };
                if (!items[n++].device)
                        return -1;
        }
        *ret = (struct cgroup_rdma_list){.items = items, .n = n};
        return 0;
}

bool stats_parse_hugetlb_name(const char *name, const char *suffix,
                              char ret[static CGROUP_PAGE_SIZE_NAME_MAX])
{
        const char *size = name + strlen("hugetlb.");
        size_t len;

        if (!str_has_prefix(name, "hugetlb."))
                return false;
        len = strcspn(size, ".");
        if (len == 0 || len >= CGROUP_PAGE_SIZE_NAME_MAX || strcmp(size + len, suffix) != 0)
                return false;
        memcpy(ret, size, len);
        ret[len] = '\0';
        return true;
}
