/* SPDX-License-Identifier: Apache-2.0
 *
 * See runc_facts.h. The cgroup's place is read once, while init lives for certain: it waits for its
 * Start then.
 */
#include "shim/runc_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/cgroup.h"

#include "shim/log.h"

enum { CGROUP_ARENA_BUDGET = 16 << 20 };

CLEANUP_DEFINE(struct arena, arena_free)

static int read_proc(pid_t pid, const char *file, char **ret)
{
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        return file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, ret, NULL);
}

/* Init is pid 1 of a pid namespace below ours: what it joined has another one. An init that is gone
 * already counts as one that shares; then there may be something to kill. */
static bool read_private_pid(pid_t pid)
{
        _cleanup_free_ char *status = NULL;
        const char *line;
        const char *last;

        if (read_proc(pid, "status", &status) < 0)
                return false;
        line = strstr(status, "\nNSpid:\t");
        if (!line)
                return false;
        line += strlen("\nNSpid:\t");
        status[(size_t)(line - status) + strcspn(line, "\n")] = '\0';
        last = strrchr(line, '\t');
        return last && strcmp(last + 1, "1") == 0;
}

static int read_cgroup(pid_t pid, char **ret, struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = arena_new(CGROUP_ARENA_BUDGET);
        _cleanup_free_ char *theirs = NULL;
        _cleanup_free_ char *ours = NULL;
        struct cgroup_layout layout;
        struct cgroup cg;
        char *text;
        int r;

        if (!arena)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        r = read_proc(pid, "cgroup", &theirs);
        if (r == 0)
                r = file_read(AT_FDCWD, "/proc/self/cgroup", LIMIT_PROC_BYTES, &ours, NULL);
        if (r < 0)
                return error_errno(err, -r, "read /proc/%d/cgroup", (int)pid);
        if (cgroup_layout_read(arena, &layout, err) < 0 ||
            cgroup_of_process(&layout, theirs, ours, arena, &cg, err) < 0 ||
            cgroup_format(&cg, arena, &text, err) < 0)
                return -1;
        *ret = strdup(text);
        return *ret ? 0 : error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
}

static int keep_cgroup(struct runc_facts *facts, pid_t pid, struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = arena_new(CGROUP_ARENA_BUDGET);
        _cleanup_free_ char *text = NULL;

        if (!arena)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        if (read_cgroup(pid, &text, err) < 0 || cgroup_parse(text, arena, &facts->cgroup, err) < 0)
                return -1;
        facts->arena = TAKE_PTR(arena);
        return 0;
}

void runc_facts_read(struct runc_facts *facts, pid_t pid)
{
        struct error err = ERROR_INIT;

        facts->has_private_pid = read_private_pid(pid);
        if (keep_cgroup(facts, pid, &err) < 0)
                log_warning("the container's cgroup is not known: %s", err.msg);
}

int runc_facts_restore(struct runc_facts *facts, const char *text, bool has_private_pid,
                       struct error *err)
{
        _cleanup_(arena_free_p) struct arena *arena = NULL;

        facts->has_private_pid = has_private_pid;
        if (!*text)
                return 0;
        arena = arena_new(CGROUP_ARENA_BUDGET);
        if (!arena)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        if (cgroup_parse(text, arena, &facts->cgroup, err) < 0)
                return -1;
        facts->arena = TAKE_PTR(arena);
        return 0;
}

void runc_facts_deinit(struct runc_facts *facts)
{
        arena_free(facts->arena);
        *facts = (struct runc_facts){0};
}

const struct cgroup *runc_facts_cgroup(const struct runc_facts *facts)
{
        return facts->arena ? &facts->cgroup : NULL;
}

void runc_facts_thaw(const struct runc_facts *facts)
{
        struct error err = ERROR_INIT;

        if (!facts->arena)
                log_warning("thaw: the cgroup is not known");
        else if (cgroup_thaw(&facts->cgroup, 0, &err) < 0)
                log_warning("%s", err.msg);
}
