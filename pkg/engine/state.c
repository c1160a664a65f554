/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's state in the bundle: see state.h.
 */
#include "pkg/engine/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#define STATE_VERSION "1"

enum { STAT_FIELDS_TO_START_TIME = 19 }; /* from field 3 (state) to field 22 */

int engine_state_format(const struct engine_state *state, struct arena *arena, char **ret,
                        struct error *err)
{
        size_t cgroup_lines = 0;
        size_t room;
        char *text;
        int n;

        for (const char *s = state->cgroup; *s; s++)
                cgroup_lines += *s == '\n';
        room = 256 + strlen(state->id) + (state->bundle ? strlen(state->bundle) : 0) +
               (state->systemd_helper ? strlen(state->systemd_helper) : 0) + strlen(state->cgroup) +
               (cgroup_lines + 1) * sizeof("cgroup=\n");
        text = arena_alloc(arena, room);
        if (!text)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "engine state: no memory");
        n = snprintf(text, room,
                     "version=" STATE_VERSION "\nid=%s\npid=%d\nstart_time=%llu\nnamespaces=%llu\n"
                     "poststop_due=%d\n",
                     state->id, (int)state->pid, (unsigned long long)state->start_time,
                     (unsigned long long)state->namespaces, state->poststop_due ? 1 : 0);
        if (state->bundle)
                n += snprintf(text + n, room - (size_t)n, "bundle=%s\n", state->bundle);
        if (state->systemd_helper)
                n += snprintf(text + n, room - (size_t)n, "systemd_helper=%s\n",
                              state->systemd_helper);
        for (const char *line = state->cgroup; *line;) {
                int len = (int)strcspn(line, "\n");

                n += snprintf(text + n, room - (size_t)n, "cgroup=%.*s\n", len, line);
                line += len + (line[len] == '\n');
        }
        *ret = text;
        return 0;
}

static int parse_number(const char *key, const char *value, uint64_t max, uint64_t *ret,
                        struct error *err)
{
        uint64_t number;

        if (str_to_u64(value, &number) < 0 || number > max)
                return error_set(err, STATUS_DATA_LOSS, "engine state: %s: bad number '%s'", key,
                                 value);
        *ret = number;
        return 0;
}

static int parse_line(const char *key, const char *value, struct arena *arena,
                      struct engine_state *s, struct error *err)
{
        uint64_t number = 0;
        int r = 0;

        if (strcmp(key, "version") == 0) {
                if (strcmp(value, STATE_VERSION) != 0)
                        return error_set(err, STATUS_FAILED_PRECONDITION,
                                         "engine state: unknown version '%s'", value);
        } else if (strcmp(key, "id") == 0) {
                s->id = arena_strdup(arena, value);
        } else if (strcmp(key, "bundle") == 0) {
                s->bundle = arena_strdup(arena, value);
        } else if (strcmp(key, "systemd_helper") == 0) {
                s->systemd_helper = arena_strdup(arena, value);
        } else if (strcmp(key, "pid") == 0) {
                r = parse_number(key, value, INT32_MAX, &number, err);
                s->pid = (pid_t)number;
        } else if (strcmp(key, "start_time") == 0) {
                r = parse_number(key, value, UINT64_MAX, &s->start_time, err);
        } else if (strcmp(key, "namespaces") == 0) {
                r = parse_number(key, value, UINT64_MAX, &s->namespaces, err);
        } else if (strcmp(key, "poststop_due") == 0) {
                r = parse_number(key, value, 1, &number, err);
                s->poststop_due = number != 0;
        } else if (strcmp(key, "cgroup") == 0) {
                s->cgroup = arena_printf(arena, "%s%s\n", s->cgroup, value);
        }
        if (!s->id || !s->cgroup)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "engine state: no memory");
        return r;
}

int engine_state_parse(const char *text, struct arena *arena, struct engine_state *ret,
                       struct error *err)
{
        struct engine_state s = {.id = arena_strdup(arena, ""), .cgroup = arena_strdup(arena, "")};
        char *copy = arena_strdup(arena, text);
        char *save = NULL;

        if (!copy)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "engine state: no memory");
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *equals = strchr(line, '=');

                if (!equals)
                        return error_set(err, STATUS_DATA_LOSS, "engine state: bad line '%s'",
                                         line);
                *equals = '\0';
                if (parse_line(line, equals + 1, arena, &s, err) < 0)
                        return -1;
        }
        if (!*s.id)
                return error_set(err, STATUS_DATA_LOSS, "engine state: no id");
        *ret = s;
        return 0;
}

int engine_state_write(int bundle_fd, const struct engine_state *state, struct arena *arena,
                       struct error *err)
{
        char *text;
        int r;

        if (engine_state_format(state, arena, &text, err) < 0)
                return -1;
        r = file_write_atomic(bundle_fd, ENGINE_STATE_FILE, text, strlen(text), 0600);
        if (r < 0)
                return error_errno(err, -r, "write '%s'", ENGINE_STATE_FILE);
        return 0;
}

int engine_state_read(int bundle_fd, struct arena *arena, struct engine_state *ret,
                      struct error *err)
{
        _cleanup_free_ char *text = NULL;
        int r = file_read(bundle_fd, ENGINE_STATE_FILE, LIMIT_PROC_BYTES, &text, NULL);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_errno(err, -r, "read '%s'", ENGINE_STATE_FILE);
        return engine_state_parse(text, arena, ret, err) < 0 ? -1 : 1;
}

void engine_state_remove(int bundle_fd, pid_t writer)
{
        char temp[NAME_MAX + 1];

        (void)unlinkat(bundle_fd, ENGINE_STATE_FILE, 0);
        if (writer == 0)
                return;
        (void)snprintf(temp, sizeof(temp), FD_TEMP_FORMAT, ENGINE_STATE_FILE, (int)writer);
        (void)unlinkat(bundle_fd, temp, 0);
}

int process_start_time(pid_t pid, uint64_t *ret, bool *ret_zombie)
{
        _cleanup_free_ char *text = NULL;
        char path[32];
        char *s;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        r = file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, NULL);
        if (r < 0)
                return r;
        /* The second field is a name in parentheses, which may itself hold blanks and parentheses.
         */
        s = strrchr(text, ')');
        if (!s || s[1] != ' ' || !s[2])
                return -EINVAL;
        s += 2;
        *ret_zombie = *s == 'Z' || *s == 'X';
        for (int i = 0; i < STAT_FIELDS_TO_START_TIME; i++) {
                s = strchr(s, ' ');
                if (!s)
                        return -EINVAL;
                s++;
        }
        s[strcspn(s, " ")] = '\0';
        return str_to_u64(s, ret);
}
