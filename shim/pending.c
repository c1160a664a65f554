/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls put aside: see pending.h. The request needs no copy, since it lives as long as its call.
 */
#include "shim/pending.h"

#include <stdlib.h>

#include "pkg/base/limits.h"

struct pending_call {
        struct list node;
        struct ttrpc_call *call;
        const ProtobufCMessage *request;
        ttrpc_handler handler;
        void *userdata;
};

static bool pending_is_full(const struct list *list)
{
        size_t n = 0;

        for (const struct list *node = list->next; node != list; node = node->next)
                n++;
        return n >= LIMIT_WAITING_CALLS;
}

static void on_cancel(struct ttrpc_call *call, void *userdata)
{
        struct pending_call *pending = userdata;

        (void)call;
        list_remove(&pending->node);
        free(pending);
}

void pending_add(struct list *list, struct ttrpc_call *call, const ProtobufCMessage *request,
                 ttrpc_handler handler, void *userdata)
{
        struct pending_call *pending;

        if (pending_is_full(list)) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED,
                                "%d calls wait for the same already", LIMIT_WAITING_CALLS);
                return;
        }
        pending = malloc(sizeof(*pending));
        if (!pending) {
                ttrpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
                return;
        }
        *pending = (struct pending_call){
                .call = call,
                .request = request,
                .handler = handler,
                .userdata = userdata,
        };
        list_append(list, &pending->node);
        ttrpc_call_on_cancel(call, on_cancel, pending);
}

/* Takes the first one out of the list; false when there is none. */
static bool pending_take(struct list *list, struct pending_call *ret)
{
        struct pending_call *first = list_first(list, struct pending_call, node);

        if (!first)
                return false;
        list_remove(&first->node);
        ttrpc_call_on_cancel(first->call, NULL, NULL);
        *ret = *first;
        free(first);
        return true;
}

void pending_run(struct list *list)
{
        struct list now = LIST_INIT(now);
        struct pending_call p;

        list_splice(&now, list);
        while (pending_take(&now, &p))
                p.handler(p.call, p.request, p.userdata);
}

void pending_fail(struct list *list, int code, const char *text)
{
        struct pending_call p;

        while (pending_take(list, &p))
                ttrpc_call_fail(p.call, code, "%s", text);
}
