/* SPDX-License-Identifier: Apache-2.0
 *
 * belay kill.
 */
#include <signal.h>

#include "pkg/base/cleanup.h"

#include "cmd/belay/container.h"
#include "cmd/belay/signal_name.h"
#include "cmd/belay/verbs.h"

int verb_kill(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        int signo = SIGTERM;

        if (args->n_words > 0 && signal_parse(args->words[0], &signo, err) < 0)
                return -1;
        if (container_open(&c, args, NULL, err) < 0 ||
            task_kill(c.task, args->id, args->exec_id, signo, args->all, err) < 0)
                return -1;
        *ret_status = 0;
        return 0;
}
