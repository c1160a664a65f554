/* SPDX-License-Identifier: Apache-2.0
 *
 * belay state: the document of the runtime-spec, or a table for people.
 */
#include <stdio.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/oci_record.h"
#include "cmd/belay/out.h"
#include "cmd/belay/verbs.h"

int format_check(const struct args *args, struct error *err)
{
        if (!args->format || str_equal(args->format, "json") || str_equal(args->format, "table"))
                return 0;
        return error_set(err, STATUS_INVALID_ARGUMENT, "--format '%s' is neither json nor table",
                         args->format);
}

/* The shim knows of no container while its Create is under way. */
static int view_creating(const struct container *c, const struct args *args, struct view *ret,
                         const struct error *why, struct error *err)
{
        if (why->code != STATUS_NOT_FOUND || !c->own || !str_is_empty(args->exec_id)) {
                *err = *why;
                return -1;
        }
        *ret = (struct view){.id = args->id, .exec_id = "", .status = "creating"};
        return 0;
}

static int print_json(const struct container *c, const struct view *view, struct error *err)
{
        _cleanup_free_ char *json = NULL;

        if (oci_state_format(c->own ? c->bundle : NULL, view, &json, err) < 0)
                return -1;
        puts(json);
        return 0;
}

int verb_state(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        struct error lost = ERROR_INIT;
        struct error why = ERROR_INIT;
        struct view view;
        int r = 0;

        *ret_status = 0;
        if (container_open(&c, args, &lost, err) < 0 ||
            (container_view(&c, args, &view, &why) < 0 &&
             view_creating(&c, args, &view, &why, err) < 0))
                return -1;
        container_view_io(&c, args, &view);
        if (args->format && str_equal(args->format, "table"))
                out_state(&view);
        else
                r = print_json(&c, &view, err);
        view_deinit(&view);
        return r;
}
