/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of methods: see service.h. v3 is v2 under another name, with v2's messages, so one
 * table serves both.
 */
#include "shim/service.h"

#include <assert.h>
#include <string.h>

#include "containerd/task/v2/task.pb-c.h"
#include "containerd/task/v3/task.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "shim/log.h"
#include "shim/rpc/rpc.h"
#include "shim/server_impl.h"

static const struct {
        const char *name;
        ttrpc_handler handler;
} methods[] = {
        {"State", rpc_state},
        {"Create", rpc_create},
        {"Start", rpc_start},
        {"Delete", rpc_delete},
        {"Pids", rpc_pids},
        {"Pause", rpc_pause},
        {"Resume", rpc_resume},
        {"Checkpoint", rpc_unsupported},
        {"Kill", rpc_kill},
        {"Exec", rpc_exec},
        {"ResizePty", rpc_resize_pty},
        {"CloseIO", rpc_close_io},
        {"Update", rpc_update},
        {"Wait", rpc_wait},
        {"Stats", rpc_stats},
        {"Connect", rpc_connect},
        {"Shutdown", rpc_shutdown},
};

static ttrpc_handler handler_find(const char *name)
{
        for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
                if (strcmp(methods[i].name, name) == 0)
                        return methods[i].handler;
        }
        return NULL;
}

int service_register(struct shim_server *server, struct error *err)
{
        const ProtobufCServiceDescriptor *v2 = &containerd__task__v2__task__descriptor;
        const ProtobufCServiceDescriptor *v3 = &containerd__task__v3__task__descriptor;

        assert(v2->n_methods <= SERVICE_METHODS_MAX && v2->n_methods == v3->n_methods);
        for (unsigned i = 0; i < v2->n_methods; i++) {
                assert(strcmp(v2->methods[i].name, v3->methods[i].name) == 0);
                assert(v2->methods[i].input == v3->methods[i].input);
                server->handlers[i] = handler_find(v2->methods[i].name);
        }
        if (ttrpc_server_register(server->ttrpc, v2, server->handlers, server, err) < 0)
                return -1;
        return ttrpc_server_register(server->ttrpc, v3, server->handlers, server, err);
}

struct container *service_find_container(struct shim_server *server, struct ttrpc_call *call,
                                         const char *id)
{
        struct container *c = server->container;

        lifetime_touch(server);
        if (c && strcmp(c->id, id) == 0)
                return c;
        ttrpc_call_fail(call, STATUS_NOT_FOUND, "container not created: not found");
        return NULL;
}

struct process *service_find_process(struct shim_server *server, struct ttrpc_call *call,
                                     const char *id, const char *exec_id)
{
        struct container *c = service_find_container(server, call, id);
        struct process *p;

        if (!c)
                return NULL;
        p = container_find_process(c, exec_id);
        if (!p)
                ttrpc_call_fail(call, STATUS_NOT_FOUND, "process does not exist %s: not found",
                                exec_id);
        return p;
}

void service_fail_job(struct ttrpc_call *call, const char *exec_id, const char *what,
                      const struct error *why)
{
        struct error err = *why;

        if (err.code == STATUS_NOT_FOUND || err.code == STATUS_ALREADY_EXISTS)
                err.code = STATUS_UNKNOWN;
        (void)error_prefix(&err, "%s", what);
        log_write(LOG_ERROR, exec_id, "%s", err.msg);
        ttrpc_call_fail_error(call, &err);
}

Google__Protobuf__Timestamp service_exited_at(const struct process_exit *exit)
{
        const int64_t year_1 = INT64_C(-62135596800);
        Google__Protobuf__Timestamp ts = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

        ts.seconds = exit->told ? (int64_t)exit->at.tv_sec : year_1;
        ts.nanos = exit->told ? (int32_t)exit->at.tv_nsec : 0;
        return ts;
}

void service_reply_empty(struct ttrpc_call *call)
{
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

        ttrpc_call_reply(call, &empty.base);
}
