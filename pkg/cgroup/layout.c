/* SPDX-License-Identifier: Apache-2.0
 *
 * Which cgroup hierarchies the host has, from mountinfo (proc_pid_mountinfo(5)).
 *
 * A mount that lies beneath another one is listed, too, but its path leads elsewhere. So each mount
 * of a hierarchy is checked against those that cover it: mounts on its own mountpoint or on one
 * above it, made on top of the mount itself or of one of its parents. All of that works on the
 * text's own escaped form; only what is handed out is unescaped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/cgroup.h"

#define DEFAULT_MOUNT "/sys/fs/cgroup"

enum {
        FIELDS_MAX = 32,        /* of one line; real lines have 10 to 14 */
        CHAIN_MAX = 4096,       /* parents of a mount: stops at a loop in a forged text */
        CANDIDATES_MAX = 64,    /* mounts of cgroup hierarchies, hidden ones included */
        CONTROLLERS_TEXT = 256, /* all of them in one hierarchy are below 100 */
};

/* A piece of the text. */
struct span {
        const char *start;
        size_t len;
};

struct mount_entry {
        uint64_t id;
        uint64_t parent;
        struct span mountpoint;
};

struct candidate {
        size_t index; /* of its mount_entry */
        struct span root;
        struct span super_options;
        bool is_v2;
};

struct mount_table {
        struct mount_entry *entries;
        size_t n;
        struct candidate candidates[CANDIDATES_MAX];
        size_t n_candidates;
};

/* These controllers exist on v1; other words in the options of a mount are flags. */
static const char *const known_controllers[] = {
        "blkio",   "cpu",    "cpuacct", "cpuset",  "debug",    "devices",    "dmem", "freezer",
        "hugetlb", "memory", "misc",    "net_cls", "net_prio", "perf_event", "pids", "rdma",
};

static bool span_is(struct span s, const char *text)
{
        return strlen(text) == s.len && memcmp(s.start, text, s.len) == 0;
}

static bool span_to_u64(struct span s, uint64_t *ret)
{
        char text[24];

        if (s.len == 0 || s.len >= sizeof(text))
                return false;
        memcpy(text, s.start, s.len);
        text[s.len] = '\0';
        return str_to_u64(text, ret) == 0;
}

/* Splits one line at its blanks. */
static size_t line_split(struct span line, struct span fields[FIELDS_MAX])
{
        const char *p = line.start;
        const char *end = line.start + line.len;
        size_t n = 0;

        while (p < end && n < FIELDS_MAX) {
                const char *blank = memchr(p, ' ', (size_t)(end - p));

                if (!blank)
                        blank = end;
                fields[n++] = (struct span){.start = p, .len = (size_t)(blank - p)};
                p = blank + 1;
        }
        return n;
}

static int line_parse(struct mount_table *table, struct span line)
{
        struct span fields[FIELDS_MAX];
        size_t n = line_split(line, fields);
        struct mount_entry *entry = &table->entries[table->n];
        size_t dash = 6;

        if (n < 10 || !span_to_u64(fields[0], &entry->id) ||
            !span_to_u64(fields[1], &entry->parent))
                return -1;
        entry->mountpoint = fields[4];
        while (dash < n && !span_is(fields[dash], "-"))
                dash++;
        if (dash + 3 >= n || entry->mountpoint.len == 0 || entry->mountpoint.start[0] != '/')
                return -1;
        if ((span_is(fields[dash + 1], "cgroup") || span_is(fields[dash + 1], "cgroup2")) &&
            table->n_candidates < CANDIDATES_MAX)
                table->candidates[table->n_candidates++] = (struct candidate){
                        .index = table->n,
                        .root = fields[3],
                        .super_options = fields[dash + 3],
                        .is_v2 = span_is(fields[dash + 1], "cgroup2"),
                };
        table->n++;
        return 0;
}

