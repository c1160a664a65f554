/* SPDX-License-Identifier: Apache-2.0
 *
 * belay list: every container below --root, asked one after the other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/out.h"
#include "cmd/belay/store.h"
#include "cmd/belay/verbs.h"

/* A container that cannot be asked still has its line. The texts are on the heap. */
static void row_fill(const struct args *args, const char *id, struct out_row *row)
{
        _cleanup_(container_close) struct container c = {0};
        struct args one = *args;
        struct error err = ERROR_INIT;
        struct view view;

        one.id = id;
        one.exec_id = "";
        row->id = id;
        row->status = "lost";
        if (container_open(&c, &one, &err, &err) < 0)
                return;
        row->bundle = strdup(c.bundle);
        (void)store_created_at(c.bundle, &row->created_at);
        if (c.task)
                row->status = "unknown"; /* a shim that does not answer is there all the same */
        if (container_view(&c, &one, &view, &err) < 0)
                return;
        row->status = view.status;
        row->pid = view.exited ? 0 : view.state.pid;
        row->exited = view.exited;
        row->exit_status = view.state.exit_status;
        view_deinit(&view);
}

int verb_list_check(const struct args *args, struct error *err)
{
        if (args->bundle || args->address)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "list shows what lies below --root; use belay state");
        return format_check(args, err);
}

int verb_list(const struct args *args, int *ret_status, struct error *err)
{
        struct out_row *rows;
        char **ids = NULL;
        size_t n = 0;

        if (store_list(args->root, &ids, &n, err) < 0)
                return -1;
        rows = calloc(n + 1, sizeof(*rows));
        if (!rows) {
                store_list_free(ids, n);
                return error_errno(err, ENOMEM, "list containers");
        }
        for (size_t i = 0; i < n; i++)
                row_fill(args, ids[i], &rows[i]);
        for (size_t i = 0; args->quiet && i < n; i++)
                puts(ids[i]);
        if (!args->quiet)
                out_list(rows, n, args->json || (args->format && str_equal(args->format, "json")));
        for (size_t i = 0; i < n; i++)
                free((char *)rows[i].bundle);
        free(rows);
        store_list_free(ids, n);
        *ret_status = 0;
        return 0;
}
