/* SPDX-License-Identifier: Apache-2.0
 *
 * Update: new limits for the container. The resources are the client's JSON, which the shim does
 * not read; its type URL says nothing that the method's name does not, and annotations are for
 * those who extend a shim: both are ignored, as by the stock shim. One Update at a time, for the
 * way back of one that fails must not undo another; and none beside a Pause or a Resume, for it may
 * stop the container for a moment and let it go on.
 */
#include "pkg/base/cleanup.h"

#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/pending.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

static void on_updated(const struct error *err, void *userdata)
{
        struct container *c = userdata;

        c->update_job = NULL;
        if (err)
                service_fail_job(TAKE_PTR(c->update), NULL, "OCI runtime update failed", err);
        else
                service_reply_empty(TAKE_PTR(c->update));
        pending_run(&c->init->parked);
        container_job_end(c);
}

void rpc_update_abort(struct container *c)
{
        if (c->update_job)
                c->executor->ops->abort(c->update_job);
}

void rpc_update(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__UpdateTaskRequest *request = (const void *)message;
        struct container *c = service_find_container(userdata, call, request->id);
        const ProtobufCBinaryData *json;
        struct error err = ERROR_INIT;

        if (!c)
                return;
        if (!request->resources || request->resources->value.len == 0) {
                ttrpc_call_fail(call, STATUS_INVALID_ARGUMENT, "update: there are no resources");
                return;
        }
        if (process_may(c->init, VERB_UPDATE, &err) < 0) {
                ttrpc_call_fail_error(call, &err);
                return;
        }
        if (c->update || c->freeze) {
                pending_add(&c->init->parked, call, message, rpc_update, userdata);
                return;
        }
        json = &request->resources->value;
        c->update = call;
        container_job_begin(c);
        if (c->executor->ops->update(c->impl, (const char *)json->data, json->len, on_updated, c,
                                     &c->update_job, &err) < 0)
                on_updated(&err, c);
}