static int table_parse(struct mount_table *table, const char *text, struct error *err)
{
        size_t n_lines = 1;
        size_t line_number = 0;

        for (const char *p = text; *p; p++)
                n_lines += *p == '\n';
        table->entries = calloc(n_lines, sizeof(*table->entries));
        if (!table->entries)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "parse mountinfo: no memory");
        while (*text) {
                size_t len = strcspn(text, "\n");

                line_number++;
                if (len > 0 && line_parse(table, (struct span){.start = text, .len = len}) < 0)
                        return error_set(err, STATUS_UNKNOWN,
                                         "parse mountinfo: line %zu is malformed", line_number);
                text += len + (text[len] == '\n');
        }
        return 0;
}

/* True if `path` is `above` or lies below it. */
static bool span_is_at_or_below(struct span path, struct span above)
{
        if (above.len == 1)
                return true;
        return path.len >= above.len && memcmp(path.start, above.start, above.len) == 0 &&
               (path.len == above.len || path.start[above.len] == '/');
}

static const struct mount_entry *table_find(const struct mount_table *table, uint64_t id)
{
        for (size_t i = 0; i < table->n; i++) {
                if (table->entries[i].id == id)
                        return &table->entries[i];
        }
        return NULL;
}

/* True if `id` is m or one of its parents. */
static bool chain_has(const struct mount_table *table, const struct mount_entry *m, uint64_t id)
{
        for (int i = 0; m && i < CHAIN_MAX; i++) {
                if (m->id == id)
                        return true;
                if (m->parent == m->id)
                        return false;
                m = table_find(table, m->parent);
        }
        return false;
}

static bool is_hidden(const struct mount_table *table, const struct mount_entry *m)
{
        for (size_t i = 0; i < table->n; i++) {
                const struct mount_entry *other = &table->entries[i];

                if (other != m && span_is_at_or_below(m->mountpoint, other->mountpoint) &&
                    chain_has(table, m, other->parent) && !chain_has(table, m, other->id))
                        return true;
        }
        return false;
}

/* A copy in which the escapes \040, \011, \012 and \134 are what they stand for. */
static char *span_unescape(struct span s, struct arena *arena)
{
        char *text = arena_memdup(arena, s.start, s.len);
        char *out = text;

        for (const char *p = text; p && *p; p++) {
                if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
                    p[3] >= '0' && p[3] <= '7') {
                        *out++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
                        p += 3;
                        continue;
                }
                *out++ = *p;
        }
        if (out)
                *out = '\0';
        return text;
}

static bool is_controller(struct span word)
{
        if (word.len > 5 && memcmp(word.start, "name=", 5) == 0)
                return true;
        for (size_t i = 0; i < sizeof(known_controllers) / sizeof(known_controllers[0]); i++) {
                if (span_is(word, known_controllers[i]))
                        return true;
        }
        return false;
}

/* The controllers among the options of a v1 mount, comma-separated as they stand there. */
static const char *controllers_pick(struct span options, struct arena *arena)
{
        char text[CONTROLLERS_TEXT] = "";
        size_t used = 0;

        while (options.len > 0) {
                const char *comma = memchr(options.start, ',', options.len);
                size_t len = comma ? (size_t)(comma - options.start) : options.len;
                struct span word = {.start = options.start, .len = len};

                if (is_controller(word) && used + len + 2 < sizeof(text)) {
                        if (used > 0)
                                text[used++] = ',';
                        memcpy(text + used, word.start, len);
                        used += len;
                        text[used] = '\0';
                }
                len += comma != NULL;
                options.start += len;
                options.len -= len;
        }
        return arena_strdup(arena, text);
}

static struct cgroup_hierarchy *layout_find(struct cgroup_layout *layout,
                                            const struct cgroup_hierarchy *like)
{
        for (size_t i = 0; i < layout->n_hierarchies; i++) {
                struct cgroup_hierarchy *h = &layout->hierarchies[i];

                if (h->is_v2 == like->is_v2 && str_equal(h->controllers, like->controllers))
                        return h;
        }
        return NULL;
}

