/* SPDX-License-Identifier: Apache-2.0
 *
 * belay kill.
 */
#include <signal.h>

#include "pkg/base/cleanup.h"

#include "cmd/belay/container.h"
#include "cmd/belay/signal_name.h"
#include "cmd/belay/verbs.h"

static int signal_of(const struct args *args, int *ret, struct error *err)
{
        *ret = SIGTERM;
        return args->n_words > 0 ? signal_parse(args->words[0], ret, err) : 0;
}

int verb_kill_check(const struct args *args, struct error *err)
{
        int signo;

        return signal_of(args, &signo, err);
}

int verb_kill(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        int signo;

        *ret_status = 0;
        if (signal_of(args, &signo, err) < 0 || container_open(&c, args, NULL, err) < 0)
                return -1;
        if (task_kill(c.task, args->id, args->exec_id, signo, args->all, err) == 0)
                return 0;
        /* Callers of runc look for these words. */
        return err->code == STATUS_NOT_FOUND && c.own ? error_prefix(err, "container not running")
                                                      : -1;
}
