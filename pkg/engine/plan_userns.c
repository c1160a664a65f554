/* SPDX-License-Identifier: Apache-2.0
 *
 * What the stage does to a child from outside, with the host's capabilities: the id maps of a new
 * user namespace, its stdio, resource limits and the OOM score. The child cannot do these itself:
 * raising a limit needs CAP_SYS_RESOURCE in the first user namespace, and a process that is not
 * dumpable cannot write its own oom_score_adj.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/engine/plan_private.h"

int plan_write_id_maps(const struct plan *plan, pid_t child, struct error *err)
{
        struct idmap map;

        if (!plan_has_new_userns(plan))
                return 0;
        map = plan_own_idmap(plan);
        return idmap_write(child, &map, err);
}

struct idmap plan_own_idmap(const struct plan *plan)
{
        const struct oci_linux *l = &plan->spec->linux_;

        return (struct idmap){
                .uids = l->uid_mappings,
                .n_uids = l->n_uid_mappings,
                .gids = l->gid_mappings,
                .n_gids = l->n_gid_mappings,
        };
}

/* Cuts the next number off a line of them. */
static int next_number(char **line, uint64_t *ret)
{
        char *number = *line + strspn(*line, " ");
        size_t len = strcspn(number, " ");

        *line = number + len + (number[len] == ' ');
        number[len] = '\0';
        return str_to_u64(number, ret);
}

/* The id of the host for one of a process's user namespace (user_namespaces(7): a line is the first
 * id inside, the first outside, and how many). 0, or -ENOENT if there is none. */
static int map_id(pid_t child, const char *file, uint32_t id, uint32_t *ret)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        char *save = NULL;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)child, file);
        r = file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, NULL);
        if (r < 0)
                return r;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                uint64_t inside = 0;
                uint64_t outside = 0;
                uint64_t n = 0;

                if (next_number(&line, &inside) < 0 || next_number(&line, &outside) < 0 ||
                    next_number(&line, &n) < 0)
                        return -EINVAL;
                if (id >= inside && id - inside < n) {
                        *ret = (uint32_t)(outside + (id - inside));
                        return 0;
                }
        }
        return -ENOENT;
}

int plan_own_stdio(const struct plan *plan, pid_t child, const int *stdio, struct error *err)
{
        const struct oci_user *user = &plan->process->user;
        uint32_t uid = 0;
        uint32_t gid = 0;
        int r;

        if (plan->options.terminal)
                return 0; /* it is of the container's own devpts */
        r = map_id(child, "uid_map", user->uid, &uid);
        if (r == 0)
                r = map_id(child, "gid_map", user->gid, &gid);
        if (r == -ENOENT)
                return 0; /* the change of ids will say so */
        if (r < 0)
                return error_errno(err, -r, "read the id maps of the user namespace");
        for (int i = 0; i < 3; i++) {
                struct stat st;

                if (fstat(stdio[i], &st) < 0 || !S_ISFIFO(st.st_mode))
                        continue;
                if (fchown(stdio[i], uid, gid) < 0 && errno != EPERM && errno != EROFS)
                        return error_errno(err, errno, "change the owner of descriptor %d", i);
        }
        return 0;
}

/*
 * Lowering the score below the inherited one needs CAP_SYS_RESOURCE. A host whose runtime lacks it
 * (a nested one) would otherwise not be able to run any Kubernetes pod, whose pause container asks
 * for -998: the score is advice to the OOM killer, so there it stays as it is.
 */
static int set_oom_score(pid_t child, int score, struct error *err)
{
        char path[64];
        char text[16];
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)child);
        (void)snprintf(text, sizeof(text), "%d", score);
        r = file_write(AT_FDCWD, path, text);
        if (r == -EACCES || r == -EPERM)
                return 0;
        if (r < 0)
                return error_errno(err, -r, "process.oomScoreAdj: write %d", score);
        return 0;
}

int plan_apply_rlimits(const struct plan *plan, pid_t child, struct error *err)
{
        const struct oci_process *process = plan->process;

        for (size_t i = 0; i < process->n_rlimits; i++) {
                const struct oci_rlimit *r = &process->rlimits[i];
                const struct rlimit limit = {.rlim_cur = r->soft, .rlim_max = r->hard};

                /* RLIM_INFINITY is UINT64_MAX on every 64-bit Linux. */
                if (prlimit(child, (__rlimit_resource_t)r->resource, &limit, NULL) < 0)
                        return error_errno(err, errno, "process.rlimits[%zu]: set %s", i,
                                           r->name ? r->name : "a limit");
        }
        return 0;
}

int plan_apply_oom_score(const struct plan *plan, pid_t child, struct error *err)
{
        const struct oci_process *process = plan->process;

        return process->has_oom_score_adj ? set_oom_score(child, process->oom_score_adj, err) : 0;
}