/* Of several mounts of one hierarchy, one of the whole of it is the better one. */
static int layout_add(struct cgroup_layout *layout, const struct cgroup_hierarchy *hierarchy,
                      struct error *err)
{
        struct cgroup_hierarchy *known = layout_find(layout, hierarchy);

        if (known) {
                if (!str_equal(known->root, "/") && str_equal(hierarchy->root, "/"))
                        *known = *hierarchy;
                return 0;
        }
        if (layout->n_hierarchies == CGROUP_HIERARCHIES_MAX)
                return error_set(err, STATUS_UNKNOWN,
                                 "this host has more than %d cgroup hierarchies",
                                 CGROUP_HIERARCHIES_MAX);
        layout->hierarchies[layout->n_hierarchies++] = *hierarchy;
        return 0;
}

static int layout_fill(struct cgroup_layout *layout, const struct mount_table *table,
                       struct arena *arena, struct error *err)
{
        for (size_t i = 0; i < table->n_candidates; i++) {
                const struct candidate *c = &table->candidates[i];
                struct cgroup_hierarchy hierarchy = {.is_v2 = c->is_v2};

                if (is_hidden(table, &table->entries[c->index]))
                        continue;
                hierarchy.mountpoint = span_unescape(table->entries[c->index].mountpoint, arena);
                hierarchy.root = span_unescape(c->root, arena);
                hierarchy.controllers = c->is_v2 ? "" : controllers_pick(c->super_options, arena);
                if (!hierarchy.mountpoint || !hierarchy.root || !hierarchy.controllers)
                        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                         "parse mountinfo: no memory");
                if (!c->is_v2 && str_is_empty(hierarchy.controllers))
                        continue;
                if (layout_add(layout, &hierarchy, err) < 0)
                        return -1;
        }
        return 0;
}

int cgroup_layout_parse(const char *mountinfo, struct arena *arena, struct cgroup_layout *ret,
                        struct error *err)
{
        _cleanup_free_ struct mount_table *table = calloc(1, sizeof(*table));
        _cleanup_free_ struct mount_entry *entries = NULL;
        struct cgroup_layout layout = {0};
        bool has_v1 = false;
        int r;

        if (!table)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "parse mountinfo: no memory");
        r = table_parse(table, mountinfo, err);
        entries = table->entries;
        if (r < 0 || layout_fill(&layout, table, arena, err) < 0)
                return -1;
        for (size_t i = 0; i < layout.n_hierarchies; i++) {
                const struct cgroup_hierarchy *h = &layout.hierarchies[i];

                if (h->is_v2)
                        layout.is_unified |= str_equal(h->mountpoint, DEFAULT_MOUNT);
                else
                        has_v1 |= !str_has_prefix(h->controllers, "name=");
        }
        layout.is_unified &= !has_v1;
        *ret = layout;
        return 0;
}

/*
 * The whole of v2 at its usual place, as on every newer host: then mountinfo, which has a line for
 * each mount of each container of the node, need not be read. The root directory of a hierarchy has
 * the inode number 1; a part of one that is mounted there has another.
 */
static bool is_plain_v2(void)
{
        _cleanup_close_ int fd = open(DEFAULT_MOUNT, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct statfs fs;
        struct stat st;

        return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC &&
               fstat(fd, &st) == 0 && st.st_ino == 1;
}

int cgroup_layout_read(struct arena *arena, struct cgroup_layout *ret, struct error *err)
{
        _cleanup_free_ char *text = NULL;
        int r;

        if (is_plain_v2()) {
                *ret = (struct cgroup_layout){
                        .hierarchies = {{.mountpoint = DEFAULT_MOUNT,
                                         .root = "/",
                                         .controllers = "",
                                         .is_v2 = true}},
                        .n_hierarchies = 1,
                        .is_unified = true,
                };
                return 0;
        }
        r = file_read(AT_FDCWD, "/proc/self/mountinfo", LIMIT_MOUNTINFO_BYTES, &text, NULL);
        if (r < 0)
                return error_errno(err, -r, "read '/proc/self/mountinfo'");
        return cgroup_layout_parse(text, arena, ret, err);
}
