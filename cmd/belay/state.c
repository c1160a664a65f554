/* SPDX-License-Identifier: Apache-2.0
 *
 * belay state.
 */
#include "pkg/base/cleanup.h"

#include "cmd/belay/container.h"
#include "cmd/belay/out.h"
#include "cmd/belay/verbs.h"

int verb_state(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        struct error lost = ERROR_INIT;
        struct view view;

        if (container_open(&c, args, &lost, err) < 0 || container_view(&c, args, &view, err) < 0)
                return -1;
        out_state(&view, args->json);
        view_deinit(&view);
        *ret_status = 0;
        return 0;
}
