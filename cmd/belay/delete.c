/* SPDX-License-Identifier: Apache-2.0
 *
 * belay delete, and the way there for `run --rm` and for a run that has failed.
 */
#include <signal.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/program.h"
#include "cmd/belay/remove.h"
#include "cmd/belay/store.h"
#include "cmd/belay/verbs.h"

/* What outlives SIGKILL for so long is frozen, or waits for a disk or a server. runc gives up, too.
 */
#define KILLED_TIMEOUT_NS (UINT64_C(10) * 1000000000)

int container_remove(struct container *c, const struct args *args, struct error *err)
{
        if (c->task) {
                /* One that the shim does not know was never created: the rest still is to be done.
                 */
                struct error why = ERROR_INIT;

                if (task_delete(c->task, args->id, "", &why) < 0 && why.code != STATUS_NOT_FOUND)
                        return error_set(err, why.code, "%s%s", why.msg,
                                         why.code == STATUS_FAILED_PRECONDITION
                                                 ? ": the container is not stopped (--force kills "
                                                   "it first)"
                                                 : "");
                task_shutdown(c->task, args->id);
        }
        if (!c->own)
                return 0;
        if (program_delete(args, c->bundle, err) < 0)
                return -1;
        return store_remove(c->bundle, err);
}

void container_discard(struct task *task, const struct args *args, const char *bundle)
{
        struct error ignored = ERROR_INIT;

        if (task) {
                (void)task_kill(task, args->id, "", SIGKILL, true, &ignored);
                (void)task_delete(task, args->id, "", &ignored);
                task_shutdown(task, args->id);
        }
        (void)program_delete(args, bundle, &ignored);
        (void)store_remove(bundle, &ignored);
}

/* Kills what runs and waits for its end. That nothing runs is fine. */
static int kill_first(struct container *c, const struct args *args, struct error *err)
{
        struct error why = ERROR_INIT;
        struct task_state state;

        if (task_kill(c->task, args->id, "", SIGKILL, true, &why) < 0 &&
            why.code != STATUS_NOT_FOUND) {
                *err = why;
                return -1;
        }
        if (task_wait(c->task, args->id, "", KILLED_TIMEOUT_NS, &state, &why) == 0 ||
            why.code == STATUS_NOT_FOUND)
                return 0;
        if (why.code == STATUS_DEADLINE_EXCEEDED)
                return error_set(err, why.code,
                                 "'%s' was killed and has not ended within 10 s: is it frozen?",
                                 args->id);
        *err = why;
        return -1;
}

int verb_delete(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        struct error lost = ERROR_INIT;

        *ret_status = 0;
        if (container_open(&c, args, &lost, err) < 0)
                return args->force && err->code == STATUS_NOT_FOUND ? 0 : -1; /* as runc has it */
        if (!str_is_empty(args->exec_id)) {
                if (c.task)
                        return task_delete(c.task, args->id, args->exec_id, err);
                *err = lost;
                return -1;
        }
        /* Without its shim, the container's processes are nobody's: they end here, too, but only
         * when that is what was asked for. */
        if (!c.task && !args->force) {
                struct view view;

                if (container_view(&c, args, &view, err) < 0)
                        return -1;
                view_deinit(&view);
                if (!view.exited)
                        return error_set(err, STATUS_FAILED_PRECONDITION,
                                         "the shim of '%s' is gone; --force kills what is left",
                                         args->id);
        }
        if (c.task && args->force && kill_first(&c, args, err) < 0)
                return -1;
        return container_remove(&c, args, err);
}
