/* SPDX-License-Identifier: Apache-2.0
 *
 * Exec: registers a process; nothing runs before its Start. The spec is kept as the client's JSON,
 * which the shim never reads: the executor does, when the process is started.
 */
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#include "containerd/task/v2/task.pb-c.h"
#include "shim/container.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"
#include "shim/state.h"

static int check(const struct container *c, const char *exec_id, const ProtobufCBinaryData *spec,
                 const struct exec_options *options, struct error *err)
{
        if (!id_is_valid(exec_id))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "exec id '%.80s' is not a valid identifier", exec_id);
        if (!spec || spec->len == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "exec '%s': there is no spec",
                                 exec_id);
        if (container_find_exec(c, exec_id))
                return error_set(err, STATUS_ALREADY_EXISTS, "id %s: already exists", exec_id);
        if (c->n_execs >= LIMIT_EXECS)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "the container has %d execs, delete some", LIMIT_EXECS);
        return process_may(c->init, exec_options_verb(options), err);
}

static char *copy_spec(const ProtobufCBinaryData *value)
{
        char *spec = malloc(value->len + 1);

        if (spec) {
                memcpy(spec, value->data, value->len);
                spec[value->len] = '\0';
        }
        return spec;
}

/* NULL without memory. */
static struct process *exec_new(struct container *c, const struct process_request *request,
                                const ProtobufCBinaryData *spec)
{
        struct process *p = process_new(c, PROCESS_EXEC, request);

        if (!p)
                return NULL;
        p->spec = copy_spec(spec);
        p->spec_len = spec->len;
        return p;
}

int rpc_exec_add(struct process **ret, struct container *c, const struct process_request *request,
                 const ProtobufCBinaryData *spec, const struct ttrpc_call *call, struct error *err)
{
        _cleanup_(exec_options_deinit) struct exec_options options = {NULL};
        struct process *p;
        int r;

        if (exec_options_of_call(&options, call, err) < 0 ||
            check(c, request->exec_id, spec, &options, err) < 0)
                return -1;
        p = exec_new(c, request, spec);
        if (!p || !p->spec)
                r = error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec '%s': no memory",
                              request->exec_id);
        else
                r = passed_of_call(&p->passed, call, err);
        if (r < 0) {
                if (p)
                        c->n_execs--;
                process_free(p);
                return -1;
        }
        p->options = options;
        options = (struct exec_options){NULL};
        publisher_publish_take(c->server->publisher, task_event_exec_added(c->id, p->exec_id));
        state_commit(c->server);
        *ret = p;
        return 0;
}

void rpc_exec(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Task__V2__ExecProcessRequest *request = (const void *)message;
        struct container *c = service_find_container(userdata, call, request->id);
        const struct process_request what = {
                .exec_id = request->exec_id,
                .stdin_path = request->stdin,
                .stdout_path = request->stdout,
                .stderr_path = request->stderr,
                .terminal = request->terminal,
        };
        struct error err = ERROR_INIT;
        struct process *p;

        if (!c)
                return;
        if (rpc_exec_add(&p, c, &what, request->spec ? &request->spec->value : NULL, call, &err) <
            0)
                ttrpc_call_fail_error(call, &err);
        else
                service_reply_empty(call);
}
