/* SPDX-License-Identifier: Apache-2.0
 *
 * belay wait: also after the end, and also when the shim is gone but has left its record.
 */
#include "pkg/base/cleanup.h"

#include "cmd/belay/container.h"
#include "cmd/belay/out.h"
#include "cmd/belay/verbs.h"

int verb_wait(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        struct error lost = ERROR_INIT;
        struct task_state state = {0};
        struct view view;

        if (container_open(&c, args, &lost, err) < 0)
                return -1;
        if (c.task) {
                if (task_wait(c.task, args->id, args->exec_id, 0, &state, err) < 0)
                        return -1;
        } else {
                if (container_view(&c, args, &view, err) < 0)
                        return -1;
                state = view.state;
                view_deinit(&view);
                if (!view.exited) {
                        *err = lost;
                        return -1;
                }
        }
        out_exit(&state, args->json);
        *ret_status = (int)state.exit_status;
        return 0;
}
