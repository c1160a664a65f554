/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the process of an exec, as a client sends it: through the parser to a plan. What is
 * planned has an environment that execve(2) takes, with room for HOME, and limits and
 * identities within what the kernel knows.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/plan_private.h"

enum { ARENA_BYTES = 8 << 20, UMASK_MAX = 0777 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
        if (!condition)
                abort();
}

static void check_process(const struct oci_process *p)
{
        require(p->args.n > 0 && !p->args.items[p->args.n]);
        require(p->cwd && p->cwd[0] == '/');
        require(p->user.uid != UINT32_MAX && p->user.gid != UINT32_MAX);
        require(!p->user.has_umask || p->user.umask <= UMASK_MAX);
        for (size_t i = 0; i < p->user.n_additional_gids; i++)
                require(p->user.additional_gids[i] != UINT32_MAX);
        for (size_t i = 0; i < p->n_rlimits; i++) {
                require(p->rlimits[i].resource >= 0 && p->rlimits[i].resource < RLIM_NLIMITS);
                require(p->rlimits[i].soft <= p->rlimits[i].hard);
        }
        require(p->oom_score_adj >= -1000 && p->oom_score_adj <= 1000);
}

static void check_environment(const struct plan_private *p)
{
        size_t n = 0;

        require(p->envp && p->search_path);
        while (p->envp[n])
                n++;
        require(n == p->n_env);
        require(p->home_slot <= n);
        for (size_t i = 0; i < n; i++)
                require(p->envp[i][0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct plan_options options = {.id = "fuzz", .bundle = "/nowhere"};
        struct arena *arena = arena_new(ARENA_BYTES);
        struct oci_process *process = NULL;
        struct plan *plan = NULL;
        struct error err = ERROR_INIT;

        require(arena != NULL);
        if (oci_process_parse((const char *)data, size, arena, &process, &err) == 0) {
                check_process(process);
                if (plan_new_exec(&plan, process, NULL, NULL, &options, arena, &err) == 0) {
                        check_environment(plan->private_);
                        fd_close(plan->proc_fd);
                }
        }
        require(plan || (err.code != STATUS_OK && err.msg[0]));
        arena_free(arena);
        return 0;
}
